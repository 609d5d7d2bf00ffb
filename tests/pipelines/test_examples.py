"""Where the examples of an epoch start, and that it is found once."""

import json
import shutil

import numpy as np
import pytest
from drawn import assert_equal, take
from hypothesis import given
from hypothesis import strategies as st

from tfpt.pipelines import examples, open_store, verify_store, write_store

BUDGET = 61


def one_by_one(lengths, num_tokens, min_tokens):
    """The definition as a loop; `lengths` of the sentences of each document, in tokens."""
    starts, number = [], 0
    for document in lengths:
        place = 0
        while place < len(document) and sum(document[place:]) >= min_tokens:
            starts.append(number + place)
            filled, place = document[place], place + 1
            while place < len(document) and filled + document[place] <= num_tokens:
                filled, place = filled + document[place], place + 1
        number += len(document)
    return starts


def offsets_of(lengths):
    sentences = np.concatenate([[0], np.cumsum([size for one in lengths for size in one])])
    return sentences, np.concatenate([[0], np.cumsum([len(document) for document in lengths])])


DOCUMENTS = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=20), min_size=1, max_size=20)


@given(DOCUMENTS, st.integers(2, 30), st.sampled_from([1, 2]), st.sampled_from([1, 7, 1 << 22]))
def test_documents_are_cut_as_the_definition_says(lengths, num_tokens, min_tokens, at_once):
    expected = one_by_one(lengths, num_tokens, min_tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "_SENTENCES_AT_ONCE", at_once)
        got = examples.example_starts(*offsets_of(lengths), num_tokens, min_tokens)
    assert list(got) == expected


def test_places_past_2_31_tokens_are_found_too():
    lengths = [[1 << 30, 1 << 30, 5, 1 << 30], [7, 8]]
    got = examples.example_starts(*offsets_of(lengths), 20)
    assert list(got) == one_by_one(lengths, 20, 2) == [0, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def expected(store):
    return examples.find_examples(store, BUDGET)


@pytest.fixture(scope="module")
def batches(store):
    return take(store, 3)


@pytest.fixture
def copy(store, tmp_path, monkeypatch):
    """A store of its own, with examples that are worth keeping."""
    monkeypatch.setattr(examples, "_WORTH_KEEPING", 1)
    shutil.copytree(store.path, tmp_path / "store")
    return open_store(tmp_path / "store")


def test_a_small_store_keeps_nothing(store, expected):
    assert not isinstance(expected, np.memmap)
    assert not (store.path / "examples").exists()


def test_what_was_found_is_kept_and_mapped(copy, expected, monkeypatch):
    first = examples.find_examples(copy, BUDGET)
    assert isinstance(first, np.memmap)
    assert first.dtype == np.uint32
    np.testing.assert_array_equal(first, expected)
    monkeypatch.setattr(examples, "example_starts", None)  # it is not found again
    np.testing.assert_array_equal(examples.find_examples(copy, BUDGET), first)
    names = sorted(path.name for path in (copy.path / "examples").iterdir())
    assert names == ["61-2.bin", "61-2.json"]


def test_batches_are_the_same_with_kept_examples(batches, copy):
    for _ in range(2):  # found, then kept
        assert_equal(take(copy, 3), batches)
    assert (copy.path / "examples").exists()


@pytest.mark.parametrize(
    "damage", ["shorter", "of another store", "no description", "another description", "gone"]
)
def test_what_is_not_of_this_store_is_found_again(copy, expected, damage):
    examples.find_examples(copy, BUDGET)
    path = copy.path / "examples" / "61-2.bin"
    description = path.with_suffix(".json")
    if damage == "shorter":
        path.write_bytes(path.read_bytes()[:-4])
    elif damage == "no description":
        description.unlink()
    elif damage == "another description":
        description.write_text("[]")
    elif damage == "gone":
        path.unlink()
    else:
        changed = {**json.loads(description.read_text()), "store": "of another"}
        description.write_text(json.dumps(changed))
    verify_store(copy)  # what is not its own does not count
    np.testing.assert_array_equal(examples.find_examples(copy, BUDGET), expected)
    assert json.loads(description.read_text())["store"] == copy.identity


def test_a_folder_that_cannot_be_written_to_is_no_obstacle(copy, expected, files_of_at_most):
    with files_of_at_most(10):
        got = examples.find_examples(copy, BUDGET)
    np.testing.assert_array_equal(got, expected)
    assert list((copy.path / "examples").iterdir()) == []


def test_damaged_examples_are_found_by_verification(copy):
    examples.find_examples(copy, BUDGET)
    verify_store(copy)  # as it was written
    path = copy.path / "examples" / "61-2.bin"
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"61-2\.bin is damaged in block 0.*Remove it"):
        verify_store(copy)


def test_a_large_store_is_written_with_those_of_the_usual_lengths(
    corpus, tokenizer, tmp_path, monkeypatch
):
    written = write_store(corpus, tokenizer, tmp_path / "small")
    assert not (written.path / "examples").exists()
    monkeypatch.setattr(examples, "_WORTH_KEEPING", 1)
    written = write_store(corpus, tokenizer, tmp_path / "large")
    names = sorted(path.name for path in (written.path / "examples").glob("*.bin"))
    assert names == ["125-2.bin", "509-2.bin"]


@pytest.mark.parametrize("value", [0, 10**9])
def test_documents_that_do_not_follow_each_other_are_refused(copy, value):
    path = copy.path / "document_offsets.bin"
    offsets = np.fromfile(path, "<i8")
    offsets[5] = value
    offsets.tofile(path)
    with pytest.raises(ValueError, match=r"is damaged: its documents .* --verify"):
        take(open_store(copy.path), 1)
