"""Learning which pairs of symbols to merge, from counted words: byte pair encoding's training.

The same counts give the same merges: of equally frequent pairs the one whose text comes first in
the order of code points is merged (of two ways to the same text, the one with the shorter left
part). Work is done on flat arrays of all words; a merge only touches the places of its pair.

Source: Sennrich et al. 2016, https://arxiv.org/abs/1508.07909.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# A pair of symbols as one number.
_LEFT = 32
_RIGHT_MASK = (1 << _LEFT) - 1
_GONE = -1  # the symbol of a place that was merged into the one before it


class Merge(NamedTuple):
    """A pair that becomes one symbol."""

    left: str
    right: str
    merged: str
    frequency: int  # of the pair in the words, when it was merged


def learn_merges(
    words: Sequence[Sequence[int]] | np.ndarray,
    lengths: np.ndarray,
    counts: np.ndarray,
    symbols: Sequence[str],
    *,
    num_symbols: int,
    min_frequency: int,
    join: Callable[[str, str], str],
) -> list[Merge]:
    """Merge the most frequent pair of neighbours again and again.

    Args:
        words: int (places,): the symbols of all words, one word after the other.
        lengths: int (words,): how many symbols each word has, at least one.
        counts: int (words,): how often each word occurs.
        symbols: The texts of the symbols there are, by number.
        num_symbols: How many there shall be in the end.
        min_frequency: How often a pair must occur to be merged.
        join: The text of a merged pair.

    Returns:
        The merges in the order they were made; fewer where no pair is frequent enough.
    """
    state = _Words(np.asarray(words), lengths, counts)
    texts = list(symbols)
    numbers = {text: number for number, text in enumerate(texts)}
    merges: list[Merge] = []

    def entry(pair: int, count: int) -> tuple[int, str, int, int]:
        left, right = pair >> _LEFT, pair & _RIGHT_MASK
        return -count, join(texts[left], texts[right]), len(texts[left]), pair

    heap = [entry(pair, count) for pair, count in state.counts.items()]
    heapq.heapify(heap)
    while heap and len(texts) < num_symbols:
        negative, text, length, pair = heapq.heappop(heap)
        count = state.counts.get(pair, 0)
        if count < min_frequency:
            continue  # it has become rarer; if it grows again, it comes back
        if count != -negative:
            heapq.heappush(heap, (-count, text, length, pair))
            continue
        left, right = pair >> _LEFT, pair & _RIGHT_MASK
        merges.append(Merge(texts[left], texts[right], text, count))
        if text not in numbers:
            numbers[text] = len(texts)
            texts.append(text)
        for grown in state.merge(pair, numbers[text]):
            heapq.heappush(heap, entry(grown, state.counts[grown]))
    return merges


class _Words:
    """All words as chains of places that hold a symbol each.

    Attributes:
        counts: How often each pair of neighbours occurs in the corpus.
    """

    def __init__(self, symbols: np.ndarray, lengths: np.ndarray, counts: np.ndarray):
        size = len(symbols)
        self._end = size  # one more place, which is no word's: before the first, after the last
        # Numbers of places take most of the memory: half of it where they are small enough.
        place = np.int32 if size < np.iinfo(np.int32).max else np.int64
        self._symbols = np.append(symbols, _GONE).astype(np.int32)
        self._weights = np.append(np.repeat(counts, lengths), 0).astype(np.int64)
        last = np.cumsum(lengths) - 1
        self._next = np.arange(1, size + 2, dtype=place)
        self._next[last] = self._next[size] = size
        self._previous = np.arange(-1, size, dtype=place)
        self._previous[last - lengths + 1] = self._previous[size] = size
        self.counts: dict[int, int] = {}
        self._places: dict[int, list[np.ndarray]] = {}
        self._count(np.arange(size, dtype=place), 1)

    def merge(self, pair: int, merged: int) -> list[int]:
        """Put `merged` in place of the pair wherever it stands; gives the pairs that grew."""
        left, right = pair >> _LEFT, pair & _RIGHT_MASK
        parts = self._places[pair]
        places = parts[0] if len(parts) == 1 else np.concatenate(parts)
        following = self._next[places]
        # Some were part of other merges since.
        places = places[(self._symbols[places] == left) & (self._symbols[following] == right)]
        if left == right:
            places = self._without_overlap(places)
        following = self._next[places]
        self._count(np.unique(np.concatenate([self._previous[places], places, following])), -1)
        behind = self._next[following]
        self._symbols[places] = merged
        self._symbols[following] = _GONE
        self._next[places] = behind
        self._previous[behind] = places
        self._previous[self._end] = self._end
        return self._count(np.unique(np.concatenate([self._previous[places], places])), 1)

    def _without_overlap(self, places: np.ndarray) -> np.ndarray:
        """Of "aaa" the first pair, of "aaaa" the first and the third, and so on."""
        places = np.sort(places)
        if not len(places):
            return places
        index = np.arange(len(places))
        begins = np.append(True, places[1:] != self._next[places[:-1]])
        first = np.maximum.accumulate(np.where(begins, index, 0))
        return places[(index - first) % 2 == 0]

    def _count(self, places: np.ndarray, sign: int) -> list[int]:
        """Add the pairs that begin at places, each once, to the counts, or take them off.

        Returns:
            The pairs that grew.
        """
        places = places[self._next[places] != self._end]
        pairs = self._symbols[places].astype(np.int64) << _LEFT
        pairs |= self._symbols[self._next[places]]
        order = np.argsort(pairs, kind="stable")
        pairs, places = pairs[order], places[order]
        begins = np.flatnonzero(np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)])
        if not len(begins):
            return []
        sums = np.add.reduceat(self._weights[places], begins).tolist()
        found = pairs[begins].tolist()
        if sign < 0:
            for pair, weight in zip(found, sums, strict=True):
                self.counts[pair] -= weight
                if not self.counts[pair]:
                    del self.counts[pair], self._places[pair]
            return []
        ends = [*begins[1:].tolist(), len(places)]
        for pair, weight, first, end in zip(found, sums, begins.tolist(), ends, strict=True):
            self.counts[pair] = self.counts.get(pair, 0) + weight
            self._places.setdefault(pair, []).append(places[first:end])
        return found
