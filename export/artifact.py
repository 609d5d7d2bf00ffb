"""What the modules that are exported have in common: texts to rows, and what is kept out of sight.

Shape letters: B texts, T tokens in a row.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpt import features
from tfpt.pipelines.packing import pack_segments
from tfpt.pipelines.tokenizer import TextTokenizer

# The inputs of the signature that takes tokens.
PACKED = (features.TOKEN_IDS, features.SEGMENT_IDS, features.PADDING_MASK)


class Untracked:
    """Holds an object out of sight of `tf.Module`, which would save it too."""

    def __init__(self, value: Any):
        self.value = value


def pack_rows(
    texts: Sequence[tf.RaggedTensor], tokenizer: TextTokenizer, sequence_length: int
) -> tuple[tf.Tensor, ...]:
    """Pack tokens as training does, but no longer than the longest row of the request.

    Args:
        texts: int32 (B, None), one or two.
        tokenizer: Whose special tokens go between them.
        sequence_length: Most tokens in a row.

    Returns:
        The tensors of `PACKED`, int32 (B, T) each.
    """
    packed = pack_segments(
        texts,
        sequence_length=sequence_length,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
    )
    # Padding past the longest row would only cost time.
    longest = tf.reduce_max(tf.concat([tf.reduce_sum(packed[2], axis=1), [1]], axis=0))
    return tuple(tensor[:, :longest] for tensor in packed)


def token_specs() -> list[tf.TensorSpec]:
    """Of the signature that takes tokens: int32 (B, T), by the names of `PACKED`."""
    return [tf.TensorSpec([None, None], tf.int32, name=name) for name in PACKED]


def of_one_shape(*tensors: tf.Tensor) -> list[tf.Tensor]:
    """The tensors of a request's tokens, (B, T) each.

    Of others, such as (B, T) and (1, T), the sums of embeddings would be made all the same; the
    graph refuses them.
    """
    shapes = tf.stack([tf.shape(tensor) for tensor in tensors])
    names = ", ".join((*PACKED, features.ANSWER_MASK)[: len(tensors)])
    told = [f"{names} must have one shape, (rows, tokens); received", shapes]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(shapes == shapes[0]), told)]):
        return [tf.identity(tensor) for tensor in tensors]


def assets_in(folder: Path) -> list[tf.saved_model.Asset]:
    """The files of a folder, to be copied into the SavedModel."""
    return [tf.saved_model.Asset(str(path)) for path in sorted(folder.iterdir())]
