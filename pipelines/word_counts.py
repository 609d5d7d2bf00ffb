"""How often each word occurs in a corpus, or in a sample of it of a bounded size.

Trainers of vocabularies need nothing else of a text. What is counted depends on neither the order
of the documents nor on who counts: a document is in the sample or not by a hash of its content.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# A longer document is sampled in parts of this size, in bytes: a corpus may be one document.
_PART = 1 << 16
# Different pieces of text between blanks that are held at most before they are cut into words.
_MOST_CHUNKS = 1 << 19

# And characters of different words, over all levels.
_MOST_CHARACTERS = 50_000_000


class Cutting(NamedTuple):
    """How texts are cut into words, in two steps.

    A chunk is what can be cut into words without looking at what stands before and after it. The
    chunks of a text are many and quickly found; each different one is then cut into words once.
    """

    chunks: Callable[[Sequence[str]], Iterable[str]]  # of sentences
    words: Callable[[Iterable[tuple[str, int]]], Iterator[tuple[str, int]]]  # of counted chunks


def count_words(
    documents: Iterable[Sequence[str]],
    cutting: Cutting,
    *,
    max_megabytes: float,
    seed: int = 0,
) -> Counter[str]:
    """Count words, reading the documents once, as a stream.

    Every document gets a random number from its content and the seed. Where the text exceeds
    `max_megabytes`, the documents below 1/2 are dropped, then those below 3/4, and so on until it
    does not: the sample is half to all of what is allowed, and any other order gives the same. A
    document of more than 64 KiB is treated as several.

    Memory grows with the number of different words. Where those have more than 50 million
    characters (English text of far more than 500 MB has them, but already some 50 MB of Chinese
    that is cut into bytes) documents are dropped too. Training then takes about 4 GB.

    Args:
        documents: Documents as sequences of sentences.
        cutting: What a word is.
        max_megabytes: The most text that is counted, in millions of bytes of UTF-8.
        seed: Of the sample; any int.

    Raises:
        ValueError: Nothing is left of a text that exceeds `max_megabytes`.
    """
    if not max_megabytes > 0:
        raise ValueError(
            f"`max_megabytes` is the most text to look at, more than 0; received {max_megabytes}."
        )
    sample = _Sample(cutting, max_megabytes * 1e6)
    for sentences in _parts(documents):
        content = "\n".join(sentences).encode("utf-8", "surrogatepass")
        sample.add(sentences, len(content), _level(content, seed))
    counted = sample.count()
    if sample.lowest and not counted:
        raise ValueError(
            f"Nothing is left of the text within max_megabytes={max_megabytes:g}: it is one "
            "document again and again, or the number is too small. Raise it."
        )
    return counted


class _Sample:
    """The documents whose level is at least `lowest`, as counts of their words by level.

    A bound that a part of the documents exceeds is exceeded by all: so `lowest` ends where it would
    in any other order.
    """

    def __init__(self, cutting: Cutting, max_bytes: float):
        self.lowest = 0
        self._cutting = cutting
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._levels: dict[int, _Level] = {}

    def add(self, sentences: Sequence[str], num_bytes: int, level: int) -> None:
        if level < self.lowest:
            return
        counts = self._levels.setdefault(level, _Level())
        counts.num_bytes += num_bytes
        self._num_bytes += num_bytes
        counts.chunks.update(self._cutting.chunks(sentences))
        if len(counts.chunks) > _MOST_CHUNKS:
            counts.finish(self._cutting)
            self._drop_for_words()
        while self._num_bytes > self._max_bytes:
            self._drop()

    def count(self) -> Counter[str]:
        for counts in self._levels.values():
            counts.finish(self._cutting)
        self._drop_for_words()
        total: Counter[str] = Counter()
        for counts in self._levels.values():
            total.update(counts.words)
        return total

    def _drop_for_words(self) -> None:
        while sum(counts.num_characters for counts in self._levels.values()) > _MOST_CHARACTERS:
            self._drop()

    def _drop(self) -> None:
        if self.lowest in self._levels:
            self._num_bytes -= self._levels.pop(self.lowest).num_bytes
        self.lowest += 1


@dataclass
class _Level:
    """The documents whose random number begins with so many ones."""

    num_bytes: int = 0
    num_characters: int = 0  # of the different words
    chunks: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)

    def finish(self, cutting: Cutting) -> None:
        """Turn the chunks into words."""
        for word, count in cutting.words(self.chunks.items()):
            if word not in self.words:
                self.num_characters += len(word)
            self.words[word] += count
        self.chunks.clear()


def _parts(documents: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Documents, long ones in parts of whole sentences."""
    for document in documents:
        first = size = 0
        for number, sentence in enumerate(document):
            size += len(sentence)
            if size >= _PART:
                yield document[first : number + 1]
                first, size = number + 1, 0
        if first < len(document):
            yield document[first:]


def _level(content: bytes, seed: int) -> int:
    """How many ones the random number of a text begins with: each level has half of the rest."""
    key = str(seed).encode()[:64]
    number = int.from_bytes(hashlib.blake2b(content, digest_size=8, key=key).digest())
    return 64 - (number ^ ((1 << 64) - 1)).bit_length()


# ---- What words are, by kind of tokenizer

# Python cuts there, BERT drops them.
_CONTROL_SPACE = "\v\f\x1c\x1d\x1e\x1f\x85"
_UNICODE_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# White space that is more than a blank or two between words. ASCII is looked through by memchr.
_UNUSUAL_ASCII_SPACE = ("   ", "  \n", *"\t\v\f\r\x1c\x1d\x1e\x1f")
_UNUSUAL_OTHER_SPACE = re.compile(r"[^\S -~\n]")
# As GPT-2's rule deals with white space: its last character is left to what follows.
_BLANK_AND_WORD = re.compile(
    " ?[^SPACE]+|[SPACE]+(?![^SPACE])|[SPACE]+".replace("SPACE", _UNICODE_SPACE)
)


def wordpiece_cutting(normalizer: Any, *, lowercase: bool, longest: int) -> Cutting:
    """BERT's words: cut at white space and around punctuation and Chinese characters.

    Args:
        normalizer: As `bert_normalizer.reference` gives it.
        lowercase: Whether it lowercases.
        longest: Longer words, in characters, are left out: they become [UNK].
    """
    import tokenizers

    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()

    def chunks(sentences: Sequence[str]) -> list[str]:
        text = "\n".join(sentences)
        for character in _CONTROL_SPACE:
            if character in text:
                text = text.replace(character, "")
        return text.split()

    def words(counted: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        for chunk, count in counted:
            if chunk.isascii() and chunk.isalpha():  # most are: nothing to be cut
                if len(chunk) <= longest:
                    yield chunk.lower() if lowercase else chunk, count
                continue
            for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(chunk)):
                if len(word) <= longest:
                    yield word, count

    return Cutting(chunks, words)


def byte_pair_cutting() -> Cutting:
    """GPT-2's words: with the blank before them, a printable character for each byte."""
    import tokenizers

    splitter = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)

    def chunks(sentences: Sequence[str]) -> Iterable[str]:
        text = "\n".join(sentences)
        if _has_unusual_space(text) or any("\n" in sentence for sentence in sentences):
            return [chunk for sentence in sentences for chunk in _BLANK_AND_WORD.findall(sentence)]
        return filter(None, text.replace(" ", "\n ").split("\n"))

    def words(counted: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        for chunk, count in counted:
            if chunk.isascii() and chunk[1:].isalpha() and chunk[0] == " ":
                yield f"\u0120{chunk[1:]}", count
                continue
            for word, _ in splitter.pre_tokenize_str(chunk):
                yield word, count

    return Cutting(chunks, words)


def _has_unusual_space(text: str) -> bool:
    if any(space in text for space in _UNUSUAL_ASCII_SPACE) or text.endswith("  "):
        return True
    return not text.isascii() and _UNUSUAL_OTHER_SPACE.search(text) is not None


def blank_cutting(longest: int) -> Cutting:
    """What stands between white space as it is, in parts of at most `longest` characters."""

    def chunks(sentences: Sequence[str]) -> list[str]:
        return "\n".join(sentences).split()

    def words(counted: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        for chunk, count in counted:
            for first in range(0, len(chunk), longest):
                yield chunk[first : first + longest], count

    return Cutting(chunks, words)
