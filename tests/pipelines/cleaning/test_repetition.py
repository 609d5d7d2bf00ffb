"""Gopher's rules, on texts small enough to count by hand, and against a slow count."""

import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpt.pipelines.cleaning.repetition import (
    repeated_ngram_share,
    repeated_sentences,
    repetition_problem,
    top_ngram_share,
)
from tfpt.pipelines.cleaning.settings import Repetition
from tfpt.pipelines.cleaning.words import word_hashes


def arrays(words):
    return word_hashes(words), np.array([len(word) for word in words], np.int64)


def test_sentences_that_were_there_before_are_counted():
    assert repeated_sentences(("aa", "b", "aa", "aa")) == (2 / 4, 4 / 7)
    assert repeated_sentences(("a",)) == (0, 0)


def test_the_most_frequent_ngram_covers_each_character_once():
    words = ["a"] * 4 + ["bcd"]
    assert top_ngram_share(*arrays(words), 2) == 4 / 7
    # Two are as frequent: the one that covers more counts.
    words = ["ab", "cd", "ab", "cd", "x", "y", "x", "y"]
    assert top_ngram_share(*arrays(words), 2) == 8 / 12


def test_an_ngram_that_is_there_once_is_no_repetition():
    for size in (2, 5):
        for words in ([], ["one"], ["all", "of", "these", "words", "differ", "here"]):
            assert top_ngram_share(*arrays(words), size) == 0
            assert repeated_ngram_share(*arrays(words), size) == 0


@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=25), st.integers(2, 7))
def test_repeated_ngrams_are_those_a_slow_count_finds(words, size):
    seen, covered = set(), set()
    for place in range(len(words) - size + 1):
        ngram = tuple(words[place : place + size])
        if ngram in seen:
            covered |= set(range(place, place + size))
        seen.add(ngram)
    expected = sum(len(words[place]) for place in covered) / max(sum(map(len, words)), 1)
    assert repeated_ngram_share(*arrays(words), size) == pytest.approx(expected)


@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=12), st.integers(2, 4))
def test_the_top_ngram_is_that_a_slow_count_finds(words, size):
    ngrams = [tuple(words[place : place + size]) for place in range(len(words) - size + 1)]
    counts = collections.Counter(ngrams)
    most = max(counts.values(), default=0)
    shares = [0.0]
    for ngram in [one for one, count in counts.items() if count == most > 1]:
        places = [place for place, one in enumerate(ngrams) if one == ngram]
        covered = {place + more for place in places for more in range(size)}
        shares.append(sum(len(words[place]) for place in covered) / sum(map(len, words)))
    assert top_ngram_share(*arrays(words), size) == pytest.approx(max(shares))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (("buy now",) * 5 + ("read on at your leisure tonight",), "repeated sentences"),
        (
            ("One.", "Two.", "Six.", *["A sentence that is long enough for both."] * 2),
            "characters in repeated sentences",
        ),
        (("spam spam spam spam spam",), "one 2-gram all over"),
        (("哈哈哈哈哈哈哈哈哈哈",), "one 2-gram all over"),
        (("",), ""),
        (("word",), ""),
        (("😀😀😀😀😀😀",), ""),
        (("床前明月光", "疑是地上霜", "举头望明月", "低头思故乡"), ""),
        (("The quick brown fox jumps over the lazy dog and goes home to its den.",), ""),
    ],
)
def test_documents_that_repeat_themselves_are_told_why(document, reason):
    assert repetition_problem(document, Repetition())[0] == reason


def test_a_long_run_of_words_is_found_where_short_ones_are_allowed():
    run = "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12"
    document = (" ".join([run, *(f"x{number}" for number in range(80)), run]),)
    assert repetition_problem(document, Repetition())[0] == ""
    strict = Repetition(ngrams=(1.0, 1.0, 1.0, 1.0, 1.0, 0.05))
    reason, detail = repetition_problem(document, strict)
    assert (reason, detail) == ("repeated 10-grams", "9.5% > 5%")


def test_novels_and_poems_do_not_repeat_themselves(shared_data):
    novel = sorted(shared_data("lm_novels_en").glob("*.txt"))[0].read_text(encoding="utf-8")
    paragraphs = [tuple(one.split("\n")) for one in novel.split("\n\n") if len(one) > 400]
    dropped = [repetition_problem(one, Repetition())[0] for one in paragraphs[:200]]
    assert sum(map(bool, dropped)) <= 2, dropped
