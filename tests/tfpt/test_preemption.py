"""SIGTERM: what is done is saved, and the process ends with a code that tells so."""

import os
import signal
import threading
from types import SimpleNamespace

import keras
import pytest
import tiny_bert
from click.testing import CliRunner

from tfpt import callbacks, preemption, training, workers
from tfpt.cli import main


class TerminateAt(keras.callbacks.Callback):
    """Sends this process SIGTERM after a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def train(folder, *extra, seed=1):
    """The weights after two epochs of three steps and one of two."""
    model = tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.3, seed=seed), total_steps=8)
    run = training.Run(folder, tokenizer=tiny_bert.TOKENIZER)
    training.fit(model, tiny_bert.stream, run, steps_per_epoch=3, callbacks=extra, verbose=0)
    return tiny_bert.values(model)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("step", [5, 6])
def test_a_terminated_run_is_saved_at_the_end_of_the_step_and_goes_on_exactly(
    whole, tmp_path, step
):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(preemption.Preempted) as stopped:
        train(tmp_path / "run", TerminateAt(step))
    told = f"after step {step}, which is saved in {tmp_path / 'run'}. Repeat the command"
    assert told in stopped.value.message
    assert stopped.value.code == preemption.EXIT_CODE == 42
    assert signal.getsignal(signal.SIGTERM) is before
    run = training.Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER)
    assert run.checkpoint_path().name == f"step-{step:08}"
    # The last step of an epoch is recorded.
    assert [record["step"] for record in callbacks.history(run)] == [3, 6][: step // 3]
    assert tiny_bert.largest_difference(train(tmp_path / "run", seed=2), whole) == 0


@pytest.fixture
def by_hand(tmp_path):
    """The callback with a model and a run of which only steps and calls are real."""
    callback = preemption.SaveOnTermination(SimpleNamespace(path=tmp_path))
    callback.calls = []
    callback.run.save = lambda model: callback.calls.append(("save", int(model.steps.numpy())))
    callback.run.wait = lambda: callback.calls.append("wait")
    callback.set_model(
        SimpleNamespace(
            steps=keras.Variable(0, dtype="int64"),
            optimizer=SimpleNamespace(iterations=None),
            stop_training=False,
            distribute_strategy=None,
        )
    )
    callback.set_params({"steps": 3})
    return callback


def after_step(callback, step):
    callback.model.steps.assign(step)
    callback.on_train_batch_end((step - 1) % 3)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_without_a_signal_nothing_is_done(by_hand):
    with by_hand:
        by_hand.on_train_begin()
        for step in range(1, 4):
            after_step(by_hand, step)
        by_hand.on_epoch_end(0)
    assert by_hand.calls == []


def test_within_an_epoch_the_checkpoint_is_written_at_once(by_hand):
    with by_hand:
        by_hand.on_train_begin()
        terminate()
        terminate()  # a second signal changes nothing
        with pytest.raises(preemption.Preempted):
            after_step(by_hand, 2)
    assert by_hand.calls == [("save", 2), "wait"]


@pytest.mark.parametrize("is_last_of_all", [False, True])
def test_at_the_end_of_an_epoch_its_own_checkpoint_is_waited_for(by_hand, is_last_of_all):
    step = 2 if is_last_of_all else 3
    with by_hand:
        by_hand.on_train_begin()
        terminate()
        by_hand.model.stop_training = is_last_of_all
        after_step(by_hand, step)
        assert by_hand.calls == []
        with pytest.raises(preemption.Preempted):
            by_hand.on_epoch_end(0)
    assert by_hand.calls == ["wait"]


def test_a_checkpoint_that_cannot_be_written_is_told_instead(by_hand):
    def fail():
        raise OSError("No checkpoint could be written")

    by_hand.run.wait = fail
    before = signal.getsignal(signal.SIGTERM)
    with by_hand:
        by_hand.on_train_begin()
        terminate()
        with pytest.raises(OSError, match="No checkpoint could be written"):
            after_step(by_hand, 1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_beside_the_main_thread_a_warning_tells_that_nothing_is_saved(by_hand):
    warned = []

    def listen():
        with (
            pytest.warns(UserWarning, match="SIGTERM ends it without a checkpoint") as records,
            by_hand,
        ):
            pass
        warned.extend(records)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert len(warned) == 1


def test_of_several_workers_all_stop_two_steps_later(by_hand, monkeypatch):
    monkeypatch.setattr(workers, "has_several", lambda strategy: True)
    met = []
    monkeypatch.setattr(workers, "check_same_step", lambda strategy, step: met.append(step))
    folder = by_hand.run.path
    (folder / "stop-at-1").touch()  # of the run before; the chief removes it
    for is_chief in (False, True):
        monkeypatch.setattr(workers, "is_chief", lambda strategy, is_chief=is_chief: is_chief)
        by_hand.on_train_begin()
        assert (folder / "stop-at-1").exists() is not is_chief
        by_hand._has_begun = False
    with by_hand:
        by_hand.on_train_begin()
        after_step(by_hand, 1)
        terminate()
        after_step(by_hand, 2)
        assert workers.StopTogether(folder).step() == 4
        by_hand.on_train_begin()  # of the next part of the training, which does not forget it
        after_step(by_hand, 3)
        by_hand.on_epoch_end(0)
        assert by_hand.calls == met == []
        with pytest.raises(preemption.Preempted):
            after_step(by_hand, 4)
    assert by_hand.calls == [("save", 4), "wait"]
    assert met == [4]  # the others have waited for the chief
    other = preemption.SaveOnTermination(by_hand.run)  # of a worker that was not asked
    other.set_model(by_hand.model)
    other.set_params({"steps": 9})
    other._has_begun = True
    other.on_train_begin()
    after_step(other, 3)
    with pytest.raises(preemption.Preempted):
        after_step(other, 4)


def test_the_command_ends_with_the_code_and_one_line(monkeypatch, tmp_path):
    def preempted(*arguments, **options):
        raise preemption.Preempted("Stopped by SIGTERM after step 3.")

    monkeypatch.setattr(training, "pretrain", preempted)
    arguments = ["pretrain", "bert", "--set", "data.store=none", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 42
    assert result.output.splitlines()[-1] == "Stopped by SIGTERM after step 3."
