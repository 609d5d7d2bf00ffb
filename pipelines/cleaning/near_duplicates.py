"""Documents that are nearly the same: MinHash signatures, and bands of them.

A document is the set of its runs of 5 words. Two documents are as similar as their sets: the share
of runs in both among the runs in either. A signature has 128 values, and each is equal in two
documents with a probability of their similarity. So the share of equal values is an estimate, with
a deviation of at most 0.044.

A document is compared with the first that has the same values in a whole band, for each band, and
dropped if the estimate reaches the threshold. So a document is dropped for the sake of an earlier
one only, and of any group of similar ones the first stays.

Source: Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900; bands: Leskovec, Rajaraman, Ullman,
Mining of Massive Datasets, section 3.4, http://www.mmds.org.
"""

import functools

import numpy as np

from tfpt.pipelines.cleaning.words import combined_hashes, document_words, ngram_hashes, word_hashes

NUM_VALUES = 128
_WORDS = 5
# Documents exactly at the threshold that share a band at least so often.
_FOUND = 0.99
# Runs at once: with 128 values of 8 bytes each, what a core's cache holds.
_RUNS_AT_ONCE = 256
_SEED = 1997


def signature(document: tuple[str, ...]) -> np.ndarray:
    """The MinHash signature of a document: uint32 (128,).

    Args:
        document: Sentences; of fewer than 5 words, all of them are one run. One without a word, as
            of symbols only, is taken by its characters.
    """
    words = document_words(document) or list("".join(document))
    hashes = word_hashes(words)
    runs = ngram_hashes(hashes, max(1, min(_WORDS, len(hashes))))
    factors, summands = _permutations()
    least = np.full(NUM_VALUES, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(runs), _RUNS_AT_ONCE):
        values = runs[start : start + _RUNS_AT_ONCE, None] * factors
        values += summands
        np.minimum(least, values.min(axis=0), out=least)
    # The high bits depend on all bits of a run's hash.
    return (least >> np.uint64(32)).astype(np.uint32)


@functools.cache
def _permutations() -> tuple[np.ndarray, np.ndarray]:
    """Factors and summands, modulo 2 ** 64: from a generator whose stream NumPy keeps as it is."""
    raw = np.random.PCG64(_SEED).random_raw(2 * NUM_VALUES)
    return raw[:NUM_VALUES] | np.uint64(1), raw[NUM_VALUES:]


@functools.cache
def num_bands(threshold: float) -> int:
    """Bands of a signature: as few as find documents at the threshold with 99%."""
    for size in range(NUM_VALUES, 1, -1):
        count = NUM_VALUES // size
        if 1 - (1 - threshold**size) ** count >= _FOUND:
            return count
    return NUM_VALUES


def band_keys(signatures: np.ndarray, threshold: float) -> np.ndarray:
    """A hash of each band of signatures: uint64 (bands, n).

    Args:
        signatures: uint32 (n, 128).
        threshold: The similarity from which documents are duplicates.
    """
    count = num_bands(threshold)
    size = NUM_VALUES // count
    columns = signatures.astype(np.uint64).T
    bands = [columns[first : first + size] for first in range(0, count * size, size)]
    return np.stack([combined_hashes(list(band)) for band in bands])


def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The estimated similarity of documents, row by row: float64 (n,).

    Args:
        one: uint32 (n, 128). Signatures.
        other: uint32 (n, 128).
    """
    return (one == other).mean(axis=-1)
