"""Bytes to lines of text, in an encoding that is named or detected."""

import codecs
import io
from collections.abc import Iterator
from typing import Any

from tfpt.pipelines.detection import detect_encoding, marked_encoding
from tfpt.pipelines.streams import Advance, Extent, open_stream, whole_file

AUTO = "auto"
# No more of one line than this is held, in characters, where lines may come in pieces.
MAX_LINE = 1 << 20

_CHUNK = 1 << 16
_NUL = "the NUL"
_ADVICE = (
    "Convert it to UTF-8 (iconv -f latin1 -t utf-8). Documents are also read with "
    'encoding="latin-1" and the like; encoding="auto" detects it.',
    "The file is binary, or damaged (tr -d '\\000' takes NULs out of a text), or of another "
    'encoding; documents are also read with encoding="utf-16" and the like; "auto" detects it.',
)


def check_encoding(encoding: str) -> None:
    """Raise ValueError unless `encoding` is "auto" or names a text encoding."""
    try:
        if encoding != AUTO:
            "".encode(encoding)
    except LookupError:
        raise ValueError(
            f'`encoding` names a text encoding, as "utf-8", or is "auto"; received {encoding!r}.'
        ) from None


def resolve_encoding(path: str, encoding: str) -> str:
    """The encoding that any stretch of a file can be decoded in.

    "auto" is detected; a byte order mark, where the encoding asks for one, is looked at.
    """
    if encoding == AUTO:
        return detect_encoding(path)
    name = codecs.lookup(encoding).name
    if name in ("utf-16", "utf-32"):
        return marked_encoding(path) or encoding
    return "utf-8" if name == "utf-8-sig" else encoding


def read_lines(
    extent: Extent,
    encoding: str,
    *,
    newline: str | None = None,
    longest: int = MAX_LINE,
    advance: Advance | None = None,
) -> Iterator[str]:
    """The lines of an extent, each with its end.

    A line of more than `longest` characters comes in pieces: a piece without a line end is gone on
    with by the next one. A byte order mark at the start of the file is dropped.

    Args:
        extent: The file, or the stretch of it.
        encoding: As `resolve_encoding` gives it.
        newline: As `open` takes it. None: "\\n", "\\r\\n" and "\\r" end lines, and become "\\n".
        longest: In characters.
        advance: As `open_stream` takes it.

    Raises:
        ValueError: A byte that is not of `encoding`, or a NUL, with its place; or the file's
            compression is damaged.
    """
    try:
        with (
            open_stream(extent, advance) as stream,
            io.TextIOWrapper(stream, encoding=encoding, newline=newline) as file,
        ):
            first = extent.start == 0
            for line in pieces(file, longest):
                if "\0" in line:
                    raise ValueError(_bad_place(extent.path, encoding))
                yield line.removeprefix("\ufeff") if first else line
                first = False
    except UnicodeError as error:
        raise ValueError(_bad_place(extent.path, encoding)) from error


def pieces(file: io.TextIOBase, longest: int = MAX_LINE) -> Iterator[str]:
    """The lines of an open text; those of more than `longest` characters in pieces."""
    return iter(lambda: file.readline(longest), "")


def decoded(value: Any) -> Any:
    """A value in which bytes, also those in lists, are UTF-8; others are left as they are."""
    if isinstance(value, list):
        return [decoded(one) for one in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value


def place(extent: Extent, encoding: str, line: int) -> str:
    """ "FILE:LINE" of a line, counted from 1 within the extent."""
    if extent.start:
        before = Extent(extent.path, extent.start, end=extent.start)
        lines = read_lines(before, encoding, newline="\n")
        line += sum(piece.endswith("\n") for piece in lines)
    return f"{extent.path}:{line}"


def _bad_place(path: str, encoding: str) -> str:
    """Say where the first byte lies that is not of `encoding`, or the first NUL."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, line = 0, 1
    with open_stream(whole_file(path)) as file:
        for chunk in _chunks(file):
            state = decoder.getstate()
            try:
                text = decoder.decode(chunk, final=not chunk)
                is_good = "\0" not in text
            except UnicodeError:
                is_good = False
            if not is_good:
                decoder.setstate(state)
                bad, index, lines = _bad_byte(chunk, decoder, encoding)
                return (
                    f"{path}:{line + lines}: {bad} at offset {offset + index} is not {encoding} "
                    f"text. {_ADVICE[bad == _NUL]}"
                )
            offset += len(chunk)
            line += text.count("\n")
    return f"{path} changed while it was read; read it again."


def _chunks(file: io.BufferedIOBase) -> Iterator[bytes]:
    """The bytes of a file, and at its end none."""
    while chunk := file.read(_CHUNK):
        yield chunk
    yield b""


def _bad_byte(chunk: bytes, decoder: Any, encoding: str) -> tuple[str, int, int]:
    """The bad byte of a chunk, its index and the line ends before it; goes byte by byte."""
    lines = 0
    for i in range(len(chunk) or 1):
        byte = chunk[i : i + 1]
        try:
            text = decoder.decode(byte, final=not chunk)
        except UnicodeDecodeError as error:
            # The decoder saw what it had kept, and this byte.
            index = i + len(byte) - len(error.object) + error.start
            return f"the byte 0x{error.object[error.start]:02x}", index, lines
        except UnicodeError:  # UTF-16 without its byte order mark
            break
        if text.endswith("\0"):
            width = len("\0\0".encode(encoding)) - len("\0".encode(encoding))
            return _NUL, i + 1 - width, lines
        lines += text.count("\n")
    return f"the byte 0x{chunk[0]:02x}", 0, 0
