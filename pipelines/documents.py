"""Documents as sequences of sentences, read as a stream from text files, JSONL and tfds."""

import codecs
import dataclasses
import functools
import glob
import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tfpt.pipelines.sentences import MAX_PARAGRAPH, split_lines

LAYOUTS = ("lines", "text")

# No more of one document than this is held in memory, in characters.
_MAX_DOCUMENT = 1 << 24
_ENDLESS = 1 << 62

_FOLDER_ENDINGS = (".txt", ".jsonl")
_UNSUPPORTED_ENDINGS = {
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".tar", ".tgz"), "compressed"),
    **dict.fromkeys((".parquet", ".arrow", ".feather", ".tfrecord", ".npy"), "binary"),
    **dict.fromkeys((".pdf", ".docx", ".epub"), "formatted"),
}

# Half of a UTF-16 pair, as a broken JSON escape leaves it: no file can hold it.
_SURROGATE = re.compile("[\ud800-\udfff]")

Source = str | os.PathLike[str]
Document = Sequence[str]
_Advance = Callable[[int], None]


class Documents:
    """Documents that can be read again and again; each is a tuple of sentences, none empty.

    Attributes:
        num_bytes: How much there is to read, in bytes on disk; None if unknown.
        bytes_read: How much of it the iteration under way has read; 0 when a new one starts.
    """

    def __init__(self, source: Callable[[], Iterable[Document]], *, num_bytes: int | None = None):
        """Wrap any source of documents.

        Args:
            source: Called at the start of each iteration; gives the documents from the first one
                on. Empty sentences and empty documents are left out. It may call `advance`.
            num_bytes: What the calls of `advance` add up to, if known.
        """
        self._source = source
        self.num_bytes = num_bytes
        self.bytes_read = 0

    def advance(self, num_bytes: int) -> None:
        """Report that `num_bytes` more were read; called by sources."""
        self.bytes_read += num_bytes

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        self.bytes_read = 0
        for document in self._source():
            if sentences := tuple(filter(None, document)):
                yield sentences


def read_documents(
    source: Source | Iterable[Source],
    *,
    layout: str = "lines",
    field: str = "text",
    encoding: str = "utf-8",
    language: str = "en",
) -> Documents:
    """Read documents from text files, JSONL files or datasets of tensorflow-datasets.

    Files are opened anew at each iteration and read as a stream, in the order given; within a glob
    or a folder sorted by path. One document at a time is in memory, and of a document of more than
    16 million characters one part at a time: such a part is then a document of its own.

    Args:
        source: A path, a glob (`"wiki/*.txt"`; `**` stands for any folders), a folder (the .txt and
            .jsonl files below it), `"tfds:NAME"` or `"tfds:NAME[SPLIT]"` (train by default), or a
            list of those. A file found twice is read once. A file ending in .jsonl holds a JSON
            object a line, each a document; all others are plain text.
        layout: How plain text is cut. "lines": one sentence a line, blank lines between documents.
            "text": running text, each file a document, split into sentences; see
            `tfpt.pipelines.sentences` on how paragraphs are told, hard-wrapped text included. The
            text of a record (JSON, tfds) is always one document.
        field: Of a record: what holds the text, a string or a list of sentences.
        encoding: Of the files. A byte order mark is dropped.
        language: ISO 639 code, for splitting running text into sentences.

    Raises:
        FileNotFoundError: Nothing at a path, or no file that matches a glob.
        ValueError: A format that is not supported, or an argument out of range. While reading: a
            byte that is not of `encoding`, invalid JSON, a record without `field`.
    """
    reading = _Reading(layout, field, encoding, language)
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not sources:
        raise ValueError("`source` is an empty list; name at least one file, glob or folder.")

    parts: dict[str, Callable[[_Advance], Iterator[Document]]] = {}
    for name in [os.fspath(one) for one in sources]:
        if name.startswith("tfds:"):
            parts[name] = functools.partial(_read_tfds, name, _open_tfds(name, field), reading)
            continue
        for path in _find_files(name):
            parts[path] = functools.partial(_read_file, path, reading)
    num_bytes = None
    if not any(name.startswith("tfds:") for name in parts):
        num_bytes = sum(os.path.getsize(path) for path in parts)

    documents = Documents(
        lambda: itertools.chain.from_iterable(read(documents.advance) for read in parts.values()),
        num_bytes=num_bytes,
    )
    return documents


@dataclasses.dataclass(frozen=True)
class _Reading:
    """How to read; the arguments of `read_documents`."""

    layout: str
    field: str
    encoding: str
    language: str

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f'`layout` is "lines" or "text"; received layout={self.layout!r}.')
        if not re.fullmatch(r"[a-z]{2,3}(-\w+)*", self.language):
            raise ValueError(f'`language` is an ISO 639 code, as "en"; received {self.language!r}.')
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(
                f'`encoding` names a text encoding, as "utf-8"; received {self.encoding!r}.'
            ) from None

    def sentences(self, lines: Iterable[str]) -> Iterator[str]:
        """The sentences of `lines`; "" where the layout has a document end."""
        if self.layout == "text":
            return split_lines(lines, self.language)
        return (line.strip() for line in lines)


def _find_files(name: str) -> list[str]:
    """The files that a path, a folder or a glob stands for."""
    pattern = os.path.expanduser(name)
    if os.path.isdir(pattern):
        below = glob.iglob(os.path.join(glob.escape(pattern), "**", "*"), recursive=True)
        paths = sorted(path for path in below if path.endswith(_FOLDER_ENDINGS))
        nothing = f"The folder {name} holds no .txt or .jsonl file. For other endings use a glob"
    elif os.path.isfile(pattern) or not glob.has_magic(pattern):
        paths = [pattern]
        nothing = f"There is no file {name}"
    else:
        paths = sorted(glob.iglob(pattern, recursive=True))
        nothing = f"No file matches {name}"
    paths = [path for path in paths if os.path.isfile(path)]
    if not paths:
        where = "" if os.path.isabs(pattern) else f" (looked in {os.getcwd()})"
        raise FileNotFoundError(f"{nothing}{where}. Check the path; quote a glob in the shell.")
    for path in paths:
        ending = os.path.splitext(path)[1].lower()
        if ending in _UNSUPPORTED_ENDINGS:
            raise ValueError(
                f"{path}: {_UNSUPPORTED_ENDINGS[ending]} files ({ending}) are not supported yet; "
                "convert to plain text or JSONL first."
            )
    return paths


def _read_file(path: str, reading: _Reading, advance: _Advance) -> Iterator[Document]:
    if path.lower().endswith(".jsonl"):
        for number, line in enumerate(_lines(path, reading.encoding, advance), 1):
            if line.strip():
                yield _record_in_json(line, f"{path}, line {number}", reading)
    else:
        lines = _lines(path, reading.encoding, advance, longest=MAX_PARAGRAPH)
        yield from _gather(reading.sentences(lines))


def _lines(
    path: str, encoding: str, advance: _Advance, *, longest: int = _ENDLESS
) -> Iterator[str]:
    """The lines of a file; one of more than `longest` characters in parts, cut at white space."""
    position, rest = 0, ""
    try:
        with open(path, "rb") as raw, io.TextIOWrapper(raw, encoding=encoding) as file:
            for number in itertools.count(1):
                line = file.readline(longest - len(rest))
                advance(raw.tell() - position)
                position = raw.tell()
                if not line:
                    break
                if "\0" in line:
                    raise ValueError(
                        f"{path} holds a NUL byte, in line {number}: it is a binary file, or of "
                        f"another encoding than {encoding}. Convert it, or pass the encoding it "
                        'has, as encoding="utf-16".'
                    )
                line = rest + (line if number > 1 else line.removeprefix("\ufeff"))
                rest = ""
                if not line.endswith("\n") and len(line) >= longest:
                    cut = line.rfind(" ") + 1
                    line, rest = (line[:cut], line[cut:]) if cut else (line, "")
                yield line
    except UnicodeError as error:
        raise ValueError(_undecodable(path, encoding)) from error
    if rest:
        yield rest


def _undecodable(path: str, encoding: str) -> str:
    """Say where the first byte lies that is not of `encoding`."""
    decoder = codecs.getincrementaldecoder(encoding)()
    start, num_lines = 0, 0
    place = path
    with open(path, "rb") as file:
        for chunk in itertools.chain(iter(functools.partial(file.read, 1 << 20), b""), [b""]):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line = num_lines + error.object[pending : error.start].count(b"\n") + 1
                offset = start - pending + error.start
                byte = f"0x{error.object[error.start]:02x}"
                place = f"{path}, line {line}: the byte {byte} at offset {offset}"
                break
            except UnicodeError:  # UTF-16 without its byte order mark.
                break
            start += len(chunk)
            num_lines += chunk.count(b"\n")
    return (
        f"{place} is not {encoding}. Convert the file to UTF-8 (iconv -f latin1 -t utf-8), or pass "
        'the encoding it has, as encoding="latin-1".'
    )


def _record_in_json(line: str, place: str, reading: _Reading) -> Document:
    try:
        record = json.loads(line.rstrip())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{place} is not JSON: {error.msg} at column {error.colno}. A .jsonl file holds one "
            "JSON object a line; give other files another ending."
        ) from None
    if not isinstance(record, dict):
        raise ValueError(f"{place} is not a JSON object, but {type(record).__name__}.")
    if reading.field not in record:
        raise ValueError(
            f"{place} has no field {reading.field!r}; its fields are {', '.join(record) or 'none'}."
            ' Name the one with the text, as field="body".'
        )
    return _document(record[reading.field], place, reading)


def _document(value: Any, place: str, reading: _Reading) -> Document:
    """The document in the text field of a record."""
    sentences = value if isinstance(value, list) else [value]
    if not all(isinstance(sentence, str) for sentence in sentences):
        raise ValueError(
            f"{place}: the field {reading.field!r} holds {json.dumps(value, default=repr)[:80]}; "
            "a string or a list of strings is needed."
        )
    if any(_SURROGATE.search(sentence) for sentence in sentences):
        raise ValueError(
            f"{place}: the field {reading.field!r} holds half of a surrogate pair, which is no "
            "character. Remove it."
        )
    if isinstance(value, list):
        return [sentence.strip() for sentence in value]
    return list(reading.sentences(io.StringIO(value, newline=None)))


def _open_tfds(name: str, field: str) -> Any:
    """The tf.data.Dataset of "tfds:NAME[SPLIT]", downloaded and prepared if need be."""
    match = re.fullmatch(r"tfds:([^\[\]]+)(?:\[(.+)\])?", name)
    if match is None:
        raise ValueError(f'A tfds source is "tfds:NAME" or "tfds:NAME[SPLIT]"; received {name!r}.')
    import tensorflow_datasets

    try:
        builder = tensorflow_datasets.builder(match[1])
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=match[2] or "train", shuffle_files=False)
    except Exception as error:  # tfds raises errors of many kinds, with texts of many lines.
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
        raise ValueError(
            f"tensorflow-datasets cannot give {name}: {reason}. Check the name and the split; "
            "without a network it must have been prepared before (TFDS_DATA_DIR)."
        ) from error
    fields = dataset.element_spec
    if not isinstance(fields, dict) or field not in fields:
        raise ValueError(
            f"{name} has no field {field!r}; it has {', '.join(fields)}. "
            'Name the one with the text, as field="body".'
        )
    return dataset


def _read_tfds(name: str, dataset: Any, reading: _Reading, advance: _Advance) -> Iterator[Document]:
    for number, record in enumerate(dataset.as_numpy_iterator()):
        value = record[reading.field]
        if hasattr(value, "tolist"):
            value = value.tolist()
        place = f"{name}, record {number}"
        texts = value if isinstance(value, list) else [value]
        try:
            texts = [text.decode("utf-8") if isinstance(text, bytes) else text for text in texts]
        except UnicodeDecodeError as error:
            raise ValueError(f"{place}: {reading.field!r} is not UTF-8: {error.reason}.") from None
        advance(sum(len(text) for text in texts if isinstance(text, str)))
        yield _document(texts if isinstance(value, list) else texts[0], place, reading)


def _gather(sentences: Iterable[str]) -> Iterator[Document]:
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
