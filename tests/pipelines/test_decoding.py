"""Bytes to lines of text, and where the bad ones are."""

import gzip
import tracemalloc

import pytest

from tfpt.pipelines.decoding import (
    check_encoding,
    pieces,
    place,
    read_lines,
    resolve_encoding,
)
from tfpt.pipelines.streams import Extent, whole_file


def lines(path, encoding="utf-8", **options):
    return list(read_lines(whole_file(str(path)), encoding, **options))


def test_line_ends_are_those_that_were_asked_for(write):
    path = write("a.txt", "a\r\nb\rc\nd\u2028e\x0bf\x85g")
    last = "d\u2028e\x0bf\x85g"
    assert lines(path) == ["a\n", "b\n", "c\n", last]
    assert lines(path, newline="\n") == ["a\r\n", "b\rc\n", last]
    assert lines(path, newline="") == ["a\r\n", "b\r", "c\n", last]


def test_a_long_line_comes_in_pieces(write):
    path = write("a.txt", "abcdefgh\nij\n\n")
    assert lines(path, longest=3) == ["abc", "def", "gh\n", "ij\n", "\n"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be"])
def test_a_byte_order_mark_is_dropped_and_only_at_the_start(write, encoding):
    text = "\u4f60\ufeff\n\ufeff\u597d\n"
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    path = write("a.txt", mark + text.encode(encoding))
    assert "".join(lines(path, encoding)) == text
    resolved = resolve_encoding(str(path), encoding)
    assert "".join(lines(path, resolved)) == text
    assert resolved in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")


def test_auto_is_what_is_detected(write):
    path = write(
        "a.txt", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!".encode("cp1251")
    )
    assert resolve_encoding(str(path), "auto") == "cp1251"
    assert resolve_encoding(str(path), "latin-1") == "latin-1"


def test_only_text_encodings_are_taken():
    for encoding in ("auto", "utf-8", "GB18030"):
        check_encoding(encoding)
    for encoding in ("utf-9", "hex", "rot13"):
        with pytest.raises(ValueError, match=rf"`encoding` .* \"auto\"; received '{encoding}'"):
            check_encoding(encoding)


# A chunk of 65,536 bytes ends before, within, and behind the bad place.
@pytest.mark.parametrize("padding", [0, 65_530, 65_532, 65_534, 65_536, 200_000])
@pytest.mark.parametrize(
    ("encoding", "good", "bad", "byte"),
    [
        ("utf-8", "\u00e9\n", b"\xe9\n", 0),
        ("utf-8", "\u4f60\n", b"\xe4\xbd\n", 0),
        ("utf-8", "\u4f60\n", b"\xe4\xbd", 0),  # at the end of the file
        ("utf-8", "\u4f60\n", b"ab\xed\xa0\x80\n", 2),  # half of a UTF-16 pair
        ("gb18030", "\u4f60\n", b"\xff\n", 0),
        ("gb18030", "\u4f60\n", b"a\xc4", 1),
        ("shift_jis", "\u3042\n", b"\x82\x0a", 0),
        ("cp1252", "\u201c\n", b"a\x81\n", 1),
        ("utf-16-le", "\u0a0a\n", b"\x00\xd8a\x00", 0),
        ("utf-16-be", "\u0a0a\n", b"\x00", 0),
    ],
)
def test_a_bad_byte_is_named_by_file_line_and_offset(write, padding, encoding, good, bad, byte):
    before = good.encode(encoding)
    before *= padding // len(before) + 1
    path = write("a.txt", before + bad)
    line, offset = before.decode(encoding).count("\n") + 1, len(before) + byte
    message = rf"a\.txt:{line}: the byte 0x{bad[byte]:02x} at offset {offset} is not {encoding} "
    with pytest.raises(ValueError, match=message):
        lines(path, encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16-le", "utf-32-be"])
def test_a_nul_is_named_by_file_line_and_offset(write, encoding):
    before = "one\ntwo".encode(encoding) * 20_000
    path = write("a.txt", before + "\0\n".encode(encoding))
    with pytest.raises(
        ValueError, match=rf"a\.txt:20001: the NUL at offset {len(before)} is not .* binary"
    ):
        lines(path, encoding)


def test_the_offset_counts_decompressed_bytes(write):
    path = write("a.txt.gz", gzip.compress(b"fine\n" * 1000 + b"caf\xe9\n"))
    with pytest.raises(ValueError, match=r"a\.txt\.gz:1001: the byte 0xe9 at offset 5003 is not"):
        lines(path)


def test_utf_16_without_its_mark_is_refused(write):
    with pytest.raises(ValueError, match=r"a\.txt:1: the byte 0x4f at offset 0 is not utf-16"):
        lines(write("a.txt", b"One."), "utf-16")


def test_a_line_of_a_stretch_is_counted_from_the_start_of_the_file(write):
    data = "a\n\u0a0a\nb\n".encode("utf-16-le")
    path = str(write("a.txt", data))
    stretch = Extent(path, 4, start=8, end=12)
    assert list(read_lines(stretch, "utf-16-le")) == ["b\n"]
    assert place(stretch, "utf-16-le", 1) == f"{path}:3"
    assert place(whole_file(path), "utf-16-le", 1) == f"{path}:1"


def test_a_line_of_100_mb_is_not_held_in_memory(write):
    path = write("a.txt", "")
    with open(path, "wb") as file:
        for _ in range(100):
            file.write("\u00e9".encode() * 500_000)
    tracemalloc.start()
    try:
        assert sum(map(len, read_lines(whole_file(str(path)), "utf-8"))) == 50_000_000
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_pieces_are_lines_of_an_open_text(write):
    with open(write("a.txt", "abc\nd"), encoding="utf-8") as file:
        assert list(pieces(file, 2)) == ["ab", "c\n", "d"]
