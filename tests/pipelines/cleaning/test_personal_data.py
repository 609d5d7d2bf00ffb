"""Personal data is masked, and what looks like it is not."""

import re
import socket
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfpt.pipelines.cleaning import personal_data
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
        ("a@example.com,b@example.org;c@example.net", "<EMAIL>,<EMAIL>;<EMAIL>"),
        ("jane@example.com/john@example.org", "<EMAIL>/<EMAIL>"),
        ("<a@x.org><b@y.org>", "<<EMAIL>><<EMAIL>>"),
        ("mailto:a@example.com?cc=b@example.org", "mailto:<EMAIL>?<EMAIL>"),
        ("(212) 555-0123,(212) 555-0124;(212) 555-0125", "<PHONE>,<PHONE>;<PHONE>"),
        ("212-555-0123/212-555-0124|212-555-0125", "<PHONE>/<PHONE>|<PHONE>"),
        ("4111111111111111/4111111111111111", "<CARD>/<CARD>"),
        ("Write to sales/europe@example.com.", "Write to <EMAIL>."),
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
        "😀",
    ],
)
def test_what_only_looks_like_it_stays(text):
    (found,), _ = masked(text)
    assert found == text


def test_a_number_with_a_wrong_check_digit_is_no_card():
    """It may be taken for a phone number, as any 16 digits in Germany."""
    _, counts = masked("4111 1111 1111 1112 is no card number")
    assert "card numbers" not in counts


LOCAL = st.from_regex(r"[a-z0-9]([a-z0-9._+'/|?#-]{0,20}[a-z0-9])?", fullmatch=True)
DOMAINS = ["example.com", "x.org", "mail.example.co.il", "my-host.de"]
SEPARATORS = st.text(",;/|<>\"'()\n ", min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(SEPARATORS, LOCAL, st.sampled_from(DOMAINS)), min_size=1, max_size=8))
def test_of_any_addresses_side_by_side_none_remains(addresses):
    text = "".join(f"{separator}{local}@{domain}" for separator, local, domain in addresses)
    (found,), counts = masked(text)
    assert found == "".join(f"{separator}<EMAIL>" for separator, _, _ in addresses)
    assert counts == {"e-mail addresses": len(addresses)}


# With blanks alone, where one number ends and another begins is anybody's guess.
BETWEEN = st.from_regex(r"""[ )]?[,;/|<>"'\n][ (]?""", fullmatch=True)
NUMBERS = ["(212) 555-0123", "+44 20 7946 0958", "030 23125 000", "4111 1111 1111 1111"]


@settings(max_examples=100, deadline=None)
@example([("(", "(212) 555-0123"), ("/", "(212) 555-0123")])
@given(st.lists(st.tuples(BETWEEN, st.sampled_from(NUMBERS)), min_size=1, max_size=6))
def test_of_any_numbers_side_by_side_none_remains(numbers):
    (found,), _ = masked("".join(f"{separator}{number}" for separator, number in numbers))
    assert not re.search(r"\d", found)


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


def processor_seconds(work):
    """The least of three, so that other work on the machine does not count."""
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize(
    "text",
    ["x" * 20_000, "1" * 20_000, "@" * 20_000, "a@example.com," * 150, "(212) 555-0123, " * 15],
    ids=["no blank", "digits", "ats", "addresses", "numbers"],
)
def test_ten_times_the_text_takes_about_ten_times_the_time(text):
    masked(text)  # what is loaded and compiled once
    short = processor_seconds(lambda: masked(text))
    assert processor_seconds(lambda: masked(10 * text)) < 30 * max(short, 1e-4)


def test_a_long_sentence_without_a_blank_is_looked_at_to_its_end():
    (found,), counts = masked("x" * 300_000 + "@example.com " + "1" * 20_000 + " a@example.com")
    assert found.endswith(" <EMAIL>")
    assert counts["e-mail addresses"] == 2


def test_a_list_of_numbers_is_looked_at_to_its_end():
    """In stretches, which begin and end anywhere in a number."""
    for shift in range(0, 18, 3):
        (found,), counts = masked(shift * "." + "(212) 555-0123, " * 200)
        assert counts == {"phone numbers": 200}
        assert found == shift * "." + "<PHONE>, " * 200


KINDS = list(personal_data.MASKS)
FOUND = st.builds(
    lambda start, size, kind: personal_data._Found(start, start + size, kind),
    *(st.integers(0, 40), st.integers(1, 12), st.sampled_from(KINDS)),
)


@given(st.lists(FOUND, max_size=15))
def test_of_what_overlaps_the_first_kind_then_the_longest_is_chosen(found):
    chosen = []
    for one in sorted(found, key=lambda it: (KINDS.index(it.kind), it.start - it.end, it.start)):
        if all(one.end <= other.start or one.start >= other.end for other in chosen):
            chosen.append(one)
    assert personal_data._chosen(found) == sorted(chosen)


def test_the_choice_among_ten_times_as_many_takes_about_ten_times_the_time():
    def seconds_of(count):
        found = [personal_data._Found(3 * n, 3 * n + 2, "EMAIL_ADDRESS") for n in range(count)]
        return processor_seconds(lambda: personal_data._chosen(found))

    assert seconds_of(8_000) < 30 * max(seconds_of(800), 1e-4)


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
    personal_data._recognizers.cache_clear()
    assert masked("Write to jane@example.co.uk")[0] == ("Write to <EMAIL>",)


def test_novels_hold_none(shared_data):
    novel = sorted(shared_data("lm_novels_en").glob("*.txt"))[0].read_text(encoding="utf-8")
    assert mask_document(tuple(novel[:300_000].split("\n")), REGIONS)[1] == {}
