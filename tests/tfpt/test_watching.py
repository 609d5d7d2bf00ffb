"""The curves of a run, read back from the event files."""

import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import metadata

from tfpt import config, flops, training, watching

PEAK = 1e9
STEPS_PER_EPOCH, TOTAL_STEPS = 4, 12


def summaries(folder):
    """Each summary of the event files of a folder, in the order of writing: (step, summary)."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            yield from ((event.step, value) for value in event.summary.value)


def scalars(folder):
    """The last value of each (tag, step)."""
    found = {}
    for step, value in summaries(folder):
        if value.metadata.plugin_data.plugin_name == "scalars":
            found[value.tag, step] = float(tf.make_ndarray(value.tensor))
    return found


def fit(folder, *extra, **watched):
    run = training.Run(
        folder,
        tokenizer=tiny_bert.TOKENIZER,
        settings=config.Training(log_steps=6, profile_steps=(2, 3)),
    )
    model = tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.3), total_steps=TOTAL_STEPS)
    history = training.fit(
        model,
        tiny_bert.stream,
        run,
        steps_per_epoch=STEPS_PER_EPOCH,
        validation=training.Validation(data=tiny_bert.stream(5).take(2)),
        callbacks=[watching.Watch(run, **watched), *extra],
        verbose=0,
    )
    return run, model, history


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run with a point every 6 steps, its model and history."""
    folder = tmp_path_factory.mktemp("watched") / "run"
    return fit(folder, log_steps=6, peak=PEAK, profile_steps=(2, 3))


def test_points_have_what_the_steps_came_to(watched):
    run, model, _ = watched
    found = scalars(run.path / "logs" / "train")
    names = {tag.partition("/")[2] for tag, _ in found if tag.startswith("steps/")}
    assert names == {
        *("loss", "masked_lm_loss", "masked_lm_accuracy"),
        *("next_sentence_loss", "next_sentence_accuracy"),
        *("learning_rate", "gradient_norm", "weight_norm", "padding", "skipped"),
    }
    assert {step for tag, step in found if tag.startswith("steps/")} == {6, 12}
    assert found["steps/learning_rate", 12] == 0
    assert found["steps/loss", 12] == pytest.approx(
        found["steps/masked_lm_loss", 12] + found["steps/next_sentence_loss", 12]
    )
    weights = np.concatenate([weight.numpy().ravel() for weight in model.trainable_weights])
    assert found["steps/weight_norm", 12] == pytest.approx(np.linalg.norm(weights))
    # 12 steps go three times through the 4 batches; 6 of them twice through two, once through two.
    masks = tiny_bert.rows(4 * tiny_bert.B)[0]["padding_mask"].reshape(4, -1)
    padding = 1 - masks[[2, 3, 0, 1, 2, 3]].mean()
    assert found["steps/padding", 12] == pytest.approx(padding, abs=1e-6)


def test_epochs_and_their_validations_are_curves_of_one_name(watched):
    run, _, history = watched
    train, validation = (scalars(run.path / "logs" / name) for name in ("train", "validation"))
    assert [record["step"] for record in history] == [4, 8, 12]
    for record in history:
        for name in ("loss", "masked_lm_accuracy"):
            point = (f"epoch/{name}", record["step"])
            assert train[point] == pytest.approx(record[name])
            assert validation[point] == pytest.approx(record[f"val_{name}"])
    assert {tag for tag, _ in validation} == {tag for tag, _ in train if tag.startswith("epoch/")}


def test_points_and_epochs_are_means_of_the_same_steps(watched):
    """Two points and three epochs have the same 12 steps, all of as many pairs of sentences."""
    run, _, history = watched
    found = scalars(run.path / "logs" / "train")
    for name in ("next_sentence_loss", "next_sentence_accuracy"):
        points = [found[f"steps/{name}", step] for step in (6, 12)]
        assert np.mean(points) == pytest.approx(np.mean([record[name] for record in history]))


def test_the_speed_is_that_of_the_steps(watched):
    run, model, _ = watched
    found = scalars(run.path / "logs" / "train")
    speed = {
        tag.partition("/")[2]: value
        for (tag, step), value in found.items()
        if tag.startswith("speed/") and step == 12
    }
    assert speed["examples_per_second"] == pytest.approx(tiny_bert.B * speed["steps_per_second"])
    tokens = (1 - found["steps/padding", 12]) * tiny_bert.B * tiny_bert.T
    assert speed["tokens_per_second"] == pytest.approx(tokens * speed["steps_per_second"])
    work = flops.step_flops(
        flops.size_of(model.encoder),
        flops.batch_of(
            model, tiny_bert.rows(), batch_size=tiny_bert.B, sequence_length=tiny_bert.T
        ),
    )
    assert speed["model_flops_utilization"] == pytest.approx(
        work * speed["steps_per_second"] / PEAK
    )
    assert 0 <= speed["input_stall"] <= 1
    assert 0 < speed["memory_gigabytes"] <= speed["peak_memory_gigabytes"]


def test_the_configuration_is_there_as_hyperparameters(watched):
    run = watched[0]
    ((_, value),) = summaries(run.path / "logs")
    written = metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
    found = {name: one.WhichOneof("kind") for name, one in written.hparams.items()}
    assert found["log_steps"] == "number_value"
    assert found["step.optimizer"] == "string_value"
    assert written.hparams["profile_steps"].string_value == "2, 3"
    assert written.hparams["hours"].string_value == "None"


def test_a_profile_is_written_where_it_was_asked_for(watched):
    assert len(list(watched[0].path.glob("logs/train/plugins/profile/*/*.xplane.pb"))) == 1


class Stop(keras.callbacks.Callback):
    """Ends a training as Ctrl-C does."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.steps.numpy()) == 10:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_writes_the_same_points(watched, tmp_path):
    """The checkpoint is of step 8: the window from step 6 on is in it."""
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", Stop(), log_steps=6, peak=PEAK)
    run, _, _ = fit(tmp_path / "run", log_steps=6, peak=PEAK)
    for name in ("train", "validation"):
        expected, found = (
            {
                key: value
                for key, value in scalars(folder / "logs" / name).items()
                if not key[0].startswith("speed/")
            }
            for folder in (watched[0].path, run.path)
        )
        assert found == expected


class Timed(keras.callbacks.Callback):
    """The seconds of the steps of an epoch but the first, and those that they waited for input."""

    def on_train_batch_end(self, batch, logs=None):
        now = (time.perf_counter(), self.model.input_clock.seconds)
        if batch == 0:
            self.began = now
        self.wall, self.waited = (one - other for one, other in zip(now, self.began, strict=True))


def test_the_input_stall_is_the_share_of_the_time_that_steps_wait():
    model, timed = tiny_bert.compiled(total_steps=100), Timed()
    fast = tiny_bert.stream().take(4).cache().repeat()
    for _ in range(2):  # the first time it is traced
        model.fit(fast, steps_per_epoch=12, verbose=0, callbacks=[timed])
    assert timed.waited < 0.5 * timed.wall
    pause = 4 * timed.wall / 11

    def slowly(*batch):
        tf.numpy_function(lambda: time.sleep(pause), [], [])
        return batch

    # A step takes a fourth of the time that a batch takes.
    model.fit(tiny_bert.stream().map(slowly), steps_per_epoch=8, verbose=0, callbacks=[timed])
    assert 0.55 < timed.waited / timed.wall < 0.95


@pytest.fixture(scope="module")
def model():
    return tiny_bert.compiled(total_steps=100)


def driven(model, folder, *, steps=2, **numbers):
    """The run of a `Watch` that was called as in an epoch."""
    run = training.Run(folder, tokenizer=tiny_bert.TOKENIZER)
    watch = watching.Watch(run, peak=PEAK, **numbers)
    watch.set_model(model)
    watch.on_train_begin()
    for batch in range(steps):
        watch.on_train_batch_begin(batch)
        model.state.window.assign_add(np.ones_like(model.state.window.numpy()))
        watch.on_train_batch_end(batch)
    watch.on_epoch_end(0, {"loss": 2.0})
    watch.on_train_end()
    return run


def test_without_points_there_are_epochs(model, tmp_path):
    run = driven(model, tmp_path / "run", log_steps=0)
    assert scalars(run.path / "logs" / "train") == {("epoch/loss", 2): 2.0}
    assert not list(run.path.glob("logs/train/plugins"))


def test_of_several_workers_one_writes_and_all_begin_a_new_window(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tfpt.workers.is_chief", lambda strategy: False)
    run = driven(model, tmp_path / "run", log_steps=1)
    assert not (run.path / "logs").exists()
    assert not model.state.window.numpy().any()


def test_the_call_that_is_traced_and_slots_that_are_not_known_are_left_out(model, tmp_path):
    run = driven(model, tmp_path / "run", log_steps=1)
    found = scalars(run.path / "logs" / "train")
    assert ("speed/memory_gigabytes", 1) in found
    assert ("speed/steps_per_second", 1) not in found
    assert ("speed/steps_per_second", 2) in found
    # `training.fit` tells how many mask slots a row has; a plain `fit` does not.
    assert ("speed/model_flops_utilization", 2) not in found


def test_the_memory_of_gpus_is_that_of_the_fullest(monkeypatch):
    names = [SimpleNamespace(name=f"/device:GPU:{number}") for number in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: names)
    told = {"GPU:0": {"current": 5, "peak": 7}, "GPU:1": {"current": 3, "peak": 9}}
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", told.__getitem__)
    found = watching.memory_bytes()
    assert (found["gpu_memory_gigabytes"], found["gpu_peak_memory_gigabytes"]) == (5, 9)


def test_what_a_sweep_compares_is_told_with_its_values_and_replaces_what_was_told(tmp_path):
    fields = {"rate": [1e-5, 1e-4, 1e-5], "text": [["a"], ["a", "b"]], "patience": [None, 2]}
    for _ in range(2):
        watching.write_comparison(tmp_path, {**fields, "seed": [3]}, "val_x_accuracy")
    assert len(list(tmp_path.iterdir())) == 1
    ((_, value),) = summaries(tmp_path)
    written = metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)
    found = {one.name: list(one.domain_discrete.values) for one in written.hparam_infos}
    assert list(found) == ["rate", "text", "patience", "seed"]
    assert [one.number_value for one in found["rate"]] == [1e-5, 1e-4]
    assert [one.string_value for one in found["text"]] == ["a", "a, b"]
    assert found["patience"] == []  # of two kinds
    (metric,) = written.metric_infos
    assert (metric.name.group, metric.name.tag) == ("validation", "epoch/x_accuracy")
    assert metric.display_name == "val_x_accuracy"
