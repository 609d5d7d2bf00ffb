"""Which texts share a row: a plan made from how many texts of each length there are.

A row is a *pack*: a few lengths that fit together. The plan says how many packs of each kind an
epoch has; which text of a length stands in which pack is drawn anew in every epoch. So the plan is
small, however large the corpus.

Shape letters: K kinds of packs, S texts in a pack, L lengths.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plan:
    """The packs of an epoch; those of a kind stand together, kinds one after another."""

    first_pack: (
        np.ndarray
    )  # int64 (K + 1,): where the packs of each kind begin; the last is the end
    lengths: np.ndarray  # int32 (K, S): lengths of the texts in a pack, 0 for none, descending
    # int64 (K, S): the rank, among the texts of that length, of the one in the kind's first pack.
    first_rank: np.ndarray

    @property
    def num_packs(self) -> int:
        """Rows in an epoch."""
        return int(self.first_pack[-1])


def plan_packs(counts: np.ndarray, *, capacity: int, max_texts: int) -> Plan:
    """Best fit, the longest first, on the counts of lengths.

    Args:
        counts: int64 (L,): how many texts have the length 0, 1, ...; L is at most capacity + 1 and
            counts[0] is 0.
        capacity: Most tokens in a pack.
        max_texts: S, most texts in a pack.

    Source: Krell et al. 2021, "Efficient sequence packing without cross-contamination",
    https://arxiv.org/abs/2107.02027, for packing on the histogram.
    """
    packs = _best_fit(counts, capacity, max_texts)
    kinds = sorted(packs, reverse=True)
    lengths = np.zeros((len(kinds), max_texts), np.int32)
    first_rank = np.zeros((len(kinds), max_texts), np.int64)
    used = np.zeros(len(counts), np.int64)
    for number, kind in enumerate(kinds):
        for place, length in enumerate(kind):
            lengths[number, place] = length
            first_rank[number, place] = used[length]
            used[length] += packs[kind]
    first_pack = np.cumsum([0, *(packs[kind] for kind in kinds)], dtype=np.int64)
    return Plan(first_pack, lengths, first_rank)


def _best_fit(counts, capacity: int, max_texts: int) -> dict[tuple[int, ...], int]:
    """How many packs there are of each kind, a kind being its lengths, descending."""
    # Packs with room, by how much they have: many texts of one length are placed at once.
    room: dict[int, dict[tuple[int, ...], int]] = {}
    closed: dict[tuple[int, ...], int] = {}

    def put(kind: tuple[int, ...], number: int, left: int) -> None:
        packs = closed if len(kind) == max_texts or not left else room.setdefault(left, {})
        packs[kind] = packs.get(kind, 0) + number

    for length in range(len(counts) - 1, 0, -1):
        waiting = int(counts[length])
        while waiting:
            left = min((size for size in room if size >= length and room[size]), default=0)
            if left:
                kind, number = room[left].popitem()
                taken = min(number, waiting)
                if taken < number:
                    room[left][kind] = number - taken
                put((*kind, length), taken, left - length)
                waiting -= taken
            else:  # a new pack, with as many of this length as go in
                fill = min(max_texts, capacity // length, waiting)
                number = waiting // fill
                put((length,) * fill, number, capacity - fill * length)
                waiting -= number * fill
    for kinds in room.values():
        for kind, number in kinds.items():
            closed[kind] = closed.get(kind, 0) + number
    return closed
