"""AdaLoRA's budget of ranks, and the regularizers of weights."""

from pathlib import Path

import adapted_on_devices
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from test_peft import classifier, encoder
from test_transfer import batch
from test_ways_to_step import finish, start, start_workers

from tfpt import config, objectives, peft, training
from tfpt.peft.adaptive import Orthogonal, RankBudget

STEPS = 20
NUMBERS = config.Adaptation(
    method="adalora",
    rank=4,
    target_rank=1,
    budget_steps=2,
    budget_warmup_rate=0.1,
    budget_final_rate=0.3,
    orthogonality=0.2,
)


def model(**changes):
    found = classifier(peft.adapt(encoder(), NUMBERS))
    numbers = {"learning_rate": 1e-2, "total_steps": STEPS, "weight_decay": 0.0, "clip_norm": 0.0}
    training.compile(found, **{**numbers, **changes})
    return found


def budget(steps):
    """After Zhang et al. 2023, appendix A, for 4 maps."""
    begin, end = 0.1 * STEPS, 0.7 * STEPS
    left = min(1.0, max(0.0, 1 - (steps - begin) / (end - begin)))
    return round(4 * (1 + 3 * left**3))


def test_the_budget_falls_from_the_first_rank_to_the_target():
    found = RankBudget([], NUMBERS)
    found.triplets = [None] * 4
    numbers = [int(found.budget(steps, STEPS)) for steps in range(STEPS + 1)]
    assert numbers == [budget(steps) for steps in range(STEPS + 1)]
    assert (numbers[0], numbers[2], numbers[14], numbers[-1]) == (16, 16, 4, 4)


def test_ranks_are_divided_as_the_paper_says():
    """Against NumPy, step by step, from gradients and weights alone."""
    found = model()
    triplets = peft.rank_budget(found).triplets
    names = [[weight.path for weight in one.of_loss] for one in triplets]
    means = {path: 0.0 for paths in names for path in paths}
    spreads = dict(means)
    kept = [np.ones(4) for _ in triplets]
    seen = {}
    ranks = peft.rank_budget(found)
    update = ranks.update

    def watched(gradients, steps, total_steps, averages):
        """Between the step of the optimizer and the budget; eagerly."""
        seen.update({path: np.asarray(gradients[path]) for path in means})
        seen["weights"] = tiny_bert.values(found)
        update(gradients, steps, total_steps, averages)

    ranks.update = watched
    found.run_eagerly = True
    changes = 0
    for step in range(1, STEPS + 1):
        found.train_on_batch(*batch(step))
        weights = seen["weights"]
        scores = []
        for paths in names:
            of_weight = []
            for path in paths:
                sensitivity = np.abs(weights[path] * seen[path])
                means[path] = 0.85 * means[path] + 0.15 * sensitivity
                change = np.abs(sensitivity - means[path])
                spreads[path] = 0.85 * spreads[path] + 0.15 * change
                of_weight.append(means[path] * spreads[path])
            down, singular, up = of_weight
            scores.append(singular + down.mean(axis=0) + up.mean(axis=1))
        is_final = step > 0.7 * STEPS
        is_due = (step % 2 == 0 and 0.1 * STEPS < step <= 0.7 * STEPS) or step == 15
        least = np.sort(np.concatenate(scores))[-budget(step)]
        for number, (paths, score) in enumerate(zip(names, scores, strict=True)):
            expected = weights[paths[1]]
            if is_due:
                kept[number] = (score >= least).astype(float)
            if is_due or is_final:
                expected = expected * kept[number]
                changes += int((expected != weights[paths[1]]).any())
            np.testing.assert_allclose(triplets[number].singular, expected, rtol=1e-5)
            np.testing.assert_array_equal(triplets[number].is_kept, kept[number])
    assert changes > 5
    assert sum(map(sum, kept)) == 4
    assert sum(int(np.count_nonzero(one.singular)) for one in triplets) <= 4


def test_the_ranks_fall_to_the_target_where_the_first_of_the_last_steps_was_skipped():
    """As one whose gradients are not finite: the next one that is taken has to do it."""
    found = model()
    ranks = peft.rank_budget(found)
    random = np.random.default_rng(0)
    paths = [weight.path for one in ranks.triplets for weight in one.of_loss]
    weights = tiny_bert.values(found)
    for step in range(1, STEPS + 1):
        gradients = {path: random.normal(size=weights[path].shape) for path in paths}
        gradients = {path: value.astype("float32") for path, value in gradients.items()}
        for one in ranks.triplets:
            one.singular.assign(random.normal(size=4))
        if step not in (10, 12, 14, 15):  # from the tenth on but one that is final
            ranks.update(gradients, tf.constant(step, tf.int64), STEPS)
        if step == 15:
            assert sum(float(tf.reduce_sum(one.is_kept)) for one in ranks.triplets) > 4
        if step == 16:
            kept = [np.asarray(one.is_kept) for one in ranks.triplets]
            assert sum(map(sum, kept)) == 4
    for one, expected in zip(ranks.triplets, kept, strict=True):
        np.testing.assert_array_equal(one.is_kept, expected)


def test_merged_after_the_ranks_fell_it_gives_the_same():
    found = model()
    for step in range(STEPS):
        found.train_on_batch(*batch(step))
    rows = batch()[0]
    states = np.asarray(found.encoder(rows)["sequence_output"])
    merged = peft.merge(found.encoder)
    np.testing.assert_allclose(merged(rows)["sequence_output"], states, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_regularizer_is_what_a_matrix_lacks_of_orthogonal(axis):
    random = np.random.default_rng(0)
    x = random.normal(size=(5, 3)).astype("float32")
    x = x.T if axis == 0 else x
    product = x @ x.T if axis == 0 else x.T @ x
    expected = 0.2 * ((product - np.eye(3)) ** 2).sum()
    np.testing.assert_allclose(Orthogonal(0.2, axis)(x), expected, rtol=1e-5)
    orthogonal = np.linalg.qr(random.normal(size=(5, 3)))[0].astype("float32")
    orthogonal = orthogonal.T if axis == 0 else orthogonal
    assert float(Orthogonal(0.2, axis)(orthogonal)) < 1e-10


@pytest.mark.parametrize(
    "step", [config.Step(), config.Step(accumulation_steps=2), config.Step(cpu_shards=2)]
)
def test_regularizers_of_weights_are_a_part_of_the_gradient_once(step):
    """A head of Keras' own with one; a step of plain descent, by hand."""
    given = encoder()
    head = keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.05), name="head")
    keras.utils.set_random_seed(5)
    objective = objectives.Objective(
        name="classification",
        output=head(given.output["pooled_output"]),
        loss=tf.nn.sparse_softmax_cross_entropy_with_logits,
    )
    found = objectives.model(given, objective)
    training.compile(found, learning_rate=1e-3, total_steps=10, clip_norm=0.0, step=step)
    rows, labels, _ = batch()
    before = np.asarray(head.kernel)
    with tf.GradientTape() as tape:
        logits = found(rows, training=True)["classification"]
        losses = objective.loss(labels["classification"], logits)
        total = tf.reduce_mean(losses) + 0.05 * tf.reduce_sum(tf.square(head.kernel.value))
    expected = tape.gradient(total, head.kernel.value)
    seen = []
    found.optimizer.apply = lambda gradients, weights: seen.extend(gradients)
    found.run_eagerly = True
    found.train_on_batch(*batch())
    place = [weight.path for weight in found.trainable_weights].index("head/kernel")
    np.testing.assert_allclose(seen[place], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(head.kernel, before)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_adapted_models_train_alike_on_replicas_and_workers(tmp_path):
    """AdaLoRA with moving averages, and what is no linear map."""
    script = Path(adapted_on_devices.__file__)
    finish([start("one", 1, tmp_path, script=script)], 1)
    two = start("mirrored", 2, tmp_path, script=script)
    workers = start_workers(2, tmp_path, script=script)
    finish([two], 2)
    finish(workers, 2)
    for method in adapted_on_devices.METHODS:
        expected = dict(np.load(tmp_path / f"one-{method}.npz"))
        for name in ("mirrored", "multi_worker"):
            found = dict(np.load(tmp_path / f"{name}-{method}.npz"))
            for path, value in expected.items():
                np.testing.assert_allclose(found[path], value, rtol=0, atol=2e-5, err_msg=path)
    ranks = dict(np.load(tmp_path / "one-adalora.npz"))
    assert sum(value.sum() for path, value in ranks.items() if path.endswith("is_kept")) == 8
