"""Counts of parts become those of a corpus, in any order."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tfpt.pipelines.cleaning import counts
from tfpt.pipelines.cleaning.settings import Cleaning
from tfpt.pipelines.cleaning.steps import clean_document

CLEANING = Cleaning(unicode="nfc", min_words=2, num_examples=2)
documents = st.lists(
    st.lists(st.sampled_from(["a", "b c", "e\u0301 f", "\u200b"]), min_size=1, max_size=3),
    max_size=5,
)


def report(given_documents):
    made = counts.empty_report(CLEANING.steps)
    for document in given_documents:
        clean_document(tuple(document), CLEANING, made)
    return made


def merged(reports):
    return counts.merge_reports(reports, CLEANING.num_examples)


@given(st.lists(documents, min_size=2, max_size=4))
def test_parts_add_up_to_the_whole_in_any_order_and_grouping(parts):
    whole = report(itertools.chain.from_iterable(parts))
    reports = [report(part) for part in parts]
    assert merged(reports) == whole
    assert merged(reversed(reports)) == whole
    assert merged([reports[0], merged(reports[1:])]) == whole
    assert merged([*reports, report([])]) == whole


@given(documents)
def test_every_document_is_left_or_dropped_for_one_reason(given_documents):
    made = report(given_documents)
    dropped = sum(sum(step["dropped"].values()) for step in made["steps"].values())
    assert made["before"]["documents"] == made["after"]["documents"] + dropped
    assert sum(made["lengths_before"].values()) == made["before"]["documents"]
    assert sum(made["lengths_after"].values()) == made["after"]["documents"]


@given(st.integers(0, 10**9))
def test_a_length_lies_in_its_bin(length):
    number = counts.length_bin(length)
    starts = [counts.bin_start(place) for place in range(number, number + 3)]
    assert starts[0] <= length < max(starts[1:3])
    assert counts.length_bin(starts[0]) in (number, number - 1)


def test_bins_begin_at_powers_of_two_and_half_way_between():
    lengths = [0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 1000, 1024, 1536]
    starts = [counts.bin_start(counts.length_bin(length)) for length in lengths]
    assert starts == [0, 1, 2, 3, 4, 4, 6, 8, 8, 12, 768, 1024, 1536]


def test_examples_are_those_of_the_lowest_hash_and_each_once():
    texts = [(f"document {number}",) for number in range(20)]
    chosen = []
    for order in (texts, texts[::-1], [*texts, *texts]):
        examples: dict = {}
        for text in order:
            counts.add_example(examples, "why", text, lambda text=text: {"text": text[0]}, 3)
        chosen.append(examples)
    assert chosen[0] == chosen[1] == chosen[2]
    assert len(chosen[0]["why"]) == 3
    none: dict = {}
    counts.add_example(none, "why", ("a",), dict, 0)
    assert none == {}


def test_long_texts_are_cut():
    assert counts.shortened("a" * 200) == "a" * 200
    assert counts.shortened("a" * 201) == "a" * 199 + "\u2026"
