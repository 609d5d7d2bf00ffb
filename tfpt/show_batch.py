"""A drawn batch as a person would want to read it.

Pieces of words are joined, and A and B, the texts of a row, its padding and its labels told. A
place that is to be predicted is `{a|b}`: a stands there, b is the answer. Colours only repeat what
the words say, so that a pipe shows as much.
"""

import inspect
import itertools
import re
import unicodedata
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from rich.text import Text

from tfpt import checkpoints, features, pipelines
from tfpt.pipelines.tags import OUTSIDE

PAIRS = {
    features.NEXT_SENTENCE: ("B is from elsewhere", "B follows A"),
    features.SENTENCE_ORDER: ("the other way round: A follows B", "B follows A"),
}
# Labels of a row as a whole.
OF_ROWS = (
    *(features.CLASSIFICATION, features.MULTI_LABEL, features.REGRESSION),
    features.CONTRASTIVE,
)
# Of what stands where a token is to be predicted: the mask, another token, the token itself.
MASKED, REPLACED, KEPT = "bold yellow", "bold red", "bold green"
SPECIAL, PADDING, SENTINEL, TEXT_B = "dim", "dim", "magenta", "cyan"

_CLOSING, _OPENING, _APOSTROPHES = set(",.;:!?)]}%"), set("([{"), set("'\u2019")
# What stands around Chinese text, too.
_QUOTES = set("\u2018\u2019\u201c\u201d\u2026\u2014\u00b7")
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff]")
_BLANK = "\u2581"  # of SentencePiece
_ENDINGS = {"s", "t", "re", "ve", "ll", "d", "m"}


class Line(NamedTuple):
    """A paragraph to print."""

    label: str  # what stands before it, such as "A"; empty for a heading
    text: Text


def recipe_batch(
    recipe: ModuleType, settings: Any, number: int
) -> tuple[Any, pipelines.TextTokenizer, Sequence[str]]:
    """A batch that a recipe trains on.

    Args:
        recipe: A module with `dataset`; see recipes/bert.py and recipes/classify.py.
        settings: Its configuration.
        number: Of the batch, from 0.

    Returns:
        `(batch, tokenizer, label_names)`, the names empty where there are no classes.

    Raises:
        ValueError, FileNotFoundError: What is wrong with settings or data.
    """
    # Labelled texts have no vocabulary of their own.
    if len(inspect.signature(recipe.dataset).parameters) > 1:
        if settings.start:
            tokenizer = checkpoints.open_run(settings.start).tokenizer
        elif settings.data.vocabulary:
            tokenizer = pipelines.load_tokenizer(settings.data.vocabulary)
        else:
            raise ValueError(
                "Labelled texts are shown with the vocabulary of a run (--set start=RUN) or one "
                "of its own (--set data.vocabulary=vocab.txt)."
            )
        data = recipe.dataset(settings, tokenizer)
    else:
        data = recipe.dataset(settings)
        tokenizer = data.tokenizer
    with pipelines.damage_named(), pipelines.service_errors_named():
        batch = next(iter(data.train_batches(number)))
    return batch, tokenizer, getattr(data, "label_names", ())


def lines(
    batch: Any,
    tokenizer: pipelines.TextTokenizer,
    *,
    number: int = 0,
    num_rows: int = 3,
    label_names: Sequence[str] = (),
) -> list[Line]:
    """What is to be read of a batch.

    Args:
        batch: `(features, labels, weights)`, three dicts of tensors or arrays.
        tokenizer: The vocabulary of its ids.
        number: Of the batch, to tell.
        num_rows: Show the first rows, so many.
        label_names: The classes, by id.
    """
    parts = [{name: np.asarray(value) for name, value in part.items()} for part in batch]
    mask = parts[0][features.PADDING_MASK]
    size, length = mask.shape
    told = f"batch {number}: {size} rows of {length} tokens; {(mask == 0).mean():.1%} is padding"
    found = [Line("", Text(told))]
    if features.MASKED_LM in parts[1]:
        legend = Text("{a|b}: a stands where b is to be predicted")
        found.append(Line("", legend))
    for number in range(min(num_rows, len(mask))):
        row = _Row(*({name: value[number] for name, value in part.items()} for part in parts))
        found += [
            Line("", Text()),
            Line("", Text(f"row {number}: {row.told(label_names)}", "bold")),
        ]
        found += row.lines(tokenizer, label_names)
    return found


class _Row(NamedTuple):
    """A row of a batch, without B."""

    inputs: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]

    def told(self, label_names: Sequence[str]) -> str:
        """What there is to say of the whole row."""
        mask = self.inputs[features.PADDING_MASK]
        said = [f"{np.sum(mask > 0)} tokens, {np.sum(mask == 0)} padding"]
        for name, weights in self.weights.items():
            if name in PAIRS:
                continue
            if name == features.TOKEN_CLASSIFICATION:
                said.append(f"{np.sum(weights > 0)} words with a tag")
            elif name == features.QUESTION_ANSWERING:
                said.append(self._told_answer())
            elif name not in OF_ROWS:
                said.append(f"{np.sum(weights > 0)} to predict")
            elif (weights > 0).any() or name == features.CONTRASTIVE:
                said.append(_told_label(name, self.labels[name], label_names))
                if not (weights > 0).any():  # of texts that mean the same
                    said.append("only told from the others")
            else:
                said.append("a row that does not count")
        if features.TEXT_IDS in self.inputs:
            number = self.inputs[features.TEXT_IDS].max()
            said.append(f"{number} text{'s' if number != 1 else ''}")
        else:
            said += self._pair(0)
        return "; ".join(said)

    def lines(
        self, tokenizer: pipelines.TextTokenizer, label_names: Sequence[str] = ()
    ) -> list[Line]:
        """The tokens, text by text."""
        inputs = self.inputs
        places = inputs.get(features.TEXT_IDS, inputs[features.PADDING_MASK])
        found: list[Line] = []
        for text in range(1, places.max(initial=0) + 1):
            label = f"text {text}" if features.TEXT_IDS in inputs else "text"
            if said := self._pair(text - 1) if features.TEXT_IDS in inputs else []:
                found.append(Line(label, Text(*said)))
            found += self._text(np.flatnonzero(places == text), label, tokenizer)
        if padding := int(np.sum(places == 0)):
            line = found[-1].text if found else Text()
            line.append(f"{' ' if found else ''}[PAD] x {padding}", PADDING)
        if features.CAUSAL_LM in self.labels:
            found += self._following(tokenizer)
        if features.TOKEN_CLASSIFICATION in self.labels:
            found += self._tagged(tokenizer, label_names)
        if features.QUESTION_ANSWERING in self.labels:
            found += self._answer(tokenizer)
        if features.SPAN_CORRUPTION in self.labels:
            used = self.weights[features.SPAN_CORRUPTION] > 0
            targets = [(int(one), None) for one in self.labels[features.SPAN_CORRUPTION][used]]
            found.append(Line("out", joined(targets, tokenizer)))
        return found

    def _pair(self, text: int) -> list[str]:
        """What the pair label of a text says; nothing where there is none."""
        return [
            PAIRS[name][int(label[text])]
            for name, label in self.labels.items()
            if name in PAIRS and self.weights[name][text] > 0
        ]

    def _text(self, places, label: str, tokenizer: pipelines.TextTokenizer) -> list[Line]:
        ids = self.inputs[features.TOKEN_IDS]
        segments = self.inputs.get(features.SEGMENT_IDS, np.zeros_like(ids))
        answers: dict[int, int] = {}
        if features.MASKED_LM in self.labels:
            used = self.weights[features.MASKED_LM] > 0
            asked = self.inputs[features.MASK_POSITIONS][used].tolist()
            answers = dict(zip(asked, self.labels[features.MASKED_LM][used].tolist(), strict=True))
        found = []
        for segment, name in enumerate("AB"):
            own = [(int(ids[p]), answers.get(int(p))) for p in places if segments[p] == segment]
            if own:
                told = name if (segments[places] > 0).any() else label
                found.append(Line(told, joined(own, tokenizer, TEXT_B if segment else "")))
        return found

    def _following(self, tokenizer: pipelines.TextTokenizer) -> list[Line]:
        """What follows the last token."""
        used = np.flatnonzero(self.weights[features.CAUSAL_LM] > 0)
        last = [(int(self.labels[features.CAUSAL_LM][place]), None) for place in used[-1:]]
        return [Line("next", joined(last, tokenizer))]

    def _tagged(self, tokenizer: pipelines.TextTokenizer, label_names: Sequence[str]) -> list[Line]:
        """The words of entities, each with its tag."""
        ids = self.inputs[features.TOKEN_IDS]
        labels = self.labels[features.TOKEN_CLASSIFICATION]
        firsts = np.flatnonzero(self.weights[features.TOKEN_CLASSIFICATION] > 0)
        behind = int(np.sum(self.inputs[features.PADDING_MASK] > 0)) - 1  # the separator
        told = []
        for first, end in itertools.pairwise([*firsts, behind]):
            tag = label_names[labels[first]] if label_names else str(labels[first])
            if tag != OUTSIDE:
                word = joined([(int(one), None) for one in ids[first:end]], tokenizer)
                told.append(f"{word.plain} {tag}")
        return [Line("tags", Text(", ".join(told) or "no entity"))]

    def _told_answer(self) -> str:
        """Where the answer to a question stands."""
        name = features.QUESTION_ANSWERING
        if not (self.weights[name] > 0).any():
            return "a row that does not count"
        first, last = self.labels[name]
        return f"the answer is tokens {first} to {last}" if last else "no answer in this window"

    def _answer(self, tokenizer: pipelines.TextTokenizer) -> list[Line]:
        """The words of the answer, where the row holds it."""
        first, last = self.labels[features.QUESTION_ANSWERING]
        ids = self.inputs[features.TOKEN_IDS][first : last + 1]
        said = joined([(int(one), None) for one in ids], tokenizer)
        return [Line("answer", said if last else Text("none in this window"))]


def _told_label(name: str, label: np.ndarray, label_names: Sequence[str]) -> str:
    """What the label of a whole row says."""
    if name == features.REGRESSION:
        return f"score {label:g}"
    if name == features.CONTRASTIVE:
        return f"group {label}"
    is_several = name == features.MULTI_LABEL
    places = np.flatnonzero(label).tolist() if is_several else [int(label)]
    told = ", ".join(label_names[place] if label_names else str(place) for place in places)
    return f"label{'s' if len(places) > 1 else ''} {told}" if told else "no label"


def joined(
    tokens: Sequence[tuple[int, int | None]], tokenizer: pipelines.TextTokenizer, style: str = ""
) -> Text:
    """Tokens as running text.

    Args:
        tokens: For each the id that stands there and, where it is to be predicted, the right one.
        style: Of ordinary tokens.
    """
    if tokenizer.kind == "wordpiece":
        return _joined_words(tokens, tokenizer, style)
    text = Text()
    after_mark = False
    # Blanks are in the entries, and a character may be in several: ordinary tokens go together.
    for _, run in itertools.groupby(
        enumerate(tokens), lambda one: -1 if _is_plain(one[1], tokenizer) else one[0]
    ):
        piece = [token for _, token in run]
        there, answer = piece[0]
        said = _spoken([one if right is None else right for one, right in piece], tokenizer)
        is_mark = not said  # a special token or a sentinel
        if text and (is_mark or after_mark or said.startswith(" ")):
            text.append(" ")
        after_mark = is_mark
        if answer is not None:
            wrong, right = (
                _spoken([one], tokenizer).strip() or _entry(one, tokenizer)
                for one in (there, answer)
            )
            text.append(f"{{{wrong}|{right}}}", _kind(there, answer, tokenizer))
        else:
            said = _entry(there, tokenizer) if is_mark else said.removeprefix(" ")
            text.append(said, _style(there, tokenizer, style))
    return text


def _is_plain(token: tuple[int, int | None], tokenizer: pipelines.TextTokenizer) -> bool:
    there, answer = token
    ordinary = there < tokenizer.vocabulary_size and there not in tokenizer.special_ids
    return answer is None and ordinary


def _spoken(ids: Sequence[int], tokenizer: pipelines.TextTokenizer) -> str:
    """What tokens of a vocabulary with blanks in its entries stand for, the blanks included."""
    ids = [one for one in ids if _is_plain((one, None), tokenizer)]
    if tokenizer.kind == "byte pair":
        said = tokenizer.detokenize([ids]).numpy()[0].decode("utf-8", "backslashreplace")
    else:
        said = "".join(_entry(one, tokenizer) for one in ids).replace(_BLANK, " ")
    # A line break in a text is no line break here.
    return said.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _joined_words(
    tokens: Sequence[tuple[int, int | None]], tokenizer: pipelines.TextTokenizer, style: str
) -> Text:
    """`joined` for WordPiece, whose entries tell whether they go on with a word."""
    text = Text()
    right = [_entry(there if answer is None else answer, tokenizer) for there, answer in tokens]
    for place, (there, answer) in enumerate(tokens):
        if place and not _sticks(right, place):
            text.append(" ")
        entry = _entry(there, tokenizer)
        if answer is not None:
            text.append(f"{{{entry}|{right[place]}}}", _kind(there, answer, tokenizer))
        elif _is_plain((there, None), tokenizer):
            text.append(entry.removeprefix("##") if place else entry, style)
        else:
            text.append(entry, _style(there, tokenizer, style))
    return text


def _kind(there: int, answer: int, tokenizer: pipelines.TextTokenizer) -> str:
    """The style of a place to predict."""
    if there == tokenizer.mask_id:
        return MASKED
    return KEPT if there == answer else REPLACED


def _style(there: int, tokenizer: pipelines.TextTokenizer, style: str) -> str:
    if there >= tokenizer.vocabulary_size:
        return SENTINEL
    return SPECIAL if there in tokenizer.special_ids else style


def _entry(token: int, tokenizer: pipelines.TextTokenizer) -> str:
    """The entry of an id; past the vocabulary are sentinels, counted from 0."""
    size = tokenizer.vocabulary_size
    return tokenizer.vocabulary[token] if token < size else f"<{token - size}>"


def _sticks(entries: Sequence[str], place: int) -> bool:
    """Whether there is no space before an entry."""
    entry, before = entries[place], entries[place - 1]
    after = entries[place + 1] if place + 1 < len(entries) else ""
    return (
        entry.startswith("##")
        or entry in _CLOSING
        or before in _OPENING
        or (entry in _APOSTROPHES and after in _ENDINGS)
        or (before in _APOSTROPHES and entry in _ENDINGS and place > 1)
        or (_is_chinese(before[-1:]) and _is_chinese(entry[:1]))
        or (before in _QUOTES and _is_chinese(entry[:1]))
        or (_is_chinese(before[-1:]) and entry in _QUOTES)
    )


def _is_chinese(character: str) -> bool:
    """Whether it is of a script that is written without blanks, as Chinese and Japanese."""
    return unicodedata.east_asian_width(character or " ") in "WF" and not _HANGUL.match(character)
