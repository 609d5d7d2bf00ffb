"""Questions on contexts, from files as SQuAD has them, of version 1.1 or 2.0.

A file is a JSON object, UTF-8, also compressed: `data` lists articles, which have a `title` and
`paragraphs`; a paragraph has a `context` and `qas`; of these each has an `id`, a `question` and
`answers`, with `text` and `answer_start`, in characters. Of version 2.0 `is_impossible` is true
where the context does not answer the question. Other fields are passed over.

Source: Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250; Rajpurkar et al. 2018,
https://arxiv.org/abs/1806.03822.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tfpt.pipelines.connected import components
from tfpt.pipelines.decoding import read_lines
from tfpt.pipelines.files import is_file
from tfpt.pipelines.streams import split_ending, whole_file

ENDINGS = (".json",)
# What is done with an answer whose text does not stand at its place.
MISPLACED = ("error", "drop")
_SHOWN = 40  # characters of a text in an error message


class Answer(NamedTuple):
    """A right answer to a question."""

    text: str
    start: int  # in characters of the context; -1 where its text does not stand at its place

    @property
    def end(self) -> int:
        """The character behind it."""
        return self.start + len(self.text)


@dataclass
class Questions:
    """Questions, each with its context, its right answers and where it came from."""

    source: str  # the file; stands in error messages
    rows: list[tuple[str, ...]] = field(default_factory=list)  # question and context
    ids: list[str] = field(default_factory=list)
    answers: list[tuple[Answer, ...]] = field(default_factory=list)  # none: there is no answer
    documents: list[str] = field(default_factory=list)  # what names the document of each

    def select(self, indices: Sequence[int]) -> "Questions":
        """The questions at `indices`, in that order."""
        return Questions(
            self.source,
            [self.rows[i] for i in indices],
            [self.ids[i] for i in indices],
            [self.answers[i] for i in indices],
            [self.documents[i] for i in indices],
        )

    def placed_labels(self) -> list[list[tuple[str, int]]]:
        """Questions have no labels; see `splits.Rows`."""
        return [[] for _ in self.rows]

    def __len__(self) -> int:
        return len(self.rows)


def read_questions(path: str, *, misplaced: str = "error") -> Questions:
    """Read a file of questions.

    A document is an article: all those of one title, where it has one. Where a file has one article
    only, each of its paragraphs is a document.

    Args:
        path: A file that ends in .json, also compressed.
        misplaced: "error"; or "drop": an answer whose text does not stand at its place has no place
            then, and counts as a right answer only where texts are compared.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no JSON, or not of this form, or has no question; a question has no
            answer and does not say so, or one that does not stand at its place. Names file and
            question.
    """
    if misplaced not in MISPLACED:
        raise ValueError(f'`misplaced` is "error" or "drop"; received {misplaced!r}.')
    path = str(path)
    if split_ending(path)[0] not in ENDINGS:
        raise ValueError(f"{path}: questions are read from SQuAD's JSON; its name ends in .json.")
    if not is_file(path):
        raise FileNotFoundError(f"There is no file {path}.")
    found = Questions(path)
    seen: set[str] = set()
    for document, context, place, entry in _entries(_content(path), path):
        name, question, answers = _question(entry, context, place, path, misplaced)
        if name in seen:
            raise ValueError(f"{path}: two questions have the id {name!r}. Ids are unique.")
        seen.add(name)
        found.rows.append((question, context))
        found.ids.append(name)
        found.answers.append(answers)
        found.documents.append(document)
    if not found.rows:
        raise ValueError(f"{path}: there is no question in it.")
    return found


def divide_documents(questions: Questions, shares: Mapping[str, float]) -> dict[str, Questions]:
    """Deal out the documents of questions by a hash of what names them.

    The same on any machine. Documents that have a context in common count as one. Each split but
    the first has its share of the documents, rounded, and at least one; the first has the others.

    Args:
        questions: Of a file.
        shares: By the name of the split, in (0, 1), the first one that of training.

    Raises:
        ValueError: There are too few documents.
    """
    documents = _distinct(questions)
    order = sorted(set(documents), key=_hash)
    first, *others = shares
    counts = {name: max(1, round(shares[name] * len(order))) for name in others}
    if sum(counts.values()) >= len(order):
        raise ValueError(
            f"{questions.source}: its {len(order)} documents are too few to hold out "
            f"{' and '.join(others)} documents. Give files of these questions."
        )
    split_of: dict[str, str] = {}
    for name, count in counts.items():
        split_of |= dict.fromkeys(order[len(split_of) : len(split_of) + count], name)
    places: dict[str, list[int]] = {name: [] for name in shares}
    for number, document in enumerate(documents):
        places[split_of.get(document, first)].append(number)
    return {name: questions.select(chosen) for name, chosen in places.items()}


def _distinct(questions: Questions) -> list[str]:
    """The document of each question, the same for those that share a context: the first by name."""
    names = sorted(set(questions.documents))
    numbers = {name: number for number, name in enumerate(names)}
    known: dict[str, int] = {}  # a document that has the context
    pairs = np.array(
        [
            (known.setdefault(context, numbers[document]), numbers[document])
            for (_, context), document in zip(questions.rows, questions.documents, strict=True)
        ]
    )
    groups = components(pairs, len(names)).tolist()
    first: dict[int, str] = {}
    for name, group in zip(names, groups, strict=True):
        first.setdefault(group, name)
    return [first[groups[numbers[document]]] for document in questions.documents]


def _hash(text: str) -> bytes:
    # A title may hold anything that JSON can.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _content(path: str) -> Any:
    text = "".join(read_lines(whole_file(path), "utf-8", newline=""))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}:{error.lineno}: not JSON ({error.msg} at column {error.colno}). The file is "
            "one JSON object, as SQuAD's."
        ) from None
    except (ValueError, RecursionError) as error:  # a number too long, a nesting too deep
        raise ValueError(f"{path}: not read as JSON ({error}).") from None


def _entries(content: Any, path: str) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """What names the document, the context, the place to tell, and the entry of each question."""
    articles = _field(content, "data", list, path)
    for number, article in enumerate(articles, 1):
        where = f"{path}: article {number}"
        paragraphs = _field(article, "paragraphs", list, where)
        contexts = [
            _text(_field(one, "context", str, here), "context", here)
            for here, one in (
                (f"{where}, paragraph {place}", one) for place, one in enumerate(paragraphs, 1)
            )
        ]
        title = article.get("title")
        name = title if isinstance(title, str) and title.strip() else "\x1f".join(contexts)
        for place, (paragraph, context) in enumerate(zip(paragraphs, contexts, strict=True), 1):
            here = f"{where}, paragraph {place}"
            document = name if len(articles) > 1 else context
            for question, entry in enumerate(_field(paragraph, "qas", list, here), 1):
                yield document, context, f"{here}, question {question}", entry


def _question(
    entry: Any, context: str, place: str, path: str, misplaced: str
) -> tuple[str, str, tuple[Answer, ...]]:
    """Id, text and answers of a question."""
    name = str(_field(entry, "id", (str, int), place))
    here = f"{path}: question {name}"
    question = _text(_field(entry, "question", str, here), "question", here)
    is_impossible = entry.get("is_impossible", False)
    if not isinstance(is_impossible, bool):
        raise ValueError(f"{here}: `is_impossible` is true or false; received {is_impossible!r}.")
    given = _field(entry, "answers", list, here) if "answers" in entry else []
    if is_impossible and given:
        raise ValueError(f"{here}: `is_impossible` is true, but there are answers.")
    if not is_impossible and not given:
        raise ValueError(
            f"{here}: it has no `answers`. Of a question that its context does not answer, "
            "`is_impossible` is true."
        )
    return name, question, tuple(_answer(one, context, here, misplaced) for one in given)


def _answer(entry: Any, context: str, here: str, misplaced: str) -> Answer:
    text = _text(_field(entry, "text", str, f"{here}, an answer"), "text", here)
    start = _field(entry, "answer_start", int, f"{here}, an answer")
    if not text.strip():
        raise ValueError(f"{here}: the `text` of an answer is empty.")
    there = context[start : start + len(text)] if start >= 0 else ""
    if there == text:
        return Answer(text, start)
    if misplaced == "drop":
        return Answer(text, -1)
    raise ValueError(
        f"{here}: the answer {_short(text)} does not stand at character {start} of its context, "
        f"where {_short(there) if there else 'nothing'} stands. Correct `answer_start`, or let "
        'such answers have no place (misplaced="drop", `--set data.misplaced=drop`).'
    )


def _field(entry: Any, name: str, kind: Any, where: str) -> Any:
    """A field of an object, of the kind that it must have."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: a JSON object is needed; received {entry!r:.60}.")
    if name not in entry:
        raise ValueError(f"{where}: there is no field `{name}`. Files are as SQuAD has them.")
    value = entry[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(_KINDS[one] for one in kinds)
        raise ValueError(f"{where}: `{name}` must be {wanted}; received {value!r:.60}.")
    return value


_KINDS = {str: "a string", int: "a whole number", list: "a list"}


def _text(text: str, name: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where}: `{name}` holds half of a surrogate pair.") from None
    return text


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
