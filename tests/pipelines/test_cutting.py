"""Places where a text file can be cut."""

import pytest

from tfpt.pipelines import cutting
from tfpt.pipelines.cutting import cut_at_lines
from tfpt.pipelines.streams import whole_file


def contents(write, data, encoding, part_bytes, blank):
    """What the stretches of a file hold."""
    path = write("a.txt", data)
    extents = cut_at_lines(whole_file(str(path)), encoding, part_bytes, blank=blank)
    assert extents[0].start == 0
    assert sum(extent.num_bytes for extent in extents) == len(data)
    return [data[extent.start : extent.end] for extent in extents]


def test_a_stretch_ends_at_the_first_line_end_once_it_has_its_size(write):
    data = b"a\nbb\nccc\ndddd\n"
    assert contents(write, data, "utf-8", 1, False) == [b"a\n", b"bb\n", b"ccc\n", b"dddd\n"]
    assert contents(write, data, "utf-8", 5, False) == [b"a\nbb\nccc\n", b"dddd\n"]
    assert contents(write, data, "utf-8", 100, False) == [data]
    assert contents(write, b"no line end", "utf-8", 2, False) == [b"no line end"]


def test_documents_part_behind_blank_lines_only(write):
    data = b"a\nb\n\nc\r\n \t\r\nd\n\x0b\x0c\n\n\n\ne\n\xe2\x80\x80\nf\n"
    expected = [b"a\nb\n\n", b"c\r\n \t\r\n", b"d\n\x0b\x0c\n\n", b"\n\ne\n\xe2\x80\x80\nf\n"]
    assert contents(write, data, "utf-8", 2, True) == expected


def test_line_ends_of_wide_characters_begin_at_a_character(write):
    text = "a\u0a0a\u0a00\u000a\u0a0d\u0d0a\u000ab"
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        parts = contents(write, text.encode(encoding), encoding, 1, False)
        assert [part.decode(encoding) for part in parts] == [
            "a\u0a0a\u0a00\n",
            "\u0a0d\u0d0a\n",
            "b",
        ]
        blank = text.replace("\n", "\n \n").encode(encoding)
        parts = contents(write, blank, encoding, 1, True)
        assert [part.decode(encoding)[-3:] for part in parts] == ["\n \n", "\n \n", "b"]


@pytest.mark.parametrize("window", [8, 12, 1 << 16])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_a_place_on_the_border_of_a_look_is_found(write, window, encoding, monkeypatch):
    monkeypatch.setattr(cutting, "_WINDOW", window)
    monkeypatch.setattr(cutting, "_OVERLAP", 4)
    for length in range(1, 40):
        data = ("x" * length + "\n\ny").encode(encoding)
        parts = contents(write, data, encoding, 1, True)
        assert [part.decode(encoding) for part in parts] == ["x" * length + "\n\n", "y"]


def test_other_file_systems_are_cut_alike(remote):
    path = remote("a.txt", "a\n\nb\n\nc\n")
    extents = cut_at_lines(whole_file(path), "utf-8", 1, blank=True)
    assert [(extent.start, extent.end) for extent in extents] == [(0, 3), (3, 6), (6, 8)]
