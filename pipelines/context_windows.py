"""Questions with windows of their contexts as rows: [CLS] question [SEP] window [SEP].

A context that is too long for a row is gone through in windows that overlap. Training and the
exported model cut by these functions, with operations of TensorFlow's core only.

Shape letters: N questions, W windows of all questions, T tokens in a row, L tokens of a context
(ragged), Q tokens of a question (ragged).
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tfpt import features
from tfpt.pipelines.packing import pack_segments
from tfpt.pipelines.settings import NUM_SPECIALS, ContextWindows
from tfpt.pipelines.tokenizer import TextTokenizer

# Special tokens of a row before its window.
BEFORE_WINDOW = 2


class Windows(NamedTuple):
    """The windows of all questions, in the order of the questions and from left to right."""

    question: Any  # int64 (W,): to which it belongs
    begin: Any  # int64 (W,): its first token, counted within the context
    length: Any  # int64 (W,): its tokens; 0 where the context has none


def find_windows(question_lengths: Any, context_lengths: Any, sizes: ContextWindows) -> Windows:
    """Cut the contexts of questions into windows; each has at least one.

    Args:
        question_lengths: int64 (N,), in tokens, at most `question_length`.
        context_lengths: int64 (N,), in tokens.
        sizes: Of rows and windows.
    """
    room = sizes.sequence_length - NUM_SPECIALS - question_lengths
    over = tf.maximum(context_lengths - room, 0)
    counts = 1 + (over + sizes.stride - 1) // sizes.stride
    question = tf.repeat(tf.range(tf.size(counts, tf.int64)), counts)
    begin = tf.ragged.range(counts).values * sizes.stride
    length = tf.minimum(tf.gather(room, question), tf.gather(context_lengths, question) - begin)
    return Windows(question, begin, length)


def stretches(texts: tf.RaggedTensor, row: Any, begin: Any, length: Any) -> tf.RaggedTensor:
    """Of each of the rows (W,) of `texts` the tokens from `begin` (W,) on, `length` (W,) of them.

    Returns:
        A RaggedTensor (W, None).
    """
    first = tf.gather(texts.with_row_splits_dtype(tf.int64).row_starts(), row) + begin
    places = tf.ragged.range(first, first + length)
    return places.with_values(tf.gather(texts.values, places.values))


def window_rows(
    questions: tf.RaggedTensor,
    tokens: tf.RaggedTensor,
    *,
    starts: tf.RaggedTensor,
    ends: tf.RaggedTensor,
    tokenizer: TextTokenizer,
    sequence_length: int,
) -> dict[str, tf.Tensor]:
    """Pack a question and a window of its context to a row each.

    Args:
        questions: int32 (W, Q): of each window the tokens of its question.
        tokens: int32 (W, L): its own.
        starts, ends: int64 (W, L): where they stand in the context, in any unit. One that stands
            for nothing cannot be of an answer.
        tokenizer: Whose special tokens go between them.
        sequence_length: T; question, window and special tokens are at most as many.

    Returns:
        `token_ids`, `segment_ids`, `padding_mask` and `answer_mask`, int32 (W, T).
    """
    token_ids, segment_ids, padding_mask = pack_segments(
        [questions, tokens],
        sequence_length=sequence_length,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
    )
    can_answer = tokens.with_values(tf.cast(starts.values < ends.values, tf.int32))
    # By the same places, so that both say the same of a token.
    answer_mask, _, _ = pack_segments(
        [questions.with_values(tf.zeros_like(questions.values)), can_answer],
        sequence_length=sequence_length,
        cls_id=1,
        sep_id=0,
    )
    return {
        features.TOKEN_IDS: token_ids,
        features.SEGMENT_IDS: segment_ids,
        features.PADDING_MASK: padding_mask,
        features.ANSWER_MASK: answer_mask,
    }
