"""Normal forms, and characters that nobody sees."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpt.pipelines.cleaning.unicode import first_change, normalize_document


@pytest.mark.parametrize(
    ("form", "before", "after"),
    [
        ("nfc", "cafe\u0301 \ufb01n", "caf\u00e9 \ufb01n"),
        ("nfkc", "cafe\u0301 \ufb01n \uff26\uff35\uff2c\uff2c \u00b2", "caf\u00e9 fin FULL 2"),
        ("nfc", "a\u0000b\u0007c\u00ad\u200bd\ufeff\uffff", "abcd"),
        ("nfc", "tab\there\u00a0and\u2003there\u0085", "tab here and there"),
        # Between an e and its accent there is nothing.
        ("nfc", "e\u200b\u0301", "\u00e9"),
        # Joiners and marks of direction mean something.
        (
            "nfkc",
            "\u0645\u06cc\u200c\u0631\u0648\u0645 \u200f!",
            "\u0645\u06cc\u200c\u0631\u0648\u0645 \u200f!",
        ),
        ("nfc", "\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
    ],
)
def test_characters_are_normalized(form, before, after):
    assert normalize_document((before,), form) == (after,)


def test_sentences_of_nothing_vanish():
    assert normalize_document(("\u200b", "a", "\u00a0\t"), "nfc") == ("a",)
    assert normalize_document(("\u200b",), "nfc") == ()


@given(st.lists(st.text(min_size=1), max_size=4), st.sampled_from(["nfc", "nfkc"]))
def test_what_is_clean_stays_as_it_is(document, form):
    once = normalize_document(tuple(document), form)
    assert normalize_document(once, form) == once
    assert all(unicodedata.is_normalized(form.upper(), sentence) for sentence in once)
    assert not any(unicodedata.category(letter) == "Cc" for one in once for letter in one)


def test_the_first_change_is_shown_in_letters_that_can_be_seen():
    assert first_change(("a" * 30 + "\ufb01", "b"), ("a" * 30 + "fi", "b")) == (
        "'aaaaaaaaaa\\ufb01 b' -> 'aaaaaaaaaafi b'"
    )
