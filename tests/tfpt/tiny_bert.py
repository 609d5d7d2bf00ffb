"""A BERT that trains in seconds on random batches, for tests and for the scripts they run.

Shape letters: B rows, T tokens in a row, P mask slots in a row, V vocabulary, N rows in all.
"""

import keras
import numpy as np
import tensorflow as tf

from tfpt import models, objectives, pipelines, training
from tfpt.pipelines.batches import untuned
from tfpt.pipelines.tokenizer import SPECIAL_TOKENS

V, T, P, B = 50, 12, 4, 8
TOKENIZER = pipelines.Tokenizer([*SPECIAL_TOKENS, *(f"word{number}" for number in range(V - 5))])


def size(**changes) -> models.Model:
    numbers = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    return models.Model(**{**numbers, "dropout_rate": 0.0, "max_sequence_length": 16, **changes})


def rows(num_rows=B, *, seed=0, num_positions=T):
    """Features, labels and weights of N random rows; rows have 1 to P targets, uneven lengths."""
    random = np.random.default_rng(seed)
    shape = (num_rows, num_positions)
    lengths = random.integers(num_positions // 2, num_positions + 1, (num_rows, 1))
    mask = np.arange(num_positions) < lengths
    places = np.tile(np.arange(num_positions // 2), (num_rows, 1))
    features = {
        "token_ids": random.integers(5, V, shape) * mask,
        "segment_ids": random.integers(0, 2, shape) * mask,
        "padding_mask": mask,
        "mask_positions": random.permuted(places, axis=1)[:, :P],
    }
    labels = {
        "masked_lm": random.integers(5, V, (num_rows, P)),
        "next_sentence": random.integers(0, 2, (num_rows, 1)),
    }
    weights = {
        "masked_lm": np.arange(P) < random.integers(1, P + 1, (num_rows, 1)),
        "next_sentence": np.ones((num_rows, 1)),
    }
    return (
        {name: value.astype("int32") for name, value in features.items()},
        {name: value.astype("int32") for name, value in labels.items()},
        {name: value.astype("float32") for name, value in weights.items()},
    )


def uneven_rows(num_rows):
    """Rows with targets in few places: in some batches one device of two has none."""
    features, labels, weights = rows(num_rows, seed=5)
    for number in range(0, num_rows, B // 2):
        weights["masked_lm"][number : number + 4] *= number % 3 != 1
    weights["next_sentence"] *= np.random.default_rng(0).random((num_rows, 1)) < 0.7
    return features, labels, weights


def stream(first_batch=0, *, data=None, batch_size=B):
    """Batches without end: a function of the number of the first."""
    data = rows(4 * B) if data is None else data
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(batch_size, drop_remainder=True)
    return untuned(dataset.repeat().skip(first_batch))


def pretrainer(*, seed=1, product_dtype="float32", all_states=False, **changes) -> objectives.Model:
    """An encoder with both of BERT's objectives; the seed draws its first weights."""
    keras.utils.set_random_seed(seed)
    encoder = models.encoder(size(**changes), V, product_dtype=product_dtype)
    read = encoder if all_states else models.at_masks(encoder)
    masked_lm = objectives.masked_lm(read, product_dtype=product_dtype)
    return objectives.model(encoder, masked_lm, objectives.next_sentence(read))


def compiled(model=None, **changes) -> objectives.Model:
    model = pretrainer() if model is None else model
    numbers = {"learning_rate": 1e-2, "total_steps": 8, "warmup_steps": 2}
    training.compile(model, **{**numbers, **changes})
    return model


def values(model) -> dict[str, np.ndarray]:
    """The weights by path."""
    return {weight.path: weight.numpy() for weight in model.weights}


def largest_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)
