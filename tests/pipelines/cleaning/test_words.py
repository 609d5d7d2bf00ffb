"""Words in any script, and hashes that are the same everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpt.pipelines.cleaning.length import length_problem
from tfpt.pipelines.cleaning.words import (
    document_words,
    ngram_hashes,
    split_words,
    word_hashes,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("one", ["one"]),
        ("It's 5 o'clock -- at last!", ["It", "s", "5", "o", "clock", "at", "last"]),
        ("床前明月光\uff0c疑是。", list("床前明月光疑是")),
        ("東京タワー 2 つ", [*"東京タワー", "2", "つ"]),
        ("서울은 크다", ["서울은", "크다"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("שלום עולם، مرحبا", ["שלום", "עולם", "مرحبا"]),
        ("cafe\u0301s", ["cafe\u0301s"]),
        ("😀 👍🏽 ...", []),
        ("abc漢字def", ["abc", "漢", "字", "def"]),
    ],
)
def test_words_are_found_in_any_script(text, words):
    assert split_words(text) == words


def test_words_of_a_document_are_case_folded_across_sentences():
    assert document_words(("Große Worte", "ZWEI")) == ["grosse", "worte", "zwei"]


def test_hashes_are_the_same_on_any_machine():
    assert word_hashes(["the", "", "漢"]).tolist() == [
        *(3331141520948189790, 13020603013274838756, 12516457962856375103),
    ]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(1, 14))
def test_runs_of_words_have_equal_hashes_where_they_are_equal(numbers, size):
    hashes = np.array([number % 5 for number in numbers], np.uint64)
    runs = [tuple(hashes[place : place + size]) for place in range(len(hashes) - size + 1)]
    found = ngram_hashes(hashes, size).tolist()
    assert len(found) == len(runs)
    assert len(set(found)) == len(set(runs)) == len(set(zip(found, runs, strict=True)))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (("a b", "c"), ("", "")),
        (("a b",), ("too short", "2 words")),
        (("😀 😀 😀 😀",), ("too short", "0 words")),
        (("a b c", "d e f"), ("too long", "6 words")),
        (("床前明月",), ("", "")),
    ],
)
def test_length_is_counted_in_words(document, problem):
    assert length_problem(document, 3, 5) == problem
    assert length_problem(document, 0, 0) == ("", "")
