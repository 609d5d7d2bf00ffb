"""What every tokenizer does alike with texts, ids and vocabulary entries.

Shape letters: N texts, L tokens of a text (ragged).
"""

from collections.abc import Sequence
from typing import Any


def batch_of_texts(texts: Any) -> Any:
    """Texts as a string tensor (N,).

    Raises:
        ValueError: They are no batch.
    """
    import tensorflow as tf

    texts = tf.convert_to_tensor(texts, tf.string)
    if texts.shape.rank != 1:
        raise ValueError(
            "`tokenize` takes a batch of texts, a string tensor of shape (N,); received shape "
            f"{texts.shape}. Batch the dataset before mapping it, or pass [text] for one text."
        )
    return texts


def entries_of_ids(vocabulary: Sequence[str], ids: Any) -> Any:
    """Give the vocabulary entry of each id.

    Args:
        ids: An id, or a (nested) list, array, tensor or ragged tensor of ids.

    Returns:
        A string, or lists of strings nested as `ids` is.

    Raises:
        ValueError: An id outside of the vocabulary.
    """
    for convert in ("to_list", "numpy", "tolist"):  # ragged tensor; tensor; array or scalar
        if hasattr(ids, convert):
            return entries_of_ids(vocabulary, getattr(ids, convert)())
    if isinstance(ids, Sequence) and not isinstance(ids, str):
        return [entries_of_ids(vocabulary, part) for part in ids]
    if not 0 <= ids < len(vocabulary):
        raise ValueError(
            f"An id lies between 0 and {len(vocabulary) - 1} in this vocabulary; received {ids}."
        )
    return vocabulary[ids]


def joined(ids: Any, texts: Sequence[str | bytes], *, separator: str = "") -> Any:
    """Join what the tokens of each row stand for, inside the graph or outside.

    Args:
        ids: RaggedTensor int (N, L), or lists of ids.
        texts: What each entry stands for, by its id; nothing is put for an empty one.

    Returns:
        string (N,).
    """
    import tensorflow as tf

    if not isinstance(ids, tf.RaggedTensor):
        ids = tf.ragged.constant(ids, ragged_rank=1, dtype=tf.int32)
    pieces = tf.gather(tf.constant(list(texts), tf.string), ids)
    pieces = tf.ragged.boolean_mask(pieces, pieces != b"")
    return tf.strings.reduce_join(pieces, axis=-1, separator=separator)
