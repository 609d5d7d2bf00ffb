"""Questions on contexts -> batches of (features, labels, weights).

Shape letters: B rows in a batch, T tokens in a row, N questions of a split, C contexts of a split,
W windows of a split, Q tokens of a question, L tokens of a context.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines import squad
from tfpt.pipelines.context_windows import (
    BEFORE_WINDOW,
    Windows,
    find_windows,
    stretches,
    window_rows,
)
from tfpt.pipelines.labelled_rows import TEXTS_AT_ONCE, RowBatches
from tfpt.pipelines.settings import ContextWindows
from tfpt.pipelines.special_tokens import require_roles
from tfpt.pipelines.split_batches import SplitBatches
from tfpt.pipelines.splits import HELD_OUT_RATE, TRAIN, Source, sources_of, split_files
from tfpt.pipelines.squad import Answer, Questions
from tfpt.pipelines.tokenizer import TextTokenizer


@dataclass(frozen=True, kw_only=True, eq=False)
class QuestionSplit:
    """The questions of a split and the windows of their contexts, in the order of the file."""

    questions: Questions  # N
    question_tokens: tf.RaggedTensor  # int32 (N, Q)
    context_of: np.ndarray  # int64 (N,): the context of each question
    context_tokens: tf.RaggedTensor  # int32 (C, L)
    starts: tf.RaggedTensor  # int64 (C, L): where each token begins, in characters
    ends: tf.RaggedTensor  # int64 (C, L)
    windows: Windows  # of NumPy arrays
    # int32 (W, 2): first and last token of the answer in the row, 0 ([CLS]) where it has none. Of
    # several answers the first of the file that the window holds.
    labels: np.ndarray
    # float32 (W,): 0 of a question that has answers, of which no window holds one.
    weights: np.ndarray
    num_cut: int  # questions that are longer than the most tokens of a question
    num_outside: int  # questions with answers in their context, of which no window holds one whole
    num_unplaced: int  # questions whose answers have no place

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def num_windows(self) -> int:
        """W."""
        return len(self.weights)

    @property
    def has_unanswerable(self) -> bool:
        """Whether there are questions without an answer."""
        return not all(self.questions.answers)

    def text(self, window: int, first: int, last: int) -> tuple[str, int, int]:
        """What stands in a context between two tokens of a row.

        Args:
            window: Its number.
            first, last: Columns of the row, within the window.

        Returns:
            The text, where it begins and where it ends, in characters of the context.
        """
        question = int(self.windows.question[window])
        before = BEFORE_WINDOW + int(self._question_lengths[question])
        place = int(self.windows.begin[window]) - before
        place += int(self._first_tokens[self.context_of[question]])
        start, end = int(self._flat[0][place + first]), int(self._flat[1][place + last])
        return self.questions.rows[question][1][start:end], start, end

    @cached_property
    def _question_lengths(self) -> np.ndarray:
        return self.question_tokens.row_lengths().numpy()

    @cached_property
    def _first_tokens(self) -> np.ndarray:
        return self.context_tokens.row_starts().numpy()

    @cached_property
    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        return self.starts.values.numpy(), self.ends.values.numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class QuestionAnswering(SplitBatches):
    """Questions on contexts, ready to train on, validate and test.

    A row is a question with a window of its context. Those of validation and test come in the order
    of `QuestionSplit`; of training, those of questions that teach nothing are left out. Every batch
    has B rows: the last one of a split is filled up with rows of weight 0.
    """

    splits: dict[str, QuestionSplit]  # "train", "validation" and, where there is one, "test"
    tokenizer: TextTokenizer
    windows: ContextWindows
    label_names: ClassVar[tuple[str, ...]] = ()  # a label is a place

    def _rows(self, name: str) -> RowBatches:
        split = self.splits[name]
        # A report needs them all.
        used = np.flatnonzero(split.weights) if name == TRAIN else np.arange(split.num_windows)
        return RowBatches(
            num_rows=len(used),
            batch_size=self.batch_size,
            seed=self.seed,
            draw=lambda row, weights: self._batch(split, tf.gather(used, row), weights),
        )

    def _batch(self, split: QuestionSplit, row, weights):
        """The windows as `(features, labels, weights)`."""
        question, begin, length = (tf.gather(part, row) for part in split.windows)
        context = tf.gather(split.context_of, question)
        of_contexts = (split.context_tokens, split.starts, split.ends)
        tokens, starts, ends = (stretches(part, context, begin, length) for part in of_contexts)
        sequence_length = self.windows.sequence_length
        inputs = window_rows(
            tf.gather(split.question_tokens, question),
            tokens,
            starts=starts,
            ends=ends,
            tokenizer=self.tokenizer,
            sequence_length=sequence_length,
        )
        shape = [self.batch_size, sequence_length]
        inputs = {name: tf.ensure_shape(tensor, shape) for name, tensor in inputs.items()}
        weights = tf.repeat((weights * tf.gather(split.weights, row))[:, None], 2, axis=1)  # (B, 2)
        name = features.QUESTION_ANSWERING
        return inputs, {name: tf.gather(split.labels, row)}, {name: weights}


def question_answering(
    name: Source,
    tokenizer: TextTokenizer,
    *,
    windows: ContextWindows | None = None,
    batch_size: int,
    misplaced: str = "error",
    held_out_rate: float = HELD_OUT_RATE,
    seed: int = 0,
) -> QuestionAnswering:
    """Questions on contexts, from files as SQuAD has them, as batches.

    Args:
        name: A folder (or a glob) with a file for each split, whose name is or ends in "train";
            "validation", "valid", "val" or "dev"; "test"; with the ending .json, also compressed.
            Or a dict from "train", "validation" and "test" to files of any name. Or one file.
        tokenizer: Of any kind; texts are tokenized once, here, and packed anew in each batch.
        windows: How questions and contexts are cut into rows.
        batch_size: B.
        misplaced: "error"; or "drop": an answer whose text does not stand at its place in the
            context is not learned, which is warned about. Reports still count it as right.
        held_out_rate: One file is divided by its documents: this share of them is of validation,
            and as many are of the test. Where there are no validation questions, this share of the
            training documents becomes them. The division follows from the documents alone; see
            `squad.divide_documents`.
        seed: Of the order of the training windows.

    Raises:
        FileNotFoundError: There is no such file or folder, or no training file in it.
        ValueError: An argument is out of range; a file or a question is broken, see
            `squad.read_questions`; no training question has an answer to learn.
    """
    require_roles(tokenizer, "pad", "cls", "sep")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1 row; received {batch_size}.")
    windows = windows or ContextWindows()
    questions = split_files(
        name,
        partial(squad.read_questions, misplaced=misplaced),
        squad.ENDINGS,
        divide=squad.divide_documents,
        held_out_rate=held_out_rate,
    )
    splits = {split: _encode(rows, tokenizer, windows) for split, rows in questions.items()}
    if not splits[TRAIN].labels.any():
        raise ValueError(
            f"{questions[TRAIN].source}: no training question has an answer that stands at its "
            "place, whole in a window; there is nothing to learn."
        )
    _warn(splits, windows)
    return QuestionAnswering(
        sources=sources_of(questions),
        splits=splits,
        tokenizer=tokenizer,
        windows=windows,
        batch_size=batch_size,
        seed=seed,
    )


class Places(NamedTuple):
    """The tokens of a text; see `Encoding`."""

    ids: np.ndarray  # int32
    starts: np.ndarray  # int64
    ends: np.ndarray  # int64


def answer_tokens(encoding: Places, answer: Answer) -> tuple[int, int] | None:
    """The first and the last token of a context that stand for something of an answer.

    Args:
        encoding: Of the context.
        answer: With a place; white space at its ends does not count.

    Returns:
        None where no token does.
    """
    said = answer.text.strip()
    start = answer.start + len(answer.text) - len(answer.text.lstrip())
    begins, stops = encoding.starts, encoding.ends
    own = np.flatnonzero((begins < stops) & (stops > start) & (begins < start + len(said)))
    return (int(own[0]), int(own[-1])) if len(own) else None


def _encode(questions: Questions, tokenizer: TextTokenizer, sizes: ContextWindows) -> QuestionSplit:
    """Tokenize the questions of a split, and cut their contexts into windows."""
    numbers: dict[str, int] = {}
    context_of = np.array(
        [numbers.setdefault(context, len(numbers)) for _, context in questions.rows], np.int64
    )
    contexts = _encodings(list(numbers), tokenizer)
    asked = _encodings([question for question, _ in questions.rows], tokenizer)
    question_tokens = _ragged([one.ids[: sizes.question_length] for one in asked], np.int32)
    context_tokens = _ragged([one.ids for one in contexts], np.int32)
    context_lengths = tf.gather(context_tokens.row_lengths(), context_of)
    found = find_windows(question_tokens.row_lengths(), context_lengths, sizes)
    windows = Windows(*(part.numpy() for part in found))
    places = [
        _places(answers, contexts[context])
        for answers, context in zip(questions.answers, context_of, strict=True)
    ]
    labels = _labels(places, windows, question_tokens.row_lengths().numpy())
    has_answer = np.array([bool(own) for own in questions.answers])
    has_place = np.array([bool(own) for own in places])
    is_held = np.zeros(len(questions), bool)
    is_held[windows.question[labels.any(axis=1)]] = True
    # That there is none would be wrong of a question whose answer no window holds.
    counts = is_held | ~has_answer
    return QuestionSplit(
        questions=questions,
        question_tokens=question_tokens,
        context_of=context_of,
        context_tokens=context_tokens,
        starts=_ragged([one.starts for one in contexts], np.int64),
        ends=_ragged([one.ends for one in contexts], np.int64),
        windows=windows,
        labels=labels,
        weights=counts[windows.question].astype(np.float32),
        num_cut=sum(len(one.ids) > sizes.question_length for one in asked),
        num_outside=int(np.sum(has_place & ~is_held)),
        num_unplaced=int(np.sum(has_answer & ~has_place)),
    )


def _encodings(texts: Sequence[str], tokenizer: TextTokenizer) -> list[Places]:
    """As arrays: lists of Python's numbers take ten times their memory."""
    dtypes = (np.int32, np.int64, np.int64)
    return [
        Places(*(np.array(part, dtype) for part, dtype in zip(one, dtypes, strict=True)))
        for begin in range(0, len(texts), TEXTS_AT_ONCE)
        for one in tokenizer.encode(texts[begin : begin + TEXTS_AT_ONCE])
    ]


def _places(answers: Sequence[Answer], encoding: Places) -> list[tuple[int, int]]:
    """First and last token of each answer that has any."""
    found = [answer_tokens(encoding, one) for one in answers if one.start >= 0]
    return [one for one in found if one is not None]


def _labels(
    places: Sequence[Sequence[tuple[int, int]]], windows: Windows, question_lengths: np.ndarray
) -> np.ndarray:
    """int32 (W, 2): see `QuestionSplit`."""
    labels = np.zeros((len(windows.question), 2), np.int32)
    for number, (question, begin, length) in enumerate(zip(*windows, strict=True)):
        for first, last in places[question]:
            if first >= begin and last < begin + length:
                before = BEFORE_WINDOW + question_lengths[question] - begin
                labels[number] = first + before, last + before
                break
    return labels


def _ragged(rows: Sequence[np.ndarray], dtype: type) -> tf.RaggedTensor:
    flat = np.concatenate([np.zeros(0, dtype), *rows])
    lengths = np.array([len(row) for row in rows], np.int64)
    return tf.RaggedTensor.from_row_lengths(flat, lengths)


def _warn(splits: dict[str, QuestionSplit], sizes: ContextWindows) -> None:
    """Say once what of the data is cut or not learned."""
    parts = {
        f"of more than {sizes.question_length} tokens, which are cut": "num_cut",
        "whose answer no window holds, and is not learned; a lower stride holds more": (
            "num_outside"
        ),
        "whose answers have no place in the tokens of their contexts, and are not learned": (
            "num_unplaced"
        ),
    }
    said = []
    for told, field in parts.items():
        counts = {name: getattr(split, field) for name, split in splits.items()}
        if any(counts.values()):
            listed = ", ".join(f"{count:,} ({name})" for name, count in counts.items() if count)
            said.append(f"{listed} {told}")
    if said:
        source = splits[TRAIN].questions.source
        warnings.warn(f"{source} and its other splits: questions {'; '.join(said)}.", stacklevel=3)
