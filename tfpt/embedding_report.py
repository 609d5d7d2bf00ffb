"""How good embeddings are: what is found by them, and whether likeness is what people find alike.

Shape letters: U different texts, H width of an embedding, Q texts that are asked for, M texts that
are looked through, N scored pairs, E right answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np
from scipy import stats

from tfpt import evaluation, features
from tfpt.pipelines import JudgedTexts, ScoredPairs
from tfpt.pipelines.embedding_columns import LABELS, PAIRS
from tfpt.pipelines.text_groups import TextGroups
from tfpt.worst_rows import NUM_WORST, WorstRow, excerpt

# Of the recalls.
NEAREST = (1, 5, 10)
# Products that are held at once; float32.
_PRODUCTS_AT_ONCE = 1 << 22
# More texts do not make the uniformity more exact than its third digit.
_MOST_UNIFORM = 10_000


class Missed(NamedTuple):
    """A text to which something wrong is nearer than what is right.

    Texts are told by the row of the file in which they stand first, and their column.
    """

    rank: int  # the place of the nearest right text, from 2
    query: tuple[int, int]
    right: tuple[int, int]  # the nearest right one
    found: tuple[int, int]  # the nearest wrong one


@dataclass(frozen=True, kw_only=True)
class EmbeddingReport:
    """What embeddings are good for.

    What there is to find: of pairs, among all second texts one that a first text has for a partner;
    of labelled texts, among all others one with the label of a text. A text that has none is not
    asked for. Texts with the same tokens are one text, which is never an answer to itself. Of equal
    likeness, what is wrong counts as nearer.
    """

    num_texts: int  # different ones
    num_queries: int  # of them those that are asked for; 0: nothing tells what is to be found
    recall: dict[int, float]  # by k: the share of queries with a right text among the k nearest
    mean_reciprocal_rank: float  # the mean of 1 / the place of the nearest right text
    # The logarithm of the mean of exp(-2 d^2), d being the distance of two texts, over all pairs of
    # the first 10,000 texts: the less, the more evenly they are spread; about -4 at best.
    uniformity: float
    num_scored: int = 0  # scored pairs
    spearman: float = 0.0  # rank correlation of likeness and score, in [-1, 1]
    pearson: float = 0.0  # correlation of them
    missed: tuple[Missed, ...] = ()  # the texts of which what is right comes latest
    worst: tuple[WorstRow, ...] = ()  # the same with their texts, see `with_texts`

    @property
    def measures(self) -> dict[str, float]:
        """Recalls and the mean reciprocal rank where there is something to find; correlations where
        there are scores; the uniformity."""
        found: dict[str, float] = {}
        if self.num_queries:
            found |= {f"recall_at_{k}": share for k, share in self.recall.items()}
            found["mean_reciprocal_rank"] = self.mean_reciprocal_rank
        if self.num_scored:
            found |= {"spearman": self.spearman, "pearson": self.pearson}
        return {**found, "uniformity": self.uniformity}

    def with_texts(self, rows: Sequence[tuple[str, ...]]) -> "EmbeddingReport":
        """The same with the texts of those that are missed.

        Args:
            rows: The texts of each row of the file that was evaluated.
        """

        def text(place: tuple[int, int]) -> str:
            row, column = place
            return excerpt(rows[row][column], 0, 0)

        worst = [
            WorstRow(
                row=one.query[0],
                loss=one.rank,
                measure="rank",
                right=text(one.right),
                predicted=text(one.found),
                texts=(text(one.query),),
            )
            for one in self.missed
        ]
        return replace(self, worst=tuple(worst))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        counts = {
            "num_texts": self.num_texts,
            "num_queries": self.num_queries,
            "num_scored": self.num_scored,
        }
        worst = [one.to_dict() for one in self.worst]
        return {**counts, **self.measures, **({"worst": worst} if worst else {})}


def evaluate_embeddings(model: keras.Model, judged: JudgedTexts) -> EmbeddingReport:
    """Embed texts and judge the embeddings.

    Args:
        model: With the output `contrastive`.
        judged: From `TextEmbedding.judged`.

    Source of the uniformity: Wang and Isola 2020, section 4, https://arxiv.org/abs/2005.10242.
    """
    _, embeddings = evaluation.predictions(model, judged.texts, features.CONTRASTIVE)
    groups = judged.groups
    places = np.zeros(0, np.int64)
    missed: tuple[Missed, ...] = ()
    if groups.kind in (PAIRS, LABELS):
        search = for_partners(groups.rows[:, :2]) if groups.kind == PAIRS else for_labels(groups)
        places = ranks(embeddings, search)
        missed = _missed(embeddings, search, places, groups.first_rows)
    spearman, pearson = correlations(model, judged.scored) if judged.scored else (0.0, 0.0)
    return EmbeddingReport(
        num_texts=len(embeddings),
        num_queries=len(places),
        recall={k: float(np.mean(places <= k)) if len(places) else 0.0 for k in NEAREST},
        mean_reciprocal_rank=float(np.mean(1 / places)) if len(places) else 0.0,
        uniformity=uniformity(embeddings[:_MOST_UNIFORM]),
        num_scored=len(judged.scored.scores) if judged.scored else 0,
        spearman=spearman,
        pearson=pearson,
        missed=missed,
    )


class Search(NamedTuple):
    """What is asked for, among what it is looked for, and what is right."""

    queries: np.ndarray  # int (Q,): the texts that are asked for
    candidates: np.ndarray  # int (M,): those that are looked through, but for the query itself
    # From the first query and the one behind the last, bool (queries, M): what is right; of each at
    # least one that is not the query.
    mark: Callable[[int, int], np.ndarray]


def for_partners(pairs: np.ndarray) -> Search:
    """The search for the partners of each different first text among all second texts.

    Args:
        pairs: int32 (N, 2): the texts of each pair. A first text that has no partner besides itself
            is not asked for.
    """
    candidates, column = np.unique(pairs[:, 1], return_inverse=True)
    # Each right answer once, sorted by the text that is asked for.
    is_other = pairs[:, 0] != pairs[:, 1]
    edges = np.unique(np.stack([pairs[:, 0], column], axis=1)[is_other], axis=0)
    queries, first = np.unique(edges[:, 0], return_index=True)
    ends = np.append(first[1:], len(edges))

    def mark(begin: int, end: int) -> np.ndarray:
        right = np.zeros((end - begin, len(candidates)), bool)
        some = slice(first[begin], ends[end - 1])
        row = np.repeat(np.arange(end - begin), (ends - first)[begin:end])
        right[row, edges[some, 1]] = True
        return right

    return Search(queries, candidates, mark)


def for_labels(groups: TextGroups) -> Search:
    """The search, among all texts, for another one with the label of each that has such."""
    label = groups.groups
    queries = np.flatnonzero(groups.sizes[label] > 1)
    return Search(
        queries,
        np.arange(len(label)),
        lambda begin, end: label[queries[begin:end], None] == label[None],
    )


def ranks(embeddings: np.ndarray, search: Search) -> np.ndarray:
    """The place of the nearest right text of each query, a block of queries at a time.

    Args:
        embeddings: float32 (U, H), of length 1.
        search: Of texts by their numbers.

    Returns:
        int64 (Q,), from 1. Of equal likeness, what is wrong counts as nearer.
    """
    queries, candidates, mark = search
    among = embeddings[candidates]
    at_once = max(1, _PRODUCTS_AT_ONCE // len(candidates))
    found = [np.zeros(0, np.int64)]
    for begin in range(0, len(queries), at_once):
        some = queries[begin : begin + at_once]
        alike = embeddings[some] @ among.T
        alike[some[:, None] == candidates[None]] = -np.inf
        right = mark(begin, begin + len(some))
        nearest = np.where(right, alike, -np.inf).max(axis=1, keepdims=True)
        # What is no number is not found.
        found.append(1 + np.sum(~right & ~(alike < nearest), axis=1))
    return np.concatenate(found)


def _missed(
    embeddings: np.ndarray, search: Search, places: np.ndarray, first_rows: np.ndarray
) -> tuple[Missed, ...]:
    """The queries of which what is right comes latest; `first_rows` as of `TextGroups`."""
    found = []
    for number in np.argsort(-places, kind="stable")[:NUM_WORST].tolist():
        if places[number] == 1:
            break
        query = int(search.queries[number])
        alike = embeddings[search.candidates] @ embeddings[query]
        alike[search.candidates == query] = -np.inf
        is_right = search.mark(number, number + 1)[0]
        nearest = (
            search.candidates[np.where(those, alike, -np.inf).argmax()]
            for those in (is_right, ~is_right)
        )
        texts = (tuple(first_rows[text].tolist()) for text in (query, *nearest))
        found.append(Missed(int(places[number]), *texts))
    return tuple(found)


def correlations(model: keras.Model, scored: ScoredPairs) -> tuple[float, float]:
    """How the likeness of the texts of pairs runs with their scores.

    Returns:
        Spearman's and Pearson's correlation; 0 where all likenesses are the same.
    """
    _, embeddings = evaluation.predictions(model, scored.texts, features.CONTRASTIVE)
    one, other = (embeddings[scored.pairs[:, side]].astype(np.float64) for side in (0, 1))
    alike = np.sum(one * other, axis=1)
    if np.ptp(alike) == 0:
        return 0.0, 0.0
    return (
        float(stats.spearmanr(alike, scored.scores).statistic),
        float(stats.pearsonr(alike, scored.scores).statistic),
    )


def uniformity(embeddings: np.ndarray) -> float:
    """See `EmbeddingReport`; of embeddings float32 (U, H). 0 where there is one alone."""
    count = len(embeddings)
    if count < 2:
        return 0.0
    total = 0.0
    at_once = max(1, _PRODUCTS_AT_ONCE // count)
    for begin in range(0, count, at_once):
        alike = embeddings[begin : begin + at_once] @ embeddings.T
        # The square of the distance of two of length 1 is 2 - 2 * their product.
        total += float(np.exp(4 * alike - 4).sum(dtype=np.float64))
    total -= count  # each with itself
    return float(np.log(max(total, np.finfo(np.float64).tiny) / (count * (count - 1))))
