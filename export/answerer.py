"""The exported model of questions: a question and its context in, the answer with its place out.

Shape letters: B questions, W windows of all questions, T tokens in a row, L tokens of a context
(ragged).
"""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfpt import features
from tfpt.answer_spans import Spans, best_of_questions, best_spans, has_span
from tfpt.export.artifact import PACKED, Untracked, assets_in, of_one_shape, token_specs
from tfpt.export.versions import check_sizes, write_version
from tfpt.pipelines import spans
from tfpt.pipelines.context_windows import (
    BEFORE_WINDOW,
    find_windows,
    stretches,
    window_rows,
)
from tfpt.pipelines.settings import NUM_SPECIALS, ContextWindows
from tfpt.pipelines.tokenizer import TextTokenizer

# Windows that go through the model at once: a long context has many, and their memory has an end.
WINDOWS_AT_ONCE = 32


def saved_answerer(
    model: keras.Model,
    tokenizer: TextTokenizer,
    path: str | Path,
    *,
    windows: ContextWindows | None = None,
    answer_length: int = 30,
    no_answer_threshold: float | None = None,
) -> Path:
    """Write a model that answers questions as the next version below `path`.

    Its signature `serving_default` takes `question` and `context`, string (B,), and gives, (B,)
    each,

        answer  string, a stretch of the context; "" where there is no answer;
        start, end      int64, where it stands, in bytes of UTF-8; 0 where there is none;
        char_start, char_end    the same in characters (code points);
        score   float32, the sum of the logits of the first and the last token of the best stretch,
                also where it is not given; -2e9 where the context has no token;
        no_answer_score float32, the sum of both logits of [CLS], the lowest of all windows.

    Contexts of any length are gone through in windows as in training, 32 of them at once. The
    signature `tokens` takes `token_ids`, `segment_ids`, `padding_mask` and `answer_mask`, int32
    (B, T), as training packs them, and gives of each row the best stretch: `first` and `last`,
    int64 (B,), columns of the row; `score` and `no_answer_score`. It is the only one where the
    tokenizer needs tensorflow-text, which is not installed.

    Args:
        model: From `objectives.model`, with the output `question_answering`.
        tokenizer: The one the model was trained with.
        path: The folder of the model's versions, such as models/squad.
        windows: How questions and contexts are cut, as in training.
        answer_length: Most tokens of an answer.
        no_answer_threshold: There is no answer where `no_answer_score` - `score` is above it; as an
            `AnswerReport` has it. None: something is always answered.

    Returns:
        The folder that was written, such as models/squad/1.

    Raises:
        ValueError: The model has another output, or vocabulary or lengths do not fit it.
        OSError: The disk is full, or the folder cannot be written.
    """
    windows = windows or ContextWindows()
    outputs = model.output if isinstance(model.output, dict) else {}
    if features.QUESTION_ANSWERING not in outputs:
        raise ValueError(
            f"The model has no output `{features.QUESTION_ANSWERING}`, its outputs are "
            f"{sorted(outputs)}. Others are written by `saved_model`."
        )
    if answer_length < 1:
        raise ValueError(f"`answer_length` must be at least 1 token; received {answer_length}.")
    check_sizes(model, tokenizer, windows.sequence_length)

    def build(assets: Path) -> Answerer:
        return Answerer(
            model,
            tokenizer,
            windows=windows,
            answer_length=answer_length,
            no_answer_threshold=no_answer_threshold,
            assets=assets,
        )

    return write_version(build, tokenizer, path)


class Answerer(tf.Module):
    """Owns what the SavedModel holds: the weights and the vocabulary.

    Args: as `saved_answerer` has them.
        assets: A folder whose files are copied into the SavedModel: the vocabulary.

    Attributes:
        answer: The signature that takes texts; None where the tokenizer is not made of operations
            of the graph.
        find_in_tokens: The signature that takes tokens.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: TextTokenizer,
        *,
        windows: ContextWindows,
        answer_length: int,
        no_answer_threshold: float | None,
        assets: Path,
    ):
        super().__init__(name="answerer")
        self._model = Untracked(model)
        self._tokenizer = Untracked(tokenizer)
        self._sizes = windows
        self._answer_length = min(answer_length, windows.sequence_length)
        self._threshold = no_answer_threshold
        # A module tracks variables, not Keras models: the folder then needs no Keras to be read.
        self.weights = [weight.value for weight in model.weights]
        self.assets = assets_in(assets)
        self.resources = list(tokenizer.resources)
        self.answer = None
        if tokenizer.in_graph:
            names = ("question", "context")
            self.answer = tf.function(
                self._answer,
                input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in names],
                autograph=False,
            )
        mask = tf.TensorSpec([None, None], tf.int32, name=features.ANSWER_MASK)
        self.find_in_tokens = tf.function(
            self._find_in_tokens, input_signature=[*token_specs(), mask], autograph=False
        )

    def signatures(self) -> dict[str, Any]:
        """The functions by the names they are served under."""
        found = {"tokens": self.find_in_tokens}
        return found if self.answer is None else {**found, "serving_default": self.answer}

    def _answer(self, question, context):
        """string (B,) twice -> the answers; see `saved_answerer`."""
        tokenizer, sizes = self._tokenizer.value, self._sizes
        questions = tokenizer.tokenize(question)[:, : sizes.question_length]
        questions = questions.with_row_splits_dtype(tf.int64)
        tokens, starts, ends = (
            part.with_row_splits_dtype(tf.int64)
            for part in tokenizer.tokenize_with_offsets(context, unit="byte")
        )
        windows = find_windows(questions.row_lengths(), tokens.row_lengths(), sizes)
        inputs = window_rows(
            tf.gather(questions, windows.question),
            stretches(tokens, *windows),
            starts=stretches(starts, *windows),
            ends=stretches(ends, *windows),
            tokenizer=tokenizer,
            sequence_length=sizes.sequence_length,
        )
        # Padding past the longest row would only cost time.
        used = tf.reduce_sum(inputs[features.PADDING_MASK], axis=1)
        longest = tf.reduce_max(tf.concat([used, [NUM_SPECIALS]], axis=0))
        found = self._in_slices({name: tensor[:, :longest] for name, tensor in inputs.items()})
        best = best_of_questions(found, windows.question, tf.size(question, tf.int64))
        is_given = has_span(best)
        if self._threshold is not None:
            is_given &= best.no_answer_score - best.score <= self._threshold
        begin = tf.gather(windows.begin, best.window) - questions.row_lengths() - BEFORE_WINDOW
        start = _in_text(starts, begin + best.first, is_given)
        end = _in_text(ends, begin + best.last, is_given)
        first, last = _in_characters(context, start, end)
        return {
            "answer": tf.strings.substr(context, start, end - start),
            "start": start,
            "end": end,
            "char_start": first,
            "char_end": last,
            "score": best.score,
            "no_answer_score": best.no_answer_score,
        }

    def _find_in_tokens(self, token_ids, segment_ids, padding_mask, answer_mask):
        """int32 (B, T) each, as features.py has them -> the best stretch of each row."""
        names = (*PACKED, features.ANSWER_MASK)
        values = of_one_shape(token_ids, segment_ids, padding_mask, answer_mask)
        return self._spans(dict(zip(names, values, strict=True)))._asdict()

    def _in_slices(self, inputs):
        """The best span of each window, of any number (W, T), in memory that has an end."""
        count = tf.shape(inputs[features.TOKEN_IDS])[0]

        def go_on(begin, found):
            some = {
                name: tensor[begin : begin + WINDOWS_AT_ONCE] for name, tensor in inputs.items()
            }
            both = zip(found, self._spans(some), strict=True)
            return begin + WINDOWS_AT_ONCE, Spans(*(tf.concat(parts, axis=0) for parts in both))

        dtypes = Spans(tf.int64, tf.int64, tf.float32, tf.float32)
        _, found = tf.while_loop(
            lambda begin, _: begin < count,
            go_on,
            (0, Spans(*(tf.zeros([0], dtype) for dtype in dtypes))),
            shape_invariants=(tf.TensorShape([]), Spans(*[tf.TensorShape([None])] * 4)),
            parallel_iterations=1,
        )
        return found

    def _spans(self, inputs):
        logits = self._model.value(inputs, training=False)[features.QUESTION_ANSWERING]
        return best_spans(logits, inputs[features.ANSWER_MASK], self._answer_length)


def _in_text(places: tf.RaggedTensor, token: Any, is_given: Any) -> Any:
    """int64 (B,): the place (B, L) of a token (B,) of each context; 0 where none is given."""
    # One more, since a request may have no token at all.
    values = tf.pad(places.values, [[0, 1]])
    chosen = tf.where(is_given, places.row_starts() + token, tf.size(places.values, tf.int64))
    return tf.gather(values, chosen)


def _in_characters(texts: Any, start: Any, end: Any) -> tuple[Any, Any]:
    """Places in bytes, int64 (B,), as places in characters."""
    ones = tf.ones_like(start)
    one, other = (
        tf.RaggedTensor.from_row_lengths(part, ones, validate=False) for part in (start, end)
    )
    first, last = spans.in_unit(texts, one, other, "character")
    return first.values, last.values
