"""Telling groups of texts apart: the loss, and that it is the same on any number of devices."""

from pathlib import Path

import contrastive_on_devices
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from test_ways_to_step import finish, start, start_workers

from tfpt import config, features, models, objectives, training
from tfpt.objectives.contrastive import group_loss, is_nearest_of_group

SCRIPT = Path(contrastive_on_devices.__file__)


def embeddings(num_rows, width=5):
    x = np.random.default_rng(0).normal(size=(num_rows, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype("float32")


def by_hand(groups, x, temperature):
    """Row by row, as equation 2 of the paper reads; and whether the nearest one is of the group."""
    losses, nearest = [], []
    for i in range(len(groups)):
        others = [k for k in range(len(groups)) if k != i]
        same = [p for p in others if groups[p] == groups[i]]
        total = sum(np.exp(x[i] @ x[k] / temperature) for k in others)
        terms = [-np.log(np.exp(x[i] @ x[p] / temperature) / total) for p in same]
        losses.append(np.mean(terms) if terms else 0.0)
        best = max(others, key=lambda k, i=i: x[i] @ x[k])
        nearest.append(float(groups[best] == groups[i]))
    return losses, nearest


@pytest.mark.parametrize("groups", [[0, 0, 1, 1], [3, 7, 3, 3, 7, 1], [0, 1, 2], [5, 5]])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_the_loss_is_that_of_the_paper(groups, temperature):
    x, groups = embeddings(len(groups)), np.array(groups, np.int32)
    losses, nearest = by_hand(groups, x.astype("float64"), temperature)
    np.testing.assert_allclose(group_loss(groups, x, temperature), losses, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(is_nearest_of_group(groups, x), nearest)


def test_rows_of_no_group_change_nothing_for_the_others():
    """Even where they are copies, which would be the nearest ones."""
    x, groups = embeddings(6), np.array([0, 1, 2, 0, 1, 2], np.int32)
    rows = np.concatenate([x, x[:4]])
    of_rows = np.concatenate([groups, np.full(4, features.NO_GROUP, np.int32)])
    losses = group_loss(of_rows, rows, 0.1)[:6]
    np.testing.assert_allclose(losses, group_loss(groups, x, 0.1), rtol=1e-6)
    np.testing.assert_array_equal(
        is_nearest_of_group(of_rows, rows)[:6], is_nearest_of_group(groups, x)
    )


def test_pairs_have_the_loss_of_cross_entropy_over_the_other_rows():
    x, temperature = embeddings(6), 0.1
    groups = np.array([0, 1, 2, 0, 1, 2], np.int32)
    logits = np.where(np.eye(6, dtype=bool), -np.inf, x @ x.T / temperature)
    expected = tf.nn.sparse_softmax_cross_entropy_with_logits([3, 4, 5, 0, 1, 2], logits)
    np.testing.assert_allclose(group_loss(groups, x, temperature), expected, rtol=1e-4)


@pytest.mark.parametrize("pooling", config.EMBEDDINGS)
def test_an_embedding_is_of_length_one_and_padding_changes_nothing(pooling):
    encoder = models.encoder(tiny_bert.size(), tiny_bert.V)
    embedder = models.embedder(encoder, pooling=pooling)
    rows = tiny_bert.rows()[0]
    del rows["mask_positions"]
    found = embedder(rows)["embedding"].numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    states = encoder(rows)["sequence_output"].numpy()
    mask = rows["padding_mask"].astype(bool)
    for row, of_tokens, real in zip(found, states, mask, strict=True):
        pooled = of_tokens[real].mean(axis=0) if pooling == "mean" else of_tokens[0]
        np.testing.assert_allclose(row, pooled / np.linalg.norm(pooled), rtol=1e-4, atol=1e-5)
    longer = {name: np.pad(value, [(0, 0), (0, 3)]) for name, value in rows.items()}
    np.testing.assert_allclose(embedder(longer)["embedding"], found, rtol=1e-4, atol=1e-5)


@pytest.mark.timeout(600)
def test_replicas_and_workers_learn_what_one_device_learns(tmp_path):
    """Each row meets those of the other devices; groups are divided among them."""
    finish([start("one", 1, tmp_path, script=SCRIPT)], 1)
    two = start("mirrored", 2, tmp_path, script=SCRIPT)
    workers = start_workers(2, tmp_path, script=SCRIPT)
    finish([two], 2)
    finish(workers, 2)
    expected = dict(np.load(tmp_path / "one.npz"))
    assert expected["logs"][-1, 0] < 0.7 * expected["logs"][0, 0]
    for name in ("mirrored", "multi_worker"):
        found = dict(np.load(tmp_path / f"{name}.npz"))
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=0, atol=2e-5, err_msg=key)


def test_parts_of_a_batch_are_refused():
    for step in (config.Step(accumulation_steps=2), config.Step(cpu_shards=2)):
        with pytest.raises(ValueError, match="contrastive compares the rows of a batch with each"):
            training.compile(
                contrastive_on_devices.model(), learning_rate=1e-2, total_steps=2, step=step
            )


def test_the_compiled_step_gives_the_same():
    values = []
    for jit_compile in (False, True):
        model = contrastive_on_devices.model()
        training.compile(
            model,
            learning_rate=1e-2,
            total_steps=4,
            step=config.Step(jit_compile=jit_compile),
        )
        for _ in range(3):
            model.train_on_batch(*contrastive_on_devices.rows())
        values.append(tiny_bert.values(model))
    assert tiny_bert.largest_difference(*values) < 2e-5


def test_what_cannot_be_embedded_is_refused():
    encoder = models.encoder(tiny_bert.size(), tiny_bert.V)
    with pytest.raises(ValueError, match="`pooling` must be one of mean, first; received 'max'"):
        models.embedder(encoder, pooling="max")
    packed = models.encoder(tiny_bert.size(), tiny_bert.V, packed=True)
    with pytest.raises(ValueError, match="An embedding is of one text to a row; the encoder is a"):
        models.embedder(packed)
    with pytest.raises(ValueError, match=r"`contrastive` is built on `models\.embedder"):
        objectives.contrastive(encoder)
    with pytest.raises(ValueError, match="`temperature` must be positive; received 0"):
        objectives.contrastive(models.embedder(encoder), temperature=0.0)
