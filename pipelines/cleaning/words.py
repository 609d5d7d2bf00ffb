"""Words of a document, and hashes of runs of words.

A word is a run of letters, digits and combining marks. In scripts that are written without blanks
(Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) each character is one. Punctuation and
symbols are none.
"""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

# Blocks of scripts that are written without blanks between words.
_UNSPACED_BLOCKS = (
    *((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xAA60, 0xAA7F)),
    *((0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
    *((0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF)),
)
_ASCII_WORD = re.compile(r"\w+", re.ASCII)
# Of marks: what lies above holds selectors of variants only.
_LAST_MARK = 0x1FFFF

# An odd number near the golden ratio of 2 ** 64, and those of splitmix64's finalizer, public domain
# (Vigna 2015, https://prng.di.unimi.it/splitmix64.c).
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


@functools.lru_cache(maxsize=2)  # several steps ask for the words of the same document
def document_words(document: tuple[str, ...]) -> list[str]:
    """The words of a document, case folded, across the ends of its sentences."""
    return split_words(" ".join(document).casefold())


def split_words(text: str) -> list[str]:
    """The words of a text, as they are written."""
    return (_ASCII_WORD if text.isascii() else _word()).findall(text)


@functools.cache
def _word() -> re.Pattern[str]:
    """A word in any script."""
    marks = _ranges(
        [place for place in range(_LAST_MARK) if unicodedata.category(chr(place))[0] == "M"]
    )
    unspaced = _ranges(
        [
            place
            for first, last in _UNSPACED_BLOCKS
            for place in range(first, last + 1)
            if unicodedata.category(chr(place))[0] in "LMN"
        ]
    )
    # `\w` has no combining marks, without which Hindi would fall into pieces.
    letter = rf"[^\W{unspaced}]"
    return re.compile(rf"[{unspaced}]|{letter}+(?:[{marks}]+{letter}*)*")


def _ranges(places: Sequence[int]) -> str:
    """Code points as the inside of a character class."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and found[-1][1] == place - 1:
            found[-1] = (found[-1][0], place)
        else:
            found.append((place, place))
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in found)


def word_hashes(words: Sequence[str]) -> np.ndarray:
    """A hash of each word: uint64 (n,), the same on any machine."""
    return np.fromiter(map(_word_hash, words), np.uint64, len(words))


@functools.lru_cache(maxsize=1 << 17)
def _word_hash(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def ngram_hashes(hashes: np.ndarray, size: int) -> np.ndarray:
    """A hash of each run of words.

    Args:
        hashes: uint64 (n,). As `word_hashes` gives them.
        size: Words in a run.

    Returns:
        uint64 (n - size + 1,), in order; empty where there are fewer words.
    """
    count = len(hashes) - size + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    return combined_hashes([hashes[place : place + count] for place in range(size)])


def combined_hashes(columns: Sequence[np.ndarray]) -> np.ndarray:
    """A hash of each row, well mixed in all bits: uint64 (n,).

    Args:
        columns: uint64 (n,), one or more; their order counts.
    """
    mixed = columns[0].copy()
    for column in columns[1:]:
        mixed *= _FACTOR
        mixed += column
    for shift, factor in _MIX:
        mixed ^= mixed >> np.uint64(shift)
        mixed *= factor
    return mixed ^ (mixed >> np.uint64(31))
