"""Documents as sequences of sentences, read as a stream from files and from tensorflow-datasets."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from tfpt.pipelines import prepared, records
from tfpt.pipelines.files import find_files
from tfpt.pipelines.parts import Document, FilePart, Part, Reading, SplitPart
from tfpt.pipelines.streams import COMPRESSED_ENDINGS, split_ending, whole_file

# About so many bytes are one part of a large file: some seconds of work.
PART_BYTES = 1 << 26

# What is taken from a folder, compressed or not.
_FOLDER_ENDINGS = (".txt", *records.ENDINGS)
_UNSUPPORTED_ENDINGS = {
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz"), "an archive: unpack it"),
    **dict.fromkeys(
        (".arrow", ".feather", ".orc", ".avro", ".tfrecord", ".npy", ".pkl"),
        "binary: convert it to Parquet or JSON Lines",
    ),
    **dict.fromkeys((".pdf", ".docx", ".epub"), "formatted: convert it to plain text"),
    ".json": "one value a file: convert it to JSON Lines, one object a line (.jsonl)",
}

Source = str | os.PathLike[str]


class Documents:
    """Documents that can be read again and again; each is a tuple of sentences, none empty.

    Those that `read_documents` gives can be pickled, and so can their `parts`.

    Attributes:
        num_bytes: How much there is to read, in bytes on disk; None if unknown.
        segmented: Whether the words of the sentences are separated by white space.
        bytes_read: How much of it the iteration under way has read; 0 when a new one starts.
        encodings: What files turned out to be written in, by path, where that is detected; of those
            that were read so far.
    """

    def __init__(
        self,
        source: Callable[[], Iterable[Document]] | Sequence[Part],
        *,
        num_bytes: int | None = None,
        segmented: bool = False,
    ):
        """Wrap any source of documents.

        Args:
            source: Called at the start of each iteration; gives the documents from the first one
                on. Empty sentences and empty documents are left out. It may call `advance`. Or
                parts, as `read_documents` makes them.
            num_bytes: What the calls of `advance` add up to, if known.
            segmented: See `read_documents`.
        """
        self._source = source
        self.segmented = segmented
        self.num_bytes = num_bytes
        self.bytes_read = 0
        self.encodings: dict[str, str] = {}

    def advance(self, num_bytes: int) -> None:
        """Report that `num_bytes` more were read; called by sources."""
        self.bytes_read += num_bytes

    @property
    def identity(self) -> list[str] | None:
        """What changes when other documents would be read; None for a source of your own."""
        return None if callable(self._source) else [part.identity for part in self._source]

    def parts(self, part_bytes: int = PART_BYTES) -> list["Documents"]:
        """The same documents in parts that can be read independently, as by several processes.

        All documents of the first part, then all of the second and so on, are those of the whole,
        in their order. A part can be pickled, holds nothing open, and has its own `num_bytes` and
        `bytes_read`. Small files go together. Files of records (but CSV) and of `layout="lines"`
        that are larger than `part_bytes` are cut, where they are not compressed; so are Parquet, at
        row groups, and data sets of tensorflow-datasets. The files must not change in between.
        Documents from a source of your own are one part.

        Args:
            part_bytes: About how large a part should be, in bytes on disk.
        """
        if part_bytes < 1:
            raise ValueError(f"`part_bytes` is a number of bytes; received {part_bytes}.")
        if callable(self._source):
            return [self]
        groups: list[list[Part]] = []
        filled = part_bytes + 1
        for part in (part for whole in self._source for part in whole.cut(part_bytes)):
            # Of what is not known, nothing is put together.
            size = part_bytes if part.num_bytes is None else part.num_bytes
            if filled + size > part_bytes:
                groups.append([])
                filled = 0
            groups[-1].append(part)
            filled += size
        return [_joined(group) for group in groups]

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        self.bytes_read = 0
        source = self._source
        for document in source() if callable(source) else self._read(source):
            if sentences := tuple(filter(None, document)):
                yield sentences

    def _read(self, parts: Sequence[Part]) -> Iterator[Document]:
        for part in parts:
            yield from part.read(self.advance, self.encodings)


def read_documents(
    source: Source | Iterable[Source],
    *,
    layout: str = "lines",
    field: str = "text",
    encoding: str = "utf-8",
    language: str = "en",
    segmented: bool = False,
) -> Documents:
    """Read documents from text, JSON Lines, CSV, TSV and Parquet files, or tensorflow-datasets.

    Files are opened anew at each iteration and read as a stream, in the order given; within a glob
    or a folder sorted by path. One document at a time is in memory, and of a document of more than
    16 million characters one part at a time: such a part is then a document of its own. A record of
    more than 33 million characters is refused, since it would have to be held whole.

    The ending of a file's name tells what it is. A record, that is, a JSON object on a line of
    .jsonl, a row of .csv, .tsv or .parquet, an example of a data set, is a document. All other
    files are plain text. A file may be compressed: .gz, .bz2, .xz or .zst comes behind the other
    ending, and must be true. Parquet needs `pip install 'tfpt[parquet]'`.

    Args:
        source: A path, a glob (`"wiki/*.txt"`; `**` stands for any folders), a folder (the files
            below it that end in .txt, .jsonl, .csv, .tsv or .parquet, compressed or not),
            `"tfds:NAME"` or `"tfds:NAME[SPLIT]"` (train by default), or a list of those. A path
            with `://` (`"gs://bucket/wiki/*.txt"`) is read through `tf.io.gfile`. A file found
            twice is read once.
        layout: How plain text is cut. "lines": one sentence a line, blank lines between documents;
            a line of more than a million characters is cut at white space. "text": running text,
            each file a document, split into sentences; see `tfpt.pipelines.sentences`. The text
            of a record is always one document.
        field: Of a record: what holds the text, a string or (JSON, Parquet, tfds) a list of
            sentences. Of CSV and TSV, a column of the header; or its number, counted from 0, where
            there is none.
        encoding: Of the files. "auto": detected file by file, see
            `tfpt.pipelines.detection.detect_encoding`; `Documents.encodings` tells the result. A
            byte order mark is dropped. Parquet and data sets are always UTF-8.
        language: ISO 639 code, for splitting running text into sentences.
        segmented: Whether white space separates the words also where the language writes none, as
            in Chinese text that went through a word segmenter. A token store then keeps where words
            begin, for masking whole words.

    Raises:
        FileNotFoundError: Nothing at a path, or no file that matches a glob.
        ValueError: A format that is not supported, a token store, or an argument out of range.
            While reading: a byte that is not of `encoding` or a NUL, a damaged file, a broken
            record, a record without `field`; names file and line.
    """
    reading = Reading(layout, field, encoding, language, segmented)
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not sources:
        raise ValueError("`source` is an empty list; name at least one file, glob or folder.")

    parts: dict[str, list[Part]] = {}
    for name in [os.fspath(one) for one in sources]:
        if name.startswith("tfds:"):
            splits = prepared.open_splits(name, field)
            parts[name] = [SplitPart(split, reading) for split in splits]
            continue
        if os.path.isfile(os.path.join(os.path.expanduser(name), "store.json")):
            raise ValueError(
                f"{name} is a token store, not text: of its files only the vocabulary could be "
                "read. Name the texts it was written from."
            )
        for path in find_files(name, _FOLDER_ENDINGS, COMPRESSED_ENDINGS):
            if path not in parts:
                _check_format(path)
                parts[path] = [FilePart(whole_file(path), reading)]
    return _joined(list(itertools.chain.from_iterable(parts.values())))


def _joined(parts: Sequence[Part]) -> Documents:
    """The documents of all parts, one part after the other."""
    sizes = [part.num_bytes for part in parts]
    return Documents(
        parts,
        num_bytes=None if None in sizes else sum(filter(None, sizes)),
        segmented=any(part.reading.segmented for part in parts),
    )


def _check_format(path: str) -> None:
    """Raise ValueError for a file that cannot be read, as far as its name tells."""
    ending = split_ending(path)[0]
    if ending in _UNSUPPORTED_ENDINGS:
        raise ValueError(
            f"{path}: {ending} files are not supported. This is {_UNSUPPORTED_ENDINGS[ending]}."
        )
    records.check_records(path)
