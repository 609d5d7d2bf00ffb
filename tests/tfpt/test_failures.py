"""Steps that went wrong: the batch is saved, and what was skipped is recorded."""

import types

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert

from tfpt import config, failures, training
from tfpt.objectives.step_state import NUM_REMEMBERED

BROKEN_BATCH = 5


@pytest.fixture(scope="module")
def model():
    return tiny_bert.compiled()


@pytest.fixture
def run(tmp_path):
    return training.Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER)


def attached(callback, model):
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def with_a_broken_batch(first_batch=0):
    """Of eight batches one has a weight that is no number."""
    data = tiny_bert.rows(8 * tiny_bert.B)
    data[2]["masked_lm"][BROKEN_BATCH * tiny_bert.B, 0] = np.nan
    return tiny_bert.stream(first_batch, data=data)


def test_a_batch_that_is_not_finite_ends_training_and_is_saved(tmp_path):
    step = config.Step(steps_per_execution=2)
    model = tiny_bert.compiled(step=step, total_steps=12)
    run = training.Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER, recipe="tfpt.recipes.bert")
    with pytest.raises(FloatingPointError) as error:
        training.fit(model, with_a_broken_batch, run, steps_per_epoch=6, verbose=0)
    path = run.path / "broken" / "batch-5.npz"
    assert str(error.value).startswith(
        f"The loss or the gradient of step 6 is not finite: batch 5, saved as {path}, to be looked "
        "at by `tfpt show-batch bert --batch 5`"
    )
    assert not list(run.path.glob("checkpoints/*"))
    assert all(np.isfinite(value).all() for value in tiny_bert.values(model).values())
    expected = next(iter(with_a_broken_batch(5)))
    with np.load(path) as saved:
        assert len(saved.files) == sum(map(len, expected))
        for part, values in zip(("features", "labels", "weights"), expected, strict=True):
            for name, value in values.items():
                np.testing.assert_array_equal(saved[f"{part}/{name}"], value)


def test_the_device_is_asked_now_and_then(model, run):
    stop = attached(failures.StopOnNonFiniteLoss(run, with_a_broken_batch), model)
    model.state.broken.assign(3)
    try:
        for batch in range(9):
            stop.on_train_batch_end(batch)
        with pytest.raises(FloatingPointError, match="of step 4 is not finite: batch 3"):
            stop.on_train_batch_end(9)
    finally:
        model.state.broken.assign(-1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_validation_that_is_not_finite_is_told(model, run, value):
    stop = attached(failures.StopOnNonFiniteLoss(run, with_a_broken_batch), model)
    stop.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
    with pytest.raises(FloatingPointError, match=rf"loss of the validation is {value} at step \d"):
        stop.on_epoch_end(0, {"loss": 1.0, "val_loss": value})


def judged(model, norms):
    """Steps whose gradients have these norms, of which spikes are skipped."""
    for norm in norms:
        model.state.judge(
            tf.constant(norm, tf.float32),
            tf.constant(np.isfinite(norm)),
            3.0,
            tf.constant(1_000, tf.int64),
        )


def test_skipped_steps_are_recorded_once_with_their_norms(run):
    model = tiny_bert.compiled()
    record = attached(failures.RecordSkipped(run), model)
    model.state.mean_norm.assign(1.0)
    judged(model, [1.0, 9.0, 1.0])
    record.on_epoch_end(0)
    first = {"step": 2, "batch": 1, "gradient_norm": 9.0, "mean_norm": 1.0}
    assert failures.skipped_steps(run) == [first]
    judged(model, [1.0, float("inf")])
    for _ in range(2):
        record.on_epoch_end(1)
    # A spike of 9 counts as 3, in the mean of 100 steps.
    moved = pytest.approx(1.0196, abs=1e-4)
    second = {"step": 5, "batch": 4, "gradient_norm": None, "mean_norm": moved}
    assert failures.skipped_steps(run) == [first, second]

    # Gone on with from step 3: what was recorded after it comes again, or does not.
    model.state.skipped.assign(1)
    model.state.steps.assign(3)
    record = attached(failures.RecordSkipped(run), model)
    judged(model, [1.0, 1.0, 8.0])
    record.on_epoch_end(0)
    moved = pytest.approx(1.0192, abs=1e-4)
    third = {"step": 6, "batch": 5, "gradient_norm": 8.0, "mean_norm": moved}
    assert failures.skipped_steps(run) == [first, third]


def test_of_more_skipped_steps_than_are_remembered_the_newest_are_recorded(run):
    model = tiny_bert.compiled()
    record = attached(failures.RecordSkipped(run), model)
    model.state.mean_norm.assign(1.0)
    judged(model, [float("inf")] * (NUM_REMEMBERED + 3))
    record.on_epoch_end(0)
    batches = [one["batch"] for one in failures.skipped_steps(run)]
    assert batches == list(range(3, NUM_REMEMBERED + 3))


def test_norms_that_stay_large_are_spikes_for_a_while_only():
    """Else no step would ever be taken again."""
    state = tiny_bert.compiled().state
    model = types.SimpleNamespace(state=state)
    state.mean_norm.assign(1.0)
    judged(model, [9.0] * 50)
    assert int(state.skipped.numpy()) == 50
    judged(model, [9.0] * 50)
    skipped = int(state.skipped.numpy())
    assert skipped == 56  # 1.02 ** 56 is the first power above 3
    judged(model, [9.0] * 50)
    assert int(state.skipped.numpy()) == skipped


def test_what_is_not_finite_of_a_skipped_step_does_not_spoil_the_means():
    """In float16 it is no failure: the loss scale is lowered, and training goes on."""
    model = tiny_bert.compiled()
    model.fit(tiny_bert.stream(), steps_per_epoch=1, verbose=0, shuffle=False)
    before = model.state.epoch.numpy()
    sums = tf.constant(before * 0 + 1.0)
    broken = tf.tensor_scatter_nd_update(sums, [[0, 0]], [float("inf")])
    model.state.add_step(broken, tf.constant(float("inf")), tf.constant(False))
    after = model.state.epoch.numpy()
    assert np.isfinite(after).all()
    np.testing.assert_array_equal(after[0], before[0])  # neither the value nor its weight
    np.testing.assert_allclose(after[1:], before[1:] + 1)
    assert np.isfinite(list(model.read_window().values())).all()


def test_a_run_without_skipped_steps_has_no_record(model, run):
    attached(failures.RecordSkipped(run), model).on_epoch_end(0)
    assert not (run.path / failures.SKIPPED).exists()
