"""Parts of a source of documents: a file or a stretch of it, a data set or a stretch of it.

A part is a description: nothing in it is open, and it can be pickled. It reads its documents, and
can be cut into smaller parts, which give the same documents one after the other.
"""

import dataclasses
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tfpt.pipelines import prepared, records
from tfpt.pipelines.cutting import cut_at_lines
from tfpt.pipelines.decoding import (
    AUTO,
    MAX_LINE,
    check_encoding,
    pieces,
    read_lines,
    resolve_encoding,
)
from tfpt.pipelines.files import file_version
from tfpt.pipelines.sentences import split_lines
from tfpt.pipelines.streams import Advance, Extent, split_ending

LAYOUTS = ("lines", "text")

# No more of one document than this is held in memory, in characters.
_MAX_DOCUMENT = 1 << 24

# Half of a UTF-16 pair, as a broken JSON escape leaves it: no file can hold it.
_SURROGATE = re.compile("[\ud800-\udfff]")

Document = Sequence[str]


@dataclasses.dataclass(frozen=True)
class Reading:
    """How to read: the arguments of `read_documents`."""

    layout: str
    field: str
    encoding: str
    language: str
    segmented: bool = False

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f'`layout` is "lines" or "text"; received layout={self.layout!r}.')
        if not re.fullmatch(r"[a-z]{2,3}(-\w+)*", self.language):
            raise ValueError(f'`language` is an ISO 639 code, as "en"; received {self.language!r}.')
        check_encoding(self.encoding)

    def sentences(self, lines: Iterable[str]) -> Iterator[str]:
        """The sentences of `lines`; "" where the layout has a document end."""
        if self.layout == "text":
            return split_lines(lines, self.language)
        return _sentences_by_line(lines)


@dataclasses.dataclass(frozen=True)
class FilePart:
    """A file, or a stretch of it, to be read."""

    extent: Extent
    reading: Reading
    encoding: str = ""  # as it turned out; empty: not yet looked for

    @property
    def num_bytes(self) -> int | None:
        return self.extent.num_bytes

    @property
    def identity(self) -> str:
        """What is read, and the state that the file is in."""
        return repr((self.extent, self.reading, file_version(self.extent.path)))

    def read(self, advance: Advance, encodings: dict[str, str]) -> Iterator[Document]:
        """The documents; what was detected is noted in `encodings`, by path."""
        encoding = self._encoding()
        if self.reading.encoding == AUTO and not self._is_parquet:
            encodings[self.extent.path] = encoding
        if not self._is_records:
            lines = read_lines(self.extent, encoding, longest=MAX_LINE, advance=advance)
            yield from _gathered(self.reading.sentences(lines))
            return
        names = [self.reading.field]
        for row, (value,) in records.read_columns(self.extent, names, encoding, advance):
            if problem := _problem(value):
                place = records.row_place(self.extent, encoding, row)
                raise ValueError(f"{place}: the field `{self.reading.field}` holds {problem}")
            yield from _gathered(_sentences_of(value, self.reading))

    def cut(self, part_bytes: int) -> Sequence["FilePart"]:
        """Parts of about `part_bytes` each, whose documents are those of this one."""
        if self.extent.num_bytes <= part_bytes or self._is_stretch:
            return [self]
        encoding = self._encoding()
        if self._is_records:
            extents = records.cut_records(self.extent, encoding, part_bytes)
        elif self.reading.layout == "lines":
            extents = cut_at_lines(self.extent, encoding, part_bytes, blank=True)
        else:
            return [self]
        return [FilePart(extent, self.reading, encoding) for extent in extents]

    @property
    def _is_records(self) -> bool:
        return split_ending(self.extent.path)[0] in records.ENDINGS

    @property
    def _is_parquet(self) -> bool:
        return split_ending(self.extent.path)[0] == ".parquet"

    @property
    def _is_stretch(self) -> bool:
        return self.extent.start > 0 or self.extent.end is not None

    def _encoding(self) -> str:
        if self._is_parquet:
            return "utf-8"
        return self.encoding or resolve_encoding(self.extent.path, self.reading.encoding)


@dataclasses.dataclass(frozen=True)
class SplitPart:
    """Examples of a data set, to be read."""

    split: prepared.PreparedSplit
    reading: Reading

    @property
    def num_bytes(self) -> int | None:
        return self.split.num_bytes

    @property
    def identity(self) -> str:
        """What is read; a data set that was prepared does not change."""
        return repr((self.split, self.reading))

    def read(self, advance: Advance, encodings: dict[str, str]) -> Iterator[Document]:
        """The documents; there is nothing to be noted in `encodings`."""
        field = self.reading.field
        for place, value in prepared.read_field(self.split, field, advance):
            if problem := _problem(value):
                raise ValueError(f"{place}: the field `{field}` holds {problem}")
            yield from _gathered(_sentences_of(value, self.reading))

    def cut(self, part_bytes: int) -> Sequence["SplitPart"]:
        """Parts of about `part_bytes` each, whose documents are those of this one."""
        splits = prepared.cut_split(self.split, part_bytes)
        return [SplitPart(split, self.reading) for split in splits]


Part = FilePart | SplitPart


def _problem(value: Any) -> str:
    """What is wrong with the text of a record; empty if nothing is."""
    sentences = value if isinstance(value, list) else [value]
    if not all(isinstance(sentence, str) for sentence in sentences):
        shown = json.dumps(value, default=repr)[:80]
        return f"{shown}; a string or a list of strings is needed."
    if any(_SURROGATE.search(sentence) for sentence in sentences):
        return "half of a surrogate pair, which is no character. Remove it."
    return ""


def _sentences_of(value: Any, reading: Reading) -> Iterator[str]:
    """The sentences in the text of a record, none empty."""
    if isinstance(value, list):
        return filter(None, map(str.strip, value))
    return filter(None, reading.sentences(pieces(io.StringIO(value, newline=None), MAX_LINE)))


def _sentences_by_line(lines: Iterable[str]) -> Iterator[str]:
    """A sentence a line, and "" for a blank one; a line in pieces is cut at white space."""
    rest = ""
    in_line = False
    for line in lines:
        goes_on = len(line) >= MAX_LINE and not line.endswith("\n")
        line, rest = rest + line, ""
        if goes_on:
            cut = line.rfind(" ") + 1
            line, rest = (line[:cut], line[cut:]) if cut else (line, "")
        sentence = line.strip()
        # White space within a long line is no blank line.
        if sentence or not (in_line or goes_on):
            yield sentence
        in_line = goes_on
    if rest:
        yield rest.strip()


def _gathered(sentences: Iterable[str]) -> Iterator[Document]:
    """Documents from sentences; "" ends one, and so does the bound on its length."""
    document: list[str] = []
    size = 0
    for sentence in sentences:
        if sentence:
            document.append(sentence)
            size += len(sentence)
        if not sentence or size >= _MAX_DOCUMENT:
            yield document
            document, size = [], 0
    yield document
