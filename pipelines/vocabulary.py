"""Vocabularies from text: WordPiece, byte-level byte pairs, Unigram.

The same text gives the same vocabulary: in any process, at any order of the documents. Entries have
a fixed order: the special tokens, the alphabet, then the rest by how often they occur, then by
their text.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from tfpt.pipelines import bert_normalizer, unigram_training, word_counts
from tfpt.pipelines.byte_pair import BytePair, byte_alphabet
from tfpt.pipelines.pair_merging import Merge, learn_merges
from tfpt.pipelines.sentence_piece import SentencePiece
from tfpt.pipelines.special_tokens import SPECIAL_TOKENS
from tfpt.pipelines.wordpiece import CONTINUATION_PREFIX, MAX_WORD, WordPiece

# More than a vocabulary needs to settle, and its words fit into the memory of a laptop.
MAX_MEGABYTES = 500.0
# The sentencepiece library holds about 20 bytes for each byte of text.
MAX_MEGABYTES_OF_UNIGRAM = 100.0

Corpus = Iterable[Sequence[str]]


def train_wordpiece(
    documents: Corpus,
    vocabulary_size: int,
    *,
    lowercase: bool = True,
    min_frequency: int = 2,
    limit_alphabet: int = 6_000,
    max_megabytes: float = MAX_MEGABYTES,
    seed: int = 0,
) -> WordPiece:
    """Learn a vocabulary of word pieces from the sentences of `documents`.

    The text is read once, as a stream, normalized and cut into words as `WordPiece.tokenize` does
    it. Pieces are learned as byte pair encoding does: two that stand side by side most often become
    one.

    The order is fixed: [PAD] [UNK] [CLS] [SEP] [MASK]; the characters, then the continued
    characters (as "##a"), both sorted; the longer pieces by how often they occurred when they were
    made, equal ones sorted.

    Args:
        documents: Documents as sequences of sentences, e.g. of `read_documents`.
        vocabulary_size: The number of entries wanted, special tokens included.
        lowercase: Whether to lowercase and strip accents. False for cased and for Chinese text.
        min_frequency: How often a pair of pieces must occur to become an entry.
        limit_alphabet: The most frequent so many characters become entries; a word that holds
            another one becomes [UNK]. 6,000 are enough for Chinese beside other scripts.
        max_megabytes: The most text to look at, in millions of bytes; of more, a sample is taken.
            See `word_counts.count_words`.
        seed: Of the sample.

    Raises:
        ValueError: The documents hold no text, less of it than `vocabulary_size` entries need, or
            more characters than `vocabulary_size` has room for.

    Source: Devlin et al. 2019, https://arxiv.org/abs/1810.04805.
    """
    _check_arguments(vocabulary_size, min_frequency)
    _check_count("limit_alphabet", limit_alphabet)
    cutting = word_counts.wordpiece_cutting(
        bert_normalizer.reference(lowercase, lowercase), lowercase=lowercase, longest=MAX_WORD
    )
    counted = word_counts.count_words(documents, cutting, max_megabytes=max_megabytes, seed=seed)
    _check_text(counted)
    words, counts, alphabet = _within_alphabet(counted, limit_alphabet)
    symbols, lengths, continued = _marked_symbols(words, alphabet)
    first = [*alphabet, *continued]
    room = vocabulary_size - len(SPECIAL_TOKENS)
    if len(first) > room:
        raise ValueError(
            f"vocabulary_size={vocabulary_size:,} has no room for the characters of this text: "
            f"with the special tokens they are {len(first) + len(SPECIAL_TOKENS):,} entries, "
            "before any longer piece. Raise vocabulary_size to that at least, or lower "
            f"limit_alphabet={limit_alphabet:,}."
        )
    merges = learn_merges(
        symbols,
        lengths,
        counts,
        first,
        num_symbols=room,
        min_frequency=min_frequency,
        join=lambda left, right: left + right.removeprefix(CONTINUATION_PREFIX),
    )
    longer = _by_frequency(merges, first)
    _check_size(len(SPECIAL_TOKENS) + len(first) + len(longer), vocabulary_size, min_frequency)
    return WordPiece([*SPECIAL_TOKENS, *first, *longer], lowercase=lowercase)


def train_byte_pair(
    documents: Corpus,
    vocabulary_size: int,
    *,
    min_frequency: int = 2,
    max_megabytes: float = MAX_MEGABYTES,
    seed: int = 0,
) -> BytePair:
    """Learn a vocabulary of byte-level byte pairs, as GPT-2's, from the sentences of `documents`.

    The order is fixed: [PAD] [UNK] [CLS] [SEP] [MASK]; the 256 bytes, sorted by the characters they
    are written as; then what pairs became, in the order in which they were merged: the most
    frequent one at each step, of equally frequent ones the first by its text.

    Args:
        documents, vocabulary_size, min_frequency, max_megabytes, seed: See `train_wordpiece`.

    Raises:
        ValueError: The documents hold no text, or less of it than `vocabulary_size` entries need.

    Source: Radford et al. 2019, section 2.2; Sennrich et al. 2016,
    https://arxiv.org/abs/1508.07909.
    """
    first = sorted(byte_alphabet())
    _check_arguments(vocabulary_size, min_frequency, num_bytes=len(first))
    cutting = word_counts.byte_pair_cutting()
    counted = word_counts.count_words(documents, cutting, max_megabytes=max_megabytes, seed=seed)
    blanks = "".join(byte_alphabet()[byte] for byte in b" \t\n\v\f\r")
    _check_text([word for word in counted if word.strip(blanks)])
    words = sorted(counted)
    codes = _code_points(words)
    merges = learn_merges(
        np.searchsorted([ord(character) for character in first], codes),
        np.array([len(word) for word in words]),
        np.array([counted[word] for word in words]),
        first,
        num_symbols=vocabulary_size - len(SPECIAL_TOKENS),
        min_frequency=min_frequency,
        join=str.__add__,
    )
    longer = list(dict.fromkeys(merge.merged for merge in merges))
    _check_size(len(SPECIAL_TOKENS) + len(first) + len(longer), vocabulary_size, min_frequency)
    pairs = [(merge.left, merge.right) for merge in merges]
    return BytePair([*SPECIAL_TOKENS, *first, *longer], pairs)


def train_unigram(
    documents: Corpus,
    vocabulary_size: int,
    *,
    lowercase: bool = False,
    character_coverage: float = 0.9995,
    max_megabytes: float = MAX_MEGABYTES_OF_UNIGRAM,
    seed: int = 0,
) -> SentencePiece:
    """Learn a Unigram model from the sentences of `documents`, by the `sentencepiece` library.

    It gets the words with their counts, sorted, and one thread: the same text gives the same model
    as long as the library's version and the machine's arithmetic are the same. The library holds
    about 20 bytes in memory for each byte of text: 2 GB for `max_megabytes` = 100.

    The order is fixed: [PAD] [UNK] [CLS] [SEP] [MASK]; the characters, sorted; the longer pieces
    from the most probable on, equal ones sorted. Probabilities are rounded, see `SentencePiece`.

    Args:
        documents, vocabulary_size, max_megabytes, seed: See `train_wordpiece`.
        lowercase: Whether to fold case; accents stay. Compatibility forms are always folded
            (Unicode NFKC).
        character_coverage: The share of the text whose characters become entries, from the most
            frequent on, in (0, 1]. What is rarer is unknown.

    Raises:
        ValueError: The documents hold no text, less of it than `vocabulary_size` entries need, or
            more characters than `vocabulary_size` has room for.

    Source: Kudo 2018, https://arxiv.org/abs/1804.10959.
    """
    _check_arguments(vocabulary_size, 1)
    if not 0 < character_coverage <= 1:
        raise ValueError(
            "`character_coverage` is a share of the text, in (0, 1]; received "
            f"{character_coverage}. For 99.95% pass 0.9995."
        )
    cutting = word_counts.blank_cutting(unigram_training.LONGEST_WORD)
    counted = word_counts.count_words(documents, cutting, max_megabytes=max_megabytes, seed=seed)
    _check_text(counted)
    model = unigram_training.learn_pieces(
        counted, vocabulary_size, lowercase=lowercase, character_coverage=character_coverage
    )
    return SentencePiece(model)


def _check_arguments(vocabulary_size: int, min_frequency: int, *, num_bytes: int = 0) -> None:
    smallest = len(SPECIAL_TOKENS) + (num_bytes or 1)
    if vocabulary_size < smallest:
        others = f" and the {num_bytes} bytes" if num_bytes else ""
        raise ValueError(
            f"`vocabulary_size` counts the {len(SPECIAL_TOKENS)} special tokens{others}, so it "
            f"must be {smallest} at least; received vocabulary_size={vocabulary_size}. BERT has "
            "30,522."
        )
    _check_count("min_frequency", min_frequency)


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"`{name}` is a count of at least 1; received {name}={value}.")


def _check_text(words: Collection[str]) -> None:
    if not words:
        raise ValueError(
            "There is no text to learn a vocabulary from: no document holds a word. "
            "Check the source."
        )


def _check_size(num_entries: int, vocabulary_size: int, min_frequency: int) -> None:
    if num_entries < vocabulary_size:
        raise ValueError(
            f"This text gives {num_entries:,} entries at min_frequency={min_frequency}; "
            f"vocabulary_size={vocabulary_size:,} was asked for. Lower vocabulary_size to at most "
            f"{num_entries:,}, give more text, or lower min_frequency."
        )


def _within_alphabet(
    counted: Mapping[str, int], limit: int
) -> tuple[list[str], np.ndarray, list[str]]:
    """The words made of the `limit` most frequent characters, their counts, and the characters."""
    words = sorted(counted)
    frequency: Counter[str] = Counter()
    for word in words:
        for character in word:
            frequency[character] += counted[word]
    alphabet = sorted(sorted(frequency), key=lambda one: -frequency[one])[:limit]
    if len(alphabet) < len(frequency):
        rare = re.compile(f"[{re.escape(''.join(set(frequency) - set(alphabet)))}]")
        words = [word for word in words if not rare.search(word)]
    return words, np.array([counted[word] for word in words], np.int64), sorted(alphabet)


def _marked_symbols(
    words: Sequence[str], alphabet: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Words as symbols: their characters, all but the first one continued.

    Returns:
        `(symbols, lengths, continued)`: symbols count the alphabet, then the continued characters.
    """
    lengths = np.array([len(word) for word in words], np.int64)
    symbols = np.searchsorted([ord(one) for one in alphabet], _code_points(words))
    is_first = np.zeros(len(symbols), bool)
    is_first[np.cumsum(lengths) - lengths] = True
    there, place = np.unique(symbols[~is_first], return_inverse=True)
    symbols[~is_first] = len(alphabet) + place
    return symbols, lengths, [CONTINUATION_PREFIX + alphabet[number] for number in there]


def _code_points(words: Sequence[str]) -> np.ndarray:
    return np.frombuffer("".join(words).encode("utf-32-le"), "<u4").astype(np.int64)


def _by_frequency(merges: Sequence[Merge], known: Sequence[str]) -> list[str]:
    """What pairs became, by how often they occurred when it first came up, then by text."""
    counts: dict[str, int] = dict.fromkeys(known, 0)
    for merge in merges:
        counts.setdefault(merge.merged, merge.frequency)
    longer = [text for text in counts if counts[text]]
    return sorted(longer, key=lambda text: (-counts[text], text))
