"""What is too long to be read again is written in parts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpt.pipelines import Cleaning, clean_documents, read_documents, records
from tfpt.pipelines.cleaning.long_documents import document_parts
from tfpt.pipelines.cleaning.part_files import document_line
from tfpt.pipelines.cleaning.unicode import normalize_document

MAX_RECORD = 2_000
# Letters of the largest growth: by NFC, by NFKC, by JSON.
LETTERS = 'ab \U0001d160\ufdfa\x01\x00\n"\\\u00e9'


@pytest.fixture
def short_records(monkeypatch):
    monkeypatch.setattr(records, "MAX_RECORD", MAX_RECORD)


def parts(document, unicode=""):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(records, "MAX_RECORD", MAX_RECORD)
        return list(document_parts(document, unicode))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(LETTERS, min_size=1, max_size=300).filter(str.strip), min_size=1),
    st.sampled_from(["", "nfc", "nfkc"]),
    st.integers(1, 8),
)
def test_lines_are_short_enough_and_hold_the_document(sentences, unicode, times):
    document = tuple(sentences) * times
    found = parts(document, unicode)
    for part in found:
        assert len(document_line(part)) <= MAX_RECORD // 2
        if unicode:
            assert len(document_line(normalize_document(part, unicode))) <= MAX_RECORD // 2
    joined, whole = ("".join("".join(map("".join, them)).split()) for them in (found, [document]))
    assert joined == whole


def test_parts_end_between_sentences_and_are_of_about_the_same_length():
    document = tuple(f"sentence {number}" for number in range(90))
    found = parts(document)
    assert sum(found, ()) == document
    assert len(found) == 2
    assert abs(len(found[0]) - len(found[1])) <= 2


def test_a_document_that_is_short_enough_stays_as_it_is():
    document = (" a  b ", "\n", "c" * 900)
    assert parts(document) == [document]
    assert parts(()) == [()]


def test_a_sentence_that_is_too_long_is_cut_at_white_space():
    found = parts((" ".join(["word"] * 400),))
    assert len(found) > 1
    assert {word for part in found for sentence in part for word in sentence.split()} == {"word"}


def test_what_is_written_is_read_and_counted_as_it_is(short_records, tmp_path):
    """Of one-letter sentences, most of a line is what stands between them."""
    long = ("a",) * 1_000
    written = clean_documents([long, ("short", "one")], tmp_path / "c", Cleaning(min_words=1))
    lines = (tmp_path / "c" / "00000.jsonl").read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) < MAX_RECORD // 2
    documents = list(read_documents(tmp_path / "c"))
    assert sum(documents, ()) == (*long, "short", "one")
    assert documents == [tuple(json.loads(line)["text"]) for line in lines]
    for when in ("before", "after"):
        assert written.report[when]["documents"] == len(documents) == 7
        assert written.report[when]["sentences"] == 1_002
