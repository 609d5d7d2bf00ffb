"""Documents in parts: together they are the whole, and each can be read in another process."""

import bz2
import gzip
import json
import multiprocessing
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfpt.pipelines import read_documents

# Everything that Python or Unicode takes for white space or a line end, and characters whose bytes
# look like them in one encoding or another.
PIECES = st.sampled_from(
    [
        *("\n", "\r\n", "\r", "\n\n", "\n \n", "\n\t\r\n", "\r\r\n", "\n\u3000\n", "\n\x0b\x0c\n"),
        *(" ", "\t", "\x1c", "\x85", "\u2028", "\u00a0", "\ufeff"),
        *("One.", "two", "\u00e9\u00e8", "\u4f60\u597d\u3002", "\U0001f600", "\u0a0a\u0d0d\u200a"),
    ]
)
ENCODINGS = st.sampled_from(
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "auto"]
)


def concatenated(parts):
    return [document for part in parts for document in part]


@settings(max_examples=400, deadline=None)
@given(
    text=st.lists(PIECES, max_size=40).map("".join),
    encoding=ENCODINGS,
    part_bytes=st.integers(1, 60),
)
@example(text="\ufeff\ufeffa\n\n\ufeffb\n\n\ufeff", encoding="utf-8", part_bytes=1)
@example(text="a\r\n\r\n\r\nb\r\r\rc\n\n\rd", encoding="utf-16", part_bytes=1)
def test_the_documents_of_all_parts_are_those_of_the_whole(
    tmp_path_factory, text, encoding, part_bytes
):
    path = tmp_path_factory.mktemp("parts") / "a.txt"
    path.write_bytes(text.encode("utf-8" if encoding == "auto" else encoding))
    documents = read_documents(path, encoding=encoding)
    parts = documents.parts(part_bytes)
    assert concatenated(parts) == list(documents)
    assert sum(part.num_bytes for part in parts) == documents.num_bytes == path.stat().st_size
    assert all(part.bytes_read == part.num_bytes for part in parts)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030"])
def test_a_file_of_many_documents_has_parts_of_the_size_that_was_asked_for(write, encoding):
    text = "\ufeff" + "".join(f"\u4f60 {i}.\r\nTwo \u00e9.\r\n\r\n" for i in range(2_000))
    path = write("a.txt", text.encode("utf-16-le" if encoding == "utf-16" else encoding))
    documents = read_documents(path, encoding=encoding)
    parts = documents.parts(5_000)
    assert concatenated(parts) == list(documents)
    assert len(list(documents)) == 2_000
    assert len(parts) == path.stat().st_size // 5_000 + 1
    assert all(5_000 <= part.num_bytes < 5_100 for part in parts[:-1])


@pytest.fixture
def mixed(write):
    """One source of every kind, some of them compressed."""
    lines = "".join(f"One {i}.\nTwo {i}.\n\n" for i in range(100))
    rows = [{"text": f"Record {i}.\nLine two."} for i in range(100)]
    jsonl = "".join(json.dumps(row) + "\n" for row in rows)
    tsv = "text\tid\n" + "".join(f"Row {i}.\t{i}\n" for i in range(100))
    csv = "text,id\n" + "".join(f'"Cell\n{i}.",{i}\n' for i in range(100))
    return [
        write("a.txt", lines),
        write("b.txt.gz", gzip.compress(lines.encode())),
        write("c.jsonl", jsonl),
        write("d.jsonl.bz2", bz2.compress(jsonl.encode())),
        write("e.tsv", tsv),
        write("f.csv", csv),
        write("g.txt", "No end" * 10),
    ]


@pytest.mark.parametrize("layout", ["lines", "text"])
def test_every_kind_of_file_has_parts(mixed, layout):
    documents = read_documents(mixed, layout=layout)
    parts = documents.parts(500)
    assert concatenated(parts) == list(documents)
    num_cut = {"lines": 3, "text": 2}[layout]  # a.txt, c.jsonl, e.tsv
    assert len(parts) > len(mixed) - num_cut + 3 * num_cut
    assert sum(part.num_bytes for part in parts) == documents.num_bytes
    assert len(documents.parts()) == 1
    for part in parts:
        assert list(part) == list(part)
        assert list(part.parts(1)) != []
        assert concatenated(part.parts(1)) == list(part)


def test_running_text_is_one_part_a_file(write):
    path = write("a.txt", "One. Two.\n\n" * 1000)
    (part,) = read_documents(path, layout="text").parts(100)
    assert list(part) == [("One.", "Two.") * 1000]


def read_part(pickled):
    part = pickle.loads(pickled)
    return list(part), part.bytes_read


def test_a_part_is_read_in_a_process_that_was_spawned(mixed):
    documents = read_documents(mixed)
    parts = documents.parts(1_000)
    next(iter(parts[0]))  # what was read of a part is not sent along
    pickled = [pickle.dumps(part) for part in parts]
    assert max(map(len, pickled)) < 2_000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        read = pool.map(read_part, pickled, chunksize=len(pickled))
    assert [document for found, _ in read for document in found] == list(documents)
    assert [bytes_read for _, bytes_read in read] == [part.num_bytes for part in parts]


def test_what_is_detected_of_a_file_holds_for_its_parts(write):
    text = "plain words\n\n" * 500 + "\u041f\u0440\u0438\u0432\u0435\u0442.\n\n" * 500
    path = write("a.txt", text.encode("cp1251"))
    documents = read_documents(path, encoding="auto")
    parts = documents.parts(1_000)
    assert len(parts) > 10
    assert concatenated(parts) == list(documents)
    assert documents.encodings == parts[0].encodings == {str(path): "cp1251"}


def test_a_bad_byte_of_a_part_is_named_by_its_place_in_the_file(write):
    path = write("a.txt", b"fine\n\n" * 200 + b"caf\xe9\n\n" + b"fine\n\n" * 200)
    with pytest.raises(ValueError, match=r"a\.txt:401: the byte 0xe9 at offset 1203 is not utf-8"):
        concatenated(read_documents(path).parts(100))
    path = write("a.jsonl", '{"text": "a"}\n' * 200 + '{"text": 1}\n' + '{"text": "a"}\n' * 200)
    with pytest.raises(ValueError, match=r"a\.jsonl:201: the field `text` holds 1; a string"):
        concatenated(read_documents(path).parts(100))


def test_the_size_of_parts_is_a_positive_number(write):
    with pytest.raises(ValueError, match="received 0"):
        read_documents(write("a.txt", "One.")).parts(0)


def test_documents_of_any_other_source_are_one_part():
    from tfpt.pipelines import Documents

    documents = Documents(lambda: [["One."], ["Two."]])
    assert documents.parts() == [documents]


def test_a_remote_file_has_parts(remote):
    path = remote("a.txt", "One.\n\n" * 1_000)
    parts = read_documents(path).parts(1_000)
    assert len(parts) == 6
    assert concatenated(parts) == [("One.",)] * 1_000


def test_small_files_go_together_up_to_the_size_of_a_part(write):
    paths = [write(f"{number:03d}.txt", f"sentence {number}\n" * 10) for number in range(40)]
    paths += [write("empty.txt", ""), write("large.txt", "a sentence\n\n" * 500)]
    documents = read_documents(paths)
    size = max(path.stat().st_size for path in paths[:40])
    parts = documents.parts(5 * size)
    assert concatenated(parts) == list(documents)
    assert sum(part.num_bytes for part in parts) == documents.num_bytes
    # Of small ones five go together; the large one is cut.
    assert [len(part.identity) for part in parts[:8]] == [5] * 7 + [6]  # the empty one, too
    assert all(part.num_bytes <= 6 * size for part in parts)
    assert list(read_documents(paths[40]).parts()[0]) == []
