"""Documents that hold parts of evaluation texts.

A document that shares a run of 13 words with an evaluation text is dropped. An evaluation text of 8
to 12 words is looked for as a whole; shorter ones are not, since they may stand anywhere. As in
Brown et al. 2020, appendix C, https://arxiv.org/abs/2005.14165, but that drops a stretch of a
document, not the whole, and keeps runs that ten documents share.
"""

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfpt.pipelines.cleaning.words import document_words, ngram_hashes, word_hashes

_FEWEST_WORDS = 8


@dataclass(frozen=True)
class EvaluationTexts:
    """What is looked for.

    Attributes:
        sizes: Words in the runs that are looked for.
        hashes: uint64 (n,), sorted. Of the runs of words.
        texts: int64 (n,). The number of the text that each is of.
        sources: Name, number of texts, and number of those that are too short, of each source.
    """

    sizes: tuple[int, ...]
    hashes: np.ndarray
    texts: np.ndarray
    sources: tuple[tuple[str, int, int], ...]

    @property
    def starts(self) -> np.ndarray:
        """The number of the first text of each source: int64 (s + 1,), with the end."""
        return np.cumsum([0, *(num_texts for _, num_texts, _ in self.sources)])


def evaluation_texts(
    sources: Iterable[tuple[str, Iterable[tuple[str, ...]]]], num_words: int
) -> EvaluationTexts:
    """What to look for of evaluation texts; takes about 16 bytes for each of their words.

    Args:
        sources: Name and texts of each, such as what `read_documents` gives.
        num_words: Words in a row that must be the same.

    Raises:
        ValueError: A source holds no text that is long enough.
    """
    fewest = min(_FEWEST_WORDS, num_words)
    hashes, texts, described, number = [], [], [], 0
    sizes = set()
    for name, documents in sources:
        first, num_short = number, 0
        for document in documents:
            words = word_hashes(document_words(tuple(document)))
            size = min(num_words, len(words))
            if size < fewest:
                num_short += 1
            else:
                found = np.unique(ngram_hashes(words, size))
                hashes.append(found)
                texts.append(np.full(len(found), number))
                sizes.add(size)
            number += 1
        if number - first == num_short:
            raise ValueError(
                f"{name} holds no evaluation text of at least {fewest} words, among "
                f"{num_short:,} texts. Check `overlap_field`, or lower `overlap_words`."
            )
        described.append((name, number - first, num_short))
    joined = np.concatenate([*hashes, np.zeros(0, np.uint64)])
    order = np.argsort(joined, kind="stable")
    numbers = np.concatenate([*texts, np.zeros(0, np.int64)])[order]
    return EvaluationTexts(tuple(sorted(sizes)), joined[order], numbers, tuple(described))


def save_evaluation_texts(evaluation: EvaluationTexts, folder: Path) -> None:
    """Write what processes on this machine shall share, by mapping it."""
    folder.mkdir()
    np.save(folder / "hashes.npy", evaluation.hashes)
    np.save(folder / "texts.npy", evaluation.texts)
    described = {"sizes": evaluation.sizes, "sources": evaluation.sources}
    (folder / "sources.json").write_text(json.dumps(described), encoding="utf-8")


@functools.lru_cache(maxsize=1)
def load_evaluation_texts(folder: str) -> EvaluationTexts:
    """What `save_evaluation_texts` wrote."""
    described = json.loads(Path(folder, "sources.json").read_text(encoding="utf-8"))
    return EvaluationTexts(
        tuple(described["sizes"]),
        np.load(Path(folder, "hashes.npy"), mmap_mode="r"),
        np.load(Path(folder, "texts.npy"), mmap_mode="r"),
        tuple(tuple(source) for source in described["sources"]),
    )


def texts_found(document: tuple[str, ...], evaluation: EvaluationTexts) -> np.ndarray:
    """The numbers of the evaluation texts that share a run of words: int64, sorted."""
    hashes = word_hashes(document_words(document))
    found: list[np.ndarray] = []
    for size in evaluation.sizes:
        ngrams = ngram_hashes(hashes, size)
        places = np.searchsorted(evaluation.hashes, ngrams)
        is_there = evaluation.hashes[np.minimum(places, len(evaluation.hashes) - 1)] == ngrams
        for start in np.unique(places[is_there]).tolist():
            # Several texts may share a run of words.
            end = np.searchsorted(evaluation.hashes, evaluation.hashes[start], "right")
            found.append(evaluation.texts[start:end])
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
