"""Texts that mean the same near to each other, others apart.

Shape letters: B rows of a replica, N rows of the global batch, H width of an embedding.
"""

import keras
import tensorflow as tf

from tfpt import distribution, features
from tfpt.objectives.objective import Objective

_LEAST = -1e9  # stands for what does not count, in sums of exponentials and maxima


def contrastive(
    embedder: keras.Model, *, temperature: float = 0.05, weight: float = 1.0
) -> Objective:
    """Tell the texts of a row's own group from all others of the global batch.

    The label of a row is a group: two texts of a pair, or all texts of a class, have the same one.
    For each other row of its group, a row has the negative logarithm of exp(s / t) over the sum of
    these of all rows but itself, s being the product of two embeddings; its loss is the mean of
    these. With pairs that is the loss of SimCLR, and with a text twice, each with dropout of its
    own, that of unsupervised SimCSE with both of its sides as negatives. A row without another one
    of its group has a loss of 0; give it no weight, and it is a negative alone. A row of the group
    `features.NO_GROUP` is not there for the others.

    Embeddings are gathered from all devices. A batch is not gone through in parts, which would be
    batches of their own.

    Args:
        embedder: From `models.embedder`.
        temperature: t.
        weight: Factor of the loss.

    Returns:
        An objective with the output `contrastive`, float32 (B, H), and the label of the same name,
        int32 (B,).

    Raises:
        ValueError: A temperature that is not positive; no embedding in the model.

    Sources: Khosla et al. 2020, equation 2, https://arxiv.org/abs/2004.11362; Chen et al. 2020,
    https://arxiv.org/abs/2002.05709; Gao et al. 2021, https://arxiv.org/abs/2104.08821.
    """
    if temperature <= 0:
        raise ValueError(f"`temperature` must be positive; received {temperature}.")
    if features.EMBEDDING not in embedder.output:
        raise ValueError(
            "`contrastive` is built on `models.embedder(encoder)`; received a model with the "
            f"outputs {', '.join(embedder.output)}."
        )
    return Objective(
        name=features.CONTRASTIVE,
        output=embedder.output[features.EMBEDDING],
        loss=lambda groups, embeddings: group_loss(groups, embeddings, temperature),
        metrics={"accuracy": is_nearest_of_group},
        weight=weight,
        across_rows=True,
    )


def group_loss(groups, embeddings, temperature: float):
    """The loss of `contrastive`: int32 (B,), float32 (B, H) -> float32 (B,)."""
    products, is_same, is_other = _pairs(groups, embeddings)
    logits = tf.where(is_other, products / temperature, _LEAST)
    shares = logits - tf.reduce_logsumexp(logits, axis=1, keepdims=True)
    same = tf.cast(is_same, tf.float32)
    return -tf.math.divide_no_nan(tf.reduce_sum(shares * same, axis=1), tf.reduce_sum(same, axis=1))


def is_nearest_of_group(groups, embeddings):
    """float32 (B,): 1 where the nearest other row of the global batch is of the same group."""
    products, is_same, is_other = _pairs(groups, embeddings)
    products = tf.where(is_other, products, _LEAST)
    largest = tf.reduce_max(products, axis=1)
    of_group = tf.reduce_max(tf.where(is_same, products, _LEAST), axis=1)
    return tf.cast(tf.reduce_any(is_same, axis=1) & (of_group >= largest), tf.float32)


def _pairs(groups, embeddings):
    """(B, N) each: products with all rows; whether they are of the group, and another row."""
    everyone, all_groups = distribution.gathered(embeddings), distribution.gathered(groups)
    products = tf.matmul(embeddings, everyone, transpose_b=True)
    count = tf.shape(groups)[0]
    place = distribution.replica_number() * count + tf.range(count)
    is_other = place[:, None] != tf.range(tf.shape(all_groups)[0])[None]
    is_other &= all_groups[None] != features.NO_GROUP
    return products, is_other & (groups[:, None] == all_groups[None]), is_other
