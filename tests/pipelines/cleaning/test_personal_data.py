"""Personal data is masked, and what looks like it is not."""

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpt.pipelines.cleaning.personal_data import mask_document
from tfpt.pipelines.cleaning.settings import Cleaning

REGIONS = Cleaning().phone_regions


def masked(*sentences):
    return mask_document(sentences, REGIONS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe+x@mail.example.com.", "Write to <EMAIL>."),
        ("(jane@example.org), or <joe@example.org>", "(<EMAIL>), or <<EMAIL>>"),
        ("Call (212) 555-0123 today", "Call <PHONE> today"),
        ("Call +44 20 7946 0958 or 030 23125 000", "Call <PHONE> or <PHONE>"),
        ("My card is 4111 1111 1111 1111, yes", "My card is <CARD>, yes"),
        ("card 4111-1111-1111-1111 of jane@example.com", "card <CARD> of <EMAIL>"),
        ("邮箱\uff1ali@example.com。", "邮箱\uff1a<EMAIL>。"),
        ("כתבו אל dan@example.co.il היום", "כתבו אל <EMAIL> היום"),
    ],
)
def test_personal_data_is_masked(text, expected):
    (found,), counts = masked(text)
    assert found == expected
    assert sum(counts.values()) == expected.count("<EMAIL>") + expected.count(
        "<PHONE>"
    ) + expected.count("<CARD>")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "In 1914-1918 there was a war; 12,500 of 1,000,000 came back in 1919.",
        "pi is 3.14159265358979",
        "@home and you@ and @ and a@b",
        "not.an@address.invalidending",
        "4111 1111 1111 1112 is no card number",
        "😀",
    ],
)
def test_what_only_looks_like_it_stays(text):
    (found,), _ = masked(text)
    assert "<EMAIL>" not in found
    assert "<CARD>" not in found
    if "4111" not in text:
        assert found == text


def test_numbers_side_by_side_are_each_looked_at_whole():
    numbers = ["(212) 555-0123", "4111 1111 1111 1111", "123456789012345678", "+44 20 7946 0958"]
    (found,), counts = masked(" then of course ".join(numbers))
    assert counts == {"card numbers": 1, "phone numbers": 2}
    assert found.split(" then of course ") == ["<PHONE>", "<CARD>", numbers[2], "<PHONE>"]


def test_numbers_without_a_country_are_those_of_the_regions():
    assert mask_document(("call 01 42 68 53 00",), ("FR",))[0] == ("call <PHONE>",)
    assert mask_document(("call 01 42 68 53 00",), ("US",))[0] == ("call 01 42 68 53 00",)
    assert mask_document(("call +33 1 42 68 53 00",), ("US",))[0] == ("call <PHONE>",)


def test_counts_are_by_kind():
    _, counts = masked("a@example.com b@example.com", "4111 1111 1111 1111")
    assert counts == {"card numbers": 1, "e-mail addresses": 2}


def test_a_long_sentence_without_a_blank_takes_no_long_time():
    (found,), counts = masked("x" * 300_000 + "@example.com " + "1" * 20_000 + " a@example.com")
    assert found.endswith(" <EMAIL>")
    assert counts["e-mail addresses"] >= 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("ab@.c1234567890 -+()", max_size=60), max_size=3))
def test_sentences_stay_sentences(sentences):
    found, counts = mask_document(tuple(sentences), REGIONS)
    assert len(found) == len(sentences)
    assert all(count > 0 for count in counts.values())


def test_the_network_is_not_used(monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    from tfpt.pipelines.cleaning import personal_data

    personal_data._recognizers.cache_clear()
    assert masked("Write to jane@example.co.uk")[0] == ("Write to <EMAIL>",)


def test_novels_hold_none(shared_data):
    novel = sorted(shared_data("lm_novels_en").glob("*.txt"))[0].read_text(encoding="utf-8")
    assert mask_document(tuple(novel[:300_000].split("\n")), REGIONS)[1] == {}
