"""Drawn batches as arrays, and the texts in them."""

import numpy as np
import tensorflow as tf

from tfpt.pipelines import examples, masked_lm

LENGTH, BATCH = 64, 32


def take(store, number, **changes):
    arguments = {"sequence_length": LENGTH, "batch_size": BATCH, "seed": 5, **changes}
    return [
        tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)
        for batch in masked_lm(store, **arguments).take(number)
    ]


def assert_equal(left, right):
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)


def assert_untuned(*datasets):
    """See `batches.untuned`."""
    for dataset in datasets:
        options = dataset.options()
        assert options.autotune.enabled is False
        assert options.experimental_optimization.apply_default_optimizations is False
        assert options.deterministic is True


def texts_of(batches):
    """The texts of all rows, masks undone, as a list of tuples of ids; specials left out."""
    found = []
    for inputs, labels, weights in batches:
        ids = inputs["token_ids"].copy()
        for row, (places, chosen) in enumerate(
            zip(inputs["mask_positions"], weights["masked_lm"] > 0, strict=True)
        ):
            ids[row, places[chosen]] = labels["masked_lm"][row][chosen]
        texts = inputs.get("text_ids", inputs["padding_mask"])
        for row, numbers in zip(ids, texts, strict=True):
            for number in range(1, numbers.max() + 1):
                text = row[numbers == number]
                found.append(tuple(text[text >= 5]))
    return found


def examples_of(store):
    """The same of the stretches that an epoch visits, from the store itself."""
    starts = examples.example_starts(
        store.sentence_offsets, store.document_offsets, LENGTH - 2, min_tokens=1
    )
    lengths = examples.example_lengths(
        starts, store.sentence_offsets, store.document_offsets, LENGTH - 2
    )
    begins = store.sentence_offsets[starts]
    return [
        tuple(store.token_ids[first : first + length])
        for first, length in zip(begins, lengths, strict=True)
    ]


def first_texts(batches):
    """The first text of each row."""
    found = []
    for inputs, labels, weights in batches:
        for row in range(len(inputs["token_ids"])):
            one = tf.nest.map_structure(
                lambda part, row=row: part[row : row + 1], (inputs, labels, weights)
            )
            found.append(texts_of([one])[0])
    return found
