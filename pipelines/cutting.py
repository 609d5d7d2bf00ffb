"""Large text files cut into stretches that can be read on their own.

A stretch begins where its format begins anew, behind a line end or a blank line. So the lines of
all stretches, one after the other, are those of the file.
"""

import codecs
import io
import re

from tfpt.pipelines.files import open_file
from tfpt.pipelines.streams import Extent, is_compressed

# Bytes looked at at once for a place to cut, and of how many at their end the next look begins.
_WINDOW = 1 << 16
_OVERLAP = 1 << 10
# White space in a blank line; there is more in Unicode, which is not looked for.
_WHITE_SPACE = " \t\r\x0b\x0c"
# What a byte means depends on what came before it, across line ends.
_WITH_STATES = ("iso2022", "idna", "unicode-escape", "raw-unicode-escape")
_WIDE_ENCODINGS = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


def cut_at_lines(extent: Extent, encoding: str, part_bytes: int, *, blank: bool) -> list[Extent]:
    """Cut a text file into stretches of about `part_bytes`, each beginning with a line.

    A file is one stretch if it is compressed, or its encoding is not one whose characters can be
    told apart from any place on.

    Args:
        extent: A whole file.
        encoding: As `resolve_encoding` gives it.
        part_bytes: A stretch ends at the first place that it can, once it has so many.
        blank: Whether to cut behind blank lines only.
    """
    if is_compressed(extent.path) or not _can_be_cut(encoding):
        return [extent]
    newline, spaces = "\n".encode(encoding), [c.encode(encoding) for c in _WHITE_SPACE]
    line_end = re.escape(newline)
    if blank:
        line_end += b"(?:" + b"|".join(map(re.escape, spaces)) + b")*" + line_end
    pattern = re.compile(line_end, re.DOTALL)

    starts = [0]
    with open_file(extent.path) as file:
        while starts[-1] + part_bytes < extent.num_bytes:
            place = _next_match(file, pattern, len(newline), starts[-1] + part_bytes)
            if place is None or place >= extent.num_bytes:
                break
            starts.append(place)
    if len(starts) == 1:
        return [extent]
    ends = [*starts[1:], extent.num_bytes]
    return [
        Extent(extent.path, end - start, start, end)
        for start, end in zip(starts, ends, strict=True)
    ]


def _can_be_cut(encoding: str) -> bool:
    """Whether the bytes of a line end, at a place where one can be, are always one."""
    if encoding in _WIDE_ENCODINGS:
        return True
    if codecs.lookup(encoding).name.startswith(_WITH_STATES):
        return False
    # The second bytes of Chinese, Japanese and Korean encodings are all above white space.
    ascii_bytes = bytes(range(128))
    try:
        return ascii_bytes.decode(encoding) == ascii_bytes.decode("ascii")
    except UnicodeError:
        return False


def _next_match(
    file: io.BufferedReader, pattern: re.Pattern[bytes], width: int, start: int
) -> int | None:
    """The end of the first match that begins at `start` or later, at a multiple of `width`."""
    start -= start % width
    while True:
        file.seek(start)
        window = file.read(_WINDOW)
        match = pattern.search(window)
        while match and match.start() % width:
            match = pattern.search(window, match.start() + 1)
        if match:
            return start + match.end()
        if len(window) < _WINDOW:
            return None
        start += _WINDOW - _OVERLAP
