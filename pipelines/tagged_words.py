"""Sentences whose words have tags, from files: CoNLL's columns, or JSON Lines.

CoNLL: a word a line with its tag, in columns, and a blank line behind each sentence. Columns are
divided by tabs where the first word's line has one, else by blanks. Lines that begin with
-DOCSTART- are passed over, and so are lines before a sentence that begin with "#" and have another
number of columns than words have. JSON Lines: a sentence a line, an object with a list of words and
a list of tags. All are UTF-8, also compressed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfpt.pipelines.decoding import place, read_lines
from tfpt.pipelines.files import is_file
from tfpt.pipelines.records import JSON_LINES, MAX_RECORD, read_columns, row_place
from tfpt.pipelines.splits import Source, split_files
from tfpt.pipelines.streams import Extent, split_ending, whole_file
from tfpt.pipelines.tags import parse_tag

# Of files taken from a folder. A file that is named may end in anything, as .annotated; what is
# not JSON Lines is CoNLL.
ENDINGS = (".conll", ".bio", ".iob", ".iob2", ".tsv", ".txt", *JSON_LINES, "")
_OTHERS = (".csv", ".parquet")
_NUMBERED = re.compile(r"(.+?)\d+")


@dataclass(frozen=True, kw_only=True)
class TagColumns:
    """Where words and tags stand in a file."""

    # Of CoNLL the numbers of the columns, counted from 0, or from the last one, which is -1; of
    # JSON Lines the names of the fields. "": columns 0 and -1, fields `words` and `tags`.
    word: str = ""
    tag: str = ""
    numbered: bool = False  # whether a number is glued to each word, as in Weibo's "\u62110"


@dataclass
class Sentences:
    """Sentences, the tags of their words, and where each word came from."""

    source: str  # the file; stands in error messages
    rows: list[tuple[str, ...]] = field(default_factory=list)  # the words of each
    tags: list[tuple[str, ...]] = field(default_factory=list)
    lines: list[tuple[int, ...]] = field(default_factory=list)  # of each word, from 1

    def placed_labels(self) -> list[list[tuple[str, int]]]:
        """The tags of each sentence, and their lines; see `splits.Rows`."""
        return [list(zip(*pair, strict=True)) for pair in zip(self.tags, self.lines, strict=True)]

    def select(self, indices: Sequence[int]) -> "Sentences":
        """The sentences at `indices`, in that order."""
        return Sentences(
            self.source,
            [self.rows[i] for i in indices],
            [self.tags[i] for i in indices],
            [self.lines[i] for i in indices],
        )

    def __len__(self) -> int:
        return len(self.rows)


def read_tagged(source: Source, columns: TagColumns) -> dict[str, Sentences]:
    """Read sentences with tags, split for training; see `token_classification` and `splits`."""
    if isinstance(source, str) and source.startswith("tfds:"):
        raise ValueError(
            f"{source}: words with tags are read from files, CoNLL or JSON Lines; write the data "
            "set to one."
        )
    return split_files(source, lambda path: read_sentences(path, columns), ENDINGS)


def read_sentences(path: str, columns: TagColumns) -> Sentences:
    """Read a file of sentences with tags.

    Args:
        path: JSON Lines where it ends in .jsonl or .json, else CoNLL; also compressed.
        columns: Where words and tags stand.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is broken, a column or field is missing, words and tags differ in number,
            a tag is none of BIO or BIOES, or there is no sentence; names file and line.
    """
    ending = split_ending(path)[0]
    if ending in _OTHERS:
        raise ValueError(f"{path}: words with tags are read from CoNLL and JSON Lines.")
    if not is_file(path):
        raise FileNotFoundError(f"There is no file {path}.")
    extent = whole_file(path)
    read = _json_sentences if ending in JSON_LINES else _conll_sentences
    sentences = Sentences(path)
    for words, tags, lines in read(extent, columns):
        for number, line in enumerate(lines):
            try:
                parse_tag(tags[number])
                words[number] = _word(words[number], columns.numbered)
            except ValueError as error:
                raise ValueError(f"{place(extent, 'utf-8', line)}: {error}") from None
        sentences.rows.append(tuple(words))
        sentences.tags.append(tuple(tags))
        sentences.lines.append(tuple(lines))
    if not sentences.rows:
        raise ValueError(f"{path}: there is no sentence in it.")
    return sentences


_Sentence = tuple[list[str], list[str], list[int]]  # words, tags and lines


def _word(text: str, numbered: bool) -> str:
    """The word as it was written, without the number that is glued to it."""
    if not text.strip():
        raise ValueError("the word is empty. Write one, or remove the line.")
    if not numbered:
        return text
    found = _NUMBERED.fullmatch(text)
    if not found:
        raise ValueError(
            f"the word {text!r} has no number glued to it; `numbered` is for files where each has."
        )
    return found[1]


def _conll_sentences(extent: Extent, columns: TagColumns) -> Iterator[_Sentence]:
    lines = [line.rstrip("\r\n") for line in _lines(extent)]
    is_word = [bool(line.strip()) and not line.startswith("-DOCSTART-") for line in lines]
    divider, count = _layout([line for line, is_one in zip(lines, is_word, strict=True) if is_one])
    word = _index(columns.word or "0", count, "word", extent.path)
    tag = _index(columns.tag or "-1", count, "tag", extent.path)
    sentence: _Sentence = ([], [], [])
    for number, (line, is_one) in enumerate(zip(lines, is_word, strict=True), 1):
        found = _columns(line, divider)
        if not is_one:
            if sentence[0]:
                yield sentence
            sentence = ([], [], [])
        elif len(found) == count:
            sentence[0].append(found[word])
            sentence[1].append(found[tag])
            sentence[2].append(number)
        elif sentence[0] or not line.startswith("#"):
            raise ValueError(
                f"{place(extent, 'utf-8', number)}: columns: {len(found)}, where other lines have "
                f"{count}: {line[:60]!r}. A line holds a word and its tag, a blank line ends a "
                "sentence."
            )
    if sentence[0]:
        yield sentence


def _layout(lines: Sequence[str]) -> tuple[str | None, int]:
    """What divides the columns of lines with words, and how many columns there are."""
    # A line that begins with "#" may be a comment, or a word.
    plain = [line for line in lines if not line.startswith("#")] or lines
    line = plain[0] if plain else ""
    divider = "\t" if "\t" in line else None
    return divider, len(_columns(line, divider))


def _lines(extent: Extent) -> Iterator[str]:
    # Only "\n" ends a line here: words hold other separators.
    lines = read_lines(extent, "utf-8", newline="\n", longest=MAX_RECORD)
    for number, line in enumerate(lines, 1):
        if len(line) >= MAX_RECORD:
            raise ValueError(
                f"{place(extent, 'utf-8', number)}: the line has more than {MAX_RECORD:,} "
                "characters. A line holds a word and its tag."
            )
        yield line


def _columns(line: str, divider: str | None) -> list[str]:
    """The columns of a line, divided by tabs or by any number of blanks."""
    if divider:
        return line.split(divider)
    return [part for part in line.split(" ") if part]


def _index(name: str, count: int, what: str, path: str) -> int:
    """The index of a column that is given by its number."""
    if not re.fullmatch(r"-?\d+", name):
        raise ValueError(
            f"{path}: the {what} stands in a column that is given by its number, from 0, or from "
            f"-1 for the last one; received {name!r}. Names are for .jsonl files."
        )
    if count == 0:
        raise ValueError(f"{path}: there is no sentence in it.")
    if count < 2 or not -count <= int(name) < count:
        raise ValueError(
            f"{path}: there is no column {name} for the {what}; its lines have {count}. They hold "
            "a word and its tag, divided by tabs or blanks."
        )
    return int(name)


def _json_sentences(extent: Extent, columns: TagColumns) -> Iterator[_Sentence]:
    names = (columns.word or "words", columns.tag or "tags")
    for row, values in read_columns(extent, names, "utf-8"):
        if problem := _problem(values, names):
            raise ValueError(f"{row_place(extent, 'utf-8', row)}: {problem}")
        words, tags = values
        yield list(words), list(tags), [row] * len(words)


def _problem(values: Sequence[Any], names: Sequence[str]) -> str:
    """What is wrong with the words and tags of a sentence; empty if nothing is."""
    for value, name in zip(values, names, strict=True):
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            return f"the field `{name}` must be a list of strings; received {value!r:.60}."
        try:
            "".join(value).encode()
        except UnicodeEncodeError:
            return f"the field `{name}` holds half of a surrogate pair."
    words, tags = values
    if len(words) != len(tags):
        return f"there are {len(words)} words, but {len(tags)} tags. Each word has one."
    return "" if words else f"the field `{names[0]}` is empty. Remove the line."
