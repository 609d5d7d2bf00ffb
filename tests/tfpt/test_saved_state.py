"""What a run saves of its training, what it keeps, and what it goes on from."""

import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from run_folders import a_run, at_step, contents, names

from tfpt import checkpoints, model_state, models, objectives
from tfpt.checkpoints import load, open_run


@pytest.fixture
def run(tmp_path):
    return a_run(tmp_path / "run")


@pytest.fixture(scope="module")
def model():
    return tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.1))


def test_the_training_state_holds_weights_slots_and_the_states_of_dropout(run, model):
    state = model_state.of_training(model, model_state.weights(model))
    assert state["model"].keys() == tiny_bert.values(model).keys()
    # The embeddings and one layer drop; AdamW has two slots for a weight, and counts the steps.
    assert [value.shape for value in state["seeds"].values()] == [(2,), (2,)]
    assert len(state["optimizer"]) >= 2 * len(model.weights) + 1


def test_a_checkpoint_brings_back_everything_the_next_step_depends_on(run):
    model = tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.3))
    batches = [tiny_bert.rows(seed=seed) for seed in range(3)]
    model.train_on_batch(*batches[0])
    run.save(model)
    expected = [model.train_on_batch(*batch) for batch in batches[1:]]

    other = tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.3, seed=9))
    assert run.restore(other) == 1
    assert [other.train_on_batch(*batch) for batch in batches[1:]] == expected
    assert tiny_bert.largest_difference(tiny_bert.values(model), tiny_bert.values(other)) == 0


def test_a_run_without_checkpoint_begins_at_step_zero(run, model):
    before = tiny_bert.values(model)
    assert run.restore(model) == 0
    assert tiny_bert.largest_difference(tiny_bert.values(model), before) == 0
    with pytest.raises(FileNotFoundError, match="holds no checkpoint yet"):
        run.restore_best(model)


def test_the_newest_checkpoints_and_two_best_are_kept(run, model):
    for num_kept, steps in ((2, ("06", "09")), (3, ("06", "09", "12"))):
        run.num_kept = num_kept
        for step in (3, 6, 9) if num_kept == 2 else (12,):
            run.save(at_step(model, step))
            run.save_best(model)
        run.wait()
        assert names(run.path / "checkpoints") == [f"step-000000{step}" for step in steps]
        assert names(run.path / "best") == [f"step-000000{step}" for step in steps[-2:]]
    assert run.restore(at_step(model, 0)) == 12
    assert checkpoints.steps_done(run.path) == 12


def test_best_weights_of_epochs_that_are_gone_through_again_are_not_kept(run, model):
    """The epoch may come out otherwise, as on another number of devices, and not be the best."""
    for step in (3, 6):
        run.save_best(at_step(model, step))
    run.save(at_step(model, 3))  # a kill came before the checkpoint of step 6
    run.wait()
    assert run.best_path().name == "step-00000006"
    assert run.restore(at_step(model, 0)) == 3
    assert names(run.path / "best") == ["step-00000003"]


def test_best_weights_stay_where_there_is_no_checkpoint_to_go_on_from(run, model):
    run.save_best(at_step(model, 3))
    run.wait()
    assert run.restore(at_step(model, 0)) == 0
    assert names(run.path / "best") == ["step-00000003"]


def test_an_earlier_best_epoch_replaces_a_later_one(run, model):
    for step in (9, 6):  # gone on from step 3, the run may find its best epoch elsewhere
        run.save_best(at_step(model, step))
    assert run.best_path().name == "step-00000006"
    assert names(run.path / "best") == ["step-00000006"]


def test_a_checkpoint_of_a_step_is_replaced_by_a_later_one_of_it(run, model):
    run.save(at_step(model, 3))
    other = at_step(tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.1, seed=7)), 3)
    run.save(other)
    assert run.restore(model) == 3
    assert tiny_bert.largest_difference(tiny_bert.values(model), tiny_bert.values(other)) == 0
    assert names(run.path / "checkpoints") == ["step-00000003"]


def test_a_run_folder_can_be_moved(run, model, tmp_path):
    run.save(at_step(model, 3))
    run.wait()
    shutil.move(run.path, tmp_path / "moved")
    assert open_run(tmp_path / "moved").restore(at_step(model, 0)) == 3


def test_the_best_weights_are_loaded_before_the_newest(run):
    best, newest = (tiny_bert.compiled(tiny_bert.pretrainer(seed=seed)) for seed in (4, 5))
    run.save(at_step(newest, 6))
    run.wait()
    loaded = load(run.path, build=lambda run: tiny_bert.pretrainer(seed=6))
    assert tiny_bert.largest_difference(tiny_bert.values(loaded), tiny_bert.values(newest)) == 0
    run.save_best(at_step(best, 3))
    run.wait()
    loaded = load(run.path, build=lambda run: tiny_bert.pretrainer(seed=6))
    assert tiny_bert.largest_difference(tiny_bert.values(loaded), tiny_bert.values(best)) == 0


def test_moving_averages_are_the_best_weights_and_are_taken_from_a_checkpoint(run):
    model = tiny_bert.compiled()
    average = tf.Variable(tf.ones_like(model.get_layer("pooler").kernel))
    object.__setattr__(model, "averages", {"pooler/kernel": average})
    for save in (run.save, run.save_best):
        save(model)
        loaded = tiny_bert.pretrainer(seed=6)
        run.restore_best(loaded)
        expected = {**tiny_bert.values(model), "pooler/kernel": average.numpy()}
        assert tiny_bert.largest_difference(tiny_bert.values(loaded), expected) == 0
    kernel = model.get_layer("pooler").kernel.numpy()
    average.assign(average * 2)
    run.restore(model)
    np.testing.assert_array_equal(average, np.ones_like(kernel))
    np.testing.assert_array_equal(model.get_layer("pooler").kernel, kernel)


def test_the_encoder_of_a_pretrained_run_is_taken_over_alone(run, model):
    run.save(model)
    encoder = models.encoder(tiny_bert.size(), tiny_bert.V)
    classifier = objectives.model(encoder, objectives.classification(encoder, num_classes=2))
    head = classifier.get_layer("classification_head").kernel.numpy()
    run.restore_best(classifier.encoder)
    there = tiny_bert.values(model)
    expected = {name: there[name] for name in tiny_bert.values(encoder)}
    assert tiny_bert.largest_difference(tiny_bert.values(encoder), expected) == 0
    np.testing.assert_array_equal(classifier.get_layer("classification_head").kernel, head)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 2}, r"model layer_1/query_key_value/kernel is not in it; .*; and \d+ more"),
        ({"hidden_dim": 8}, r"model token_embedding/embeddings is \[50, 16\] in it, \[50, 8\] in"),
    ],
)
def test_a_checkpoint_that_does_not_fit_tells_where_and_changes_nothing(
    run, model, changes, message
):
    run.save(at_step(model, 3))
    other = tiny_bert.compiled(tiny_bert.pretrainer(**changes))
    before = tiny_bert.values(other)
    for restore in (run.restore, run.restore_best):
        with pytest.raises(ValueError, match=message):
            restore(other)
    assert tiny_bert.largest_difference(tiny_bert.values(other), before) == 0


def test_a_checkpoint_with_more_than_the_model_has_is_another_models(run, model):
    run.save(at_step(model, 3))
    encoder = models.encoder(tiny_bert.size(dropout_rate=0.1), tiny_bert.V)
    other = tiny_bert.compiled(objectives.model(encoder, objectives.masked_lm(encoder)))
    before = tiny_bert.values(other)
    with pytest.raises(ValueError, match=r"next_sentence\S* is in it, not in the model"):
        run.restore(other)
    assert tiny_bert.largest_difference(tiny_bert.values(other), before) == 0


def test_the_number_of_a_checkpoint_is_that_of_the_batches_taken(run, model):
    counted = SimpleNamespace(steps=tf.Variable(7), optimizer=SimpleNamespace(iterations=5))
    assert model_state.step_of(counted) == 7
    assert model_state.step_of(at_step(model, 3)) == 3


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(run, model):
    for step in (3, 6):
        run.save(at_step(model, step))
    run.wait()
    (data,) = (run.path / "checkpoints" / "step-00000006").glob("*.data*")
    data.write_bytes(data.read_bytes()[:-1])
    other = tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.1, seed=2))
    told = r"step-00000006 is damaged: .* has \S+ bytes instead of \S+\. .*step-00000003 is taken"
    with pytest.warns(UserWarning, match=told):
        assert checkpoints.open_run(run.path).weights_path().endswith("step-00000003/state")
    assert checkpoints.steps_done(run.path) == 3
    with pytest.warns(UserWarning, match=told):
        assert run.restore(other) == 3
    assert tiny_bert.largest_difference(tiny_bert.values(model), tiny_bert.values(other)) == 0
    assert names(run.path / "checkpoints") == ["step-00000003", "step-00000006.damaged"]
    run.save(at_step(model, 6))
    assert run.restore(other) == 6
    data.write_bytes(b"")
    with pytest.warns(UserWarning, match=told):
        assert run.restore(other) == 3
    assert names(run.path / "checkpoints") == [
        *("step-00000003", "step-00000006.damaged", "step-00000006.damaged-2")
    ]


def test_where_all_checkpoints_are_damaged_they_are_named_and_left(run, model):
    for step in (3, 6):
        run.save(at_step(model, step))
    run.wait()
    for path in (run.path / "checkpoints").glob("*/state.index"):
        path.unlink()
    before, values = contents(run.path), tiny_bert.values(model)
    told = (
        r"Every checkpoint is damaged: \S*step-00000006 \(state.index is missing\); "
        r"\S*step-00000003 \(state.index is missing\)\. Put a copy back"
    )
    for act in (run.restore, run.restore_best, lambda _: checkpoints.steps_done(run.path)):
        with pytest.raises(ValueError, match=told):
            act(model)
    assert contents(run.path) == before
    assert tiny_bert.largest_difference(tiny_bert.values(model), values) == 0


def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(run, model, files_of_at_most):
    run.save(at_step(model, 3))
    run.save_best(model)
    run.wait()
    before = contents(run.path)
    expected = tiny_bert.values(model)
    other = at_step(tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.1, seed=2)), 6)
    # The next call tells, whichever it is.
    calls = ((run.save, run.save), (run.save_best, run.save_best), (run.save, lambda _: run.wait()))
    for begin, call in calls:
        kind = "checkpoints" if begin == run.save else "best"
        told = rf"run/{kind}: File too large\. It takes 0\.\d MB, and \S+ MB are free; those before"
        with files_of_at_most(10_000):
            begin(other)
            with pytest.raises(OSError, match=told):
                call(other)
        assert contents(run.path) == before
    assert run.restore(other) == 3
    assert tiny_bert.largest_difference(tiny_bert.values(other), expected) == 0


def test_an_error_of_the_best_weights_is_told_at_the_next_checkpoint(run, model, files_of_at_most):
    with files_of_at_most(1_000):
        run.save_best(at_step(model, 3))
        with pytest.raises(OSError, match="run/best: File too large"):
            run.wait()
    run.save(model)
    assert run.restore(model) == 3


def test_nothing_is_left_of_the_first_checkpoint_where_it_fails(run, model, files_of_at_most):
    with files_of_at_most(10_000):
        run.save(at_step(model, 3))
        with pytest.raises(OSError, match="File too large"):
            run.wait()
    assert names(run.path / "checkpoints") == []
    assert run.restore(model) == 0


def test_what_a_killed_save_left_is_swept_before_going_on(run, model):
    run.save(at_step(model, 3))
    run.wait()
    before = contents(run.path)
    folder = run.path / "checkpoints"
    shutil.copytree(folder / "step-00000003", folder / "step-00000006.partial-17")
    shutil.copytree(folder / "step-00000003", folder / "step-00000003.replaced")
    assert run.restore(model) == 3
    assert contents(run.path) == before
    (folder / "step-00000003").rename(folder / "step-00000003.replaced")
    assert run.restore(model) == 3
    assert contents(run.path) == before


def test_checkpoints_of_a_version_before_the_release_are_told_apart(run, model):
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / "checkpoint").write_text('model_checkpoint_path: "ckpt-3"')
    for act in (run.restore, run.restore_best):
        with pytest.raises(ValueError, match="was written by a version of tfpt before its release"):
            act(model)


def test_a_run_keeps_what_of_the_encoder_no_objective_reads(run):
    """A pooler, where there are masked words alone: fine-tuning from the run asks for it."""
    keras.utils.set_random_seed(4)
    encoder = models.encoder(tiny_bert.size(), tiny_bert.V)
    model = objectives.model(encoder, objectives.masked_lm(models.at_masks(encoder)))
    assert "pooler/kernel" not in {weight.path for weight in model.weights}
    run.save(tiny_bert.compiled(model))
    keras.utils.set_random_seed(5)
    other = models.encoder(tiny_bert.size(), tiny_bert.V)
    run.restore_best(other)
    assert tiny_bert.largest_difference(tiny_bert.values(other), tiny_bert.values(encoder)) == 0
