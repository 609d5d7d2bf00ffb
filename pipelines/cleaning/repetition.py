"""Documents that repeat themselves.

Source: Rae et al. 2021, section A1.1 and table A1, https://arxiv.org/abs/2112.11446. Their lines
are sentences here; paragraphs are not kept in a document. What counts as repeated is what was there
before, the first time not included; but for the most frequent n-gram, every time counts. No
character is counted twice, and an n-gram that is there once is no repetition.
"""

import numpy as np

from tfpt.pipelines.cleaning.settings import Repetition
from tfpt.pipelines.cleaning.words import document_words, ngram_hashes, word_hashes

_SMALLEST_TOP, _SMALLEST_REPEATED = 2, 5  # words in the first n-grams of each kind


def repetition_problem(document: tuple[str, ...], limits: Repetition) -> tuple[str, str]:
    """Why a document is dropped, and by what share; ("", "") where it stays.

    Args:
        document: Sentences.
        limits: The shares up to which a document stays.
    """
    for reason, share, limit in _shares(document, limits):
        if share > limit:
            return reason, f"{share:.1%} > {limit:.0%}"
    return "", ""


def _shares(document: tuple[str, ...], limits: Repetition):
    """(what is repeated, its share, the limit), one after the other."""
    sentences, characters = repeated_sentences(document)
    yield "repeated sentences", sentences, limits.sentences
    yield "characters in repeated sentences", characters, limits.sentence_characters
    words = document_words(document)
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    hashes = word_hashes(words)
    for size, limit in enumerate(limits.top_ngrams, _SMALLEST_TOP):
        yield f"one {size}-gram all over", top_ngram_share(hashes, lengths, size), limit
    for size, limit in enumerate(limits.ngrams, _SMALLEST_REPEATED):
        yield f"repeated {size}-grams", repeated_ngram_share(hashes, lengths, size), limit


def repeated_sentences(document: tuple[str, ...]) -> tuple[float, float]:
    """Shares of the sentences, and of their characters, in sentences that were there before."""
    seen: set[str] = set()
    num_repeated = num_characters = 0
    for sentence in document:
        if sentence in seen:
            num_repeated += 1
            num_characters += len(sentence)
        seen.add(sentence)
    total = sum(map(len, document))
    return num_repeated / max(len(document), 1), num_characters / max(total, 1)


def top_ngram_share(hashes: np.ndarray, lengths: np.ndarray, size: int) -> float:
    """Share of characters in the most frequent n-gram; of several, the one that covers most.

    Args:
        hashes: uint64 (n,). Of each word.
        lengths: int64 (n,). Characters of each word.
        size: Words in an n-gram.
    """
    ngrams = ngram_hashes(hashes, size)
    if not len(ngrams):
        return 0.0
    unique, counts = np.unique(ngrams, return_counts=True)
    if (most := counts.max()) < 2:
        return 0.0
    # Many may be there twice; the first few hashes stand for them.
    candidates = unique[counts == most][:8]
    return max(_covered_share(ngrams == one, lengths, size) for one in candidates)


def repeated_ngram_share(hashes: np.ndarray, lengths: np.ndarray, size: int) -> float:
    """Share of characters in n-grams that were there before.

    Args:
        hashes: uint64 (n,). Of each word.
        lengths: int64 (n,). Characters of each word.
        size: Words in an n-gram.
    """
    ngrams = ngram_hashes(hashes, size)
    _, first = np.unique(ngrams, return_index=True)
    if len(first) == len(ngrams):
        return 0.0
    is_repeated = np.ones(len(ngrams), bool)
    is_repeated[first] = False
    return _covered_share(is_repeated, lengths, size)


def _covered_share(begins: np.ndarray, lengths: np.ndarray, size: int) -> float:
    """Share of characters in n-grams that begin where `begins` says."""
    num_begun = np.zeros(len(lengths) + 1, np.int64)
    num_begun[1 : len(begins) + 1] = np.cumsum(begins)
    num_begun[len(begins) + 1 :] = num_begun[len(begins)]
    ended = np.zeros(len(lengths), np.int64)
    ended[size:] = num_begun[1:-size] if size < len(lengths) else 0
    is_covered = num_begun[1:] > ended
    return float(lengths[is_covered].sum() / max(lengths.sum(), 1))
