"""Documents that were there before, found on disk."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpt.pipelines.cleaning import duplicates
from tfpt.pipelines.cleaning.duplicates import HASH, document_hash, earlier_documents


def blocks(keys, size):
    for start in range(0, len(keys), size):
        part = keys[start : start + size]
        yield part, np.arange(start, start + len(part))


def found(keys, folder, *, size=7, sort_bytes=None):
    """The pairs (document, first), sorted."""
    pairs = earlier_documents(blocks(keys, size), folder, sort_bytes)
    return sorted((int(a), int(b)) for one, two in pairs for a, b in zip(one, two, strict=True))


def expected(keys):
    first: dict = {}
    pairs = []
    for number, key in enumerate(keys.tolist()):
        if key in first:
            pairs.append((number, first[key]))
        first.setdefault(key, number)
    return pairs


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (("A  b", "c"), ("a", "B C"), True),
        (("Stra\u00dfe",), ("STRASSE",), True),
        (("a b",), ("ab",), False),
        (("a.",), ("a",), False),
        (("\u5e8a\u524d",), ("\u5e8a\u524d",), True),
    ],
)
def test_letter_case_and_white_space_do_not_count(one, other, equal):
    assert (document_hash(one) == document_hash(other)) is equal
    assert len(document_hash(one)) == HASH.itemsize == 16


def random_keys(count, different, dtype="<u8"):
    random = np.random.default_rng(0)
    keys = np.zeros(count, dtype)
    values = random.integers(0, 2**64, different, dtype=np.uint64)
    chosen = random.choice(values, count)
    if keys.dtype.names:
        keys["high"], keys["low"] = chosen, chosen % np.uint64(3)
    else:
        keys[:] = chosen
    return keys


@pytest.mark.parametrize("dtype", ["<u8", HASH], ids=["bands", "hashes"])
@pytest.mark.parametrize("sort_bytes", [None, 4096, 64], ids=["whole", "files", "many files"])
def test_the_first_of_equal_keys_is_found_also_in_many_files(tmp_path, dtype, sort_bytes):
    keys = random_keys(2_000, 600, dtype)
    assert found(keys, tmp_path, sort_bytes=sort_bytes) == expected(keys)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_comes_often_takes_no_more_memory(tmp_path, monkeypatch):
    """No array that is sorted is longer than the bound, though all keys go to one file."""
    longest = []
    sort = np.lexsort
    monkeypatch.setattr(np, "lexsort", lambda keys: longest.append(len(keys[0])) or sort(keys))
    keys = np.full(5_000, 2**63 + 5, np.uint64)
    assert found(keys, tmp_path, sort_bytes=64 * 100) == [(n, 0) for n in range(1, 5_000)]
    assert max(longest) <= 101


@pytest.mark.parametrize("dtype", ["<u8", HASH], ids=["bands", "hashes"])
def test_memory_stays_within_what_is_stated(tmp_path, dtype):
    keys = random_keys(400_000, 300_000, dtype)
    tracemalloc.start()
    count = sum(
        len(one) for one, _ in earlier_documents(blocks(keys, 4_000), tmp_path, sort_bytes=1 << 20)
    )
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == len(expected(keys))
    assert most < 1.3 * (1 << 20)  # of 6.4 and 9.6 MB of records


def test_memory_is_bounded_by_files(tmp_path, monkeypatch):
    longest = []
    sort = np.lexsort
    monkeypatch.setattr(np, "lexsort", lambda keys: longest.append(len(keys[0])) or sort(keys))
    keys = random_keys(20_000, 20_000)
    assert found(keys, tmp_path, size=1_000, sort_bytes=64 * 400) == expected(keys)
    assert len(longest) > 50
    assert max(longest) <= 600  # of 20,000; what falls into a file varies


@given(keys=st.lists(st.integers(0, 5), max_size=40), size=st.integers(1, 9))
def test_numbers_of_documents_may_have_gaps(tmp_path_factory, keys, size):
    mixed = np.array(keys, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    numbers = np.arange(len(keys)) * 3 + 1
    pieces = [(mixed[at : at + size], numbers[at : at + size]) for at in range(0, len(keys), size)]
    pairs = earlier_documents(iter(pieces), tmp_path_factory.getbasetemp(), 64)
    got = sorted((int(a), int(b)) for one, two in pairs for a, b in zip(one, two, strict=True))
    assert got == [(3 * a + 1, 3 * b + 1) for a, b in expected(mixed)]


def test_no_document_has_no_duplicate(tmp_path):
    assert found(np.zeros(0, "<u8"), tmp_path) == []
    assert duplicates.SORT_BYTES == 1 << 28
