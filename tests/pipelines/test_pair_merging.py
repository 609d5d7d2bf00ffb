"""Merges are those of the definition, whatever the order of the words."""

import itertools
import operator
from collections import Counter

import hypothesis
import numpy as np
from hypothesis import strategies

from tfpt.pipelines.pair_merging import Merge, learn_merges


def learned(counted, num_symbols, min_frequency=1):
    words = list(counted)
    symbols = sorted({letter for word in words for letter in word})
    return learn_merges(
        np.array([symbols.index(letter) for word in words for letter in word]),
        np.array([len(word) for word in words]),
        np.array([counted[word] for word in words]),
        symbols,
        num_symbols=num_symbols,
        min_frequency=min_frequency,
        join=operator.add,
    )


def by_definition(counted, num_symbols, min_frequency=1):
    """All pairs counted anew for each merge."""
    words = {word: list(word) for word in counted}
    texts = {letter for word in words for letter in word}
    merges = []
    while len(texts) < num_symbols:
        counts = Counter()
        for word, parts in words.items():
            for pair in itertools.pairwise(parts):
                counts[pair] += counted[word]
        counts = {pair: count for pair, count in counts.items() if count >= min_frequency}
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], "".join(pair), len(pair[0])))
        merges.append(Merge(*best, "".join(best), counts[best]))
        texts.add("".join(best))
        for parts in words.values():
            place = 0
            while place < len(parts) - 1:
                if tuple(parts[place : place + 2]) == best:
                    parts[place : place + 2] = ["".join(best)]
                place += 1
    return merges


def test_the_most_frequent_pair_is_merged_first():
    assert learned({"abab": 2, "cd": 3}, 6) == [
        Merge("a", "b", "ab", 4),
        Merge("c", "d", "cd", 3),
    ]


def test_of_equally_frequent_pairs_the_first_by_text_is_merged():
    assert [merge.merged for merge in learned({"dc": 1, "ba": 1, "ca": 1}, 10)] == [
        "ba",
        "ca",
        "dc",
    ]


def test_of_two_ways_to_a_text_the_one_with_the_shorter_left_part_is_merged():
    merges = learned({"ab": 9, "bc": 8, "abc": 1, "bcx": 7, "xabc": 1}, 9)
    assert merges == by_definition({"ab": 9, "bc": 8, "abc": 1, "bcx": 7, "xabc": 1}, 9)


def test_pairs_that_overlap_are_merged_from_the_left():
    assert learned({"aaaaa": 1}, 4) == [
        Merge("a", "a", "aa", 4),
        Merge("aa", "a", "aaa", 1),
        Merge("aa", "aaa", "aaaaa", 1),
    ]


def test_rare_pairs_are_not_merged():
    assert learned({"ab": 2, "cd": 1}, 10, min_frequency=2) == [Merge("a", "b", "ab", 2)]
    assert learned({"a": 5}, 10) == []


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(
    strategies.dictionaries(
        strategies.text(strategies.sampled_from("abc"), min_size=1, max_size=9),
        strategies.integers(1, 5),
        min_size=1,
        max_size=12,
    ),
    strategies.integers(1, 3),
    strategies.randoms(),
)
def test_merges_of_any_words_are_those_of_the_definition(counted, min_frequency, random):
    expected = by_definition(counted, 20, min_frequency)
    assert learned(counted, 20, min_frequency) == expected
    words = list(counted)
    random.shuffle(words)
    assert learned({word: counted[word] for word in words}, 20, min_frequency) == expected


def test_counts_past_32_bits_are_exact():
    assert learned({"ab": 2**40, "ba": 2**40 + 1}, 3) == [Merge("b", "a", "ba", 2**40 + 1)]
