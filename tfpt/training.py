"""Compile and fit: Keras' own loop, with a run folder that can be stopped and gone on with."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf

from tfpt import (
    config,
    distribution,
    model_state,
    objectives,
    optimization,
    pipelines,
    plans,
    preparation,
    schedules,
    taking_over,
    transfer,
    workers,
)
from tfpt.callbacks import EndAt, KeepRecords, VerifyStores, history, was_stopped
from tfpt.checkpoints import Run as Run
from tfpt.checkpoints import open_run, steps_done
from tfpt.clock import KeepTime
from tfpt.failures import RecordSkipped, StopOnNonFiniteLoss
from tfpt.preemption import SaveOnTermination
from tfpt.watched_rows import WatchRows
from tfpt.watching import Watch


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What each epoch is measured on, and how the best one is chosen."""

    data: tf.data.Dataset  # finite
    # The measure of the best epoch, such as "val_loss" (smaller is better) or "val_NAME_accuracy"
    # (larger is better); None keeps no best weights.
    monitor: str | None = None
    patience: int | None = None  # epochs without improvement that end training; None: it never does

    def __post_init__(self) -> None:
        if self.patience is not None and self.monitor is None:
            raise ValueError(
                f"`patience` needs a `monitor`; received patience={self.patience} alone."
            )


def compile(  # noqa: A001 - the name users know from Keras
    model: objectives.Model,
    *,
    learning_rate: float,
    total_steps: int,
    warmup_steps: int = 0,
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
    step: config.Step | None = None,
) -> None:
    """Give a model its optimizer, the course of the learning rate, and how a step is taken.

    Args:
        model: From `objectives.model`; inside the scope of its strategy. What of it is trained is
            chosen before, see `transfer.choose_layers`.
        learning_rate: The peak.
        total_steps: Optimizer steps until the learning rate is 0; `fit` ends there. Where
            `model.state.hours` is set before, the learning rate follows the clock, `fit` ends after
            these hours, and this only says where in the time the fall begins; see `schedules`.
        warmup_steps: Steps of linear rise.
        weight_decay: Of `optimization.optimizer`, none on norms and biases.
        clip_norm: Largest global norm of the gradient; 0 is no limit.
        step: AdamW with linear decay unless it says otherwise; see `config.Step`.

    Raises:
        ValueError: A number is out of range.
    """
    step = step or config.Step()
    if clip_norm < 0:
        raise ValueError(f"`clip_norm` must be 0 (no limit) or positive; received {clip_norm}.")
    learning_rates = schedules.schedule(
        step.schedule,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        total_steps=total_steps,
        cooldown_rate=step.cooldown_rate,
        progress=model.state.progress if model.state.hours else None,
    )
    optimizer = optimization.optimizer(
        step.optimizer,
        learning_rates,
        weight_decay=weight_decay,
        epsilon=step.epsilon,
        rate_share=model.rate_share,
    )
    model.compile(
        optimizer=optimizer,
        jit_compile=distribution.compiles(model.distribute_strategy, step.jit_compile),
        steps_per_execution=step.steps_per_execution,
    )
    optimizer.build(model.trainable_variables)
    model.prepare(step, clip_norm=clip_norm, total_steps=total_steps)


def fit(
    model: objectives.Model,
    batches: Callable[[int], tf.data.Dataset],
    run: Run,
    *,
    steps_per_epoch: int = 1_000,
    validation: Validation | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> list[dict[str, float]]:
    """Train to the end that `compile` was told, or on from where the run was stopped.

    Every epoch ends with a validation and a checkpoint. Killed at any moment and started again, the
    run goes on from the last checkpoint with the batches and the dropout it would have had.

    Args:
        model: Compiled by `compile`.
        batches: Gives the infinite stream of batches from a batch number on.
        run: The run folder.
        steps_per_epoch: Steps between two checkpoints.
        validation: What each epoch is measured on, and how the best one is chosen.
        callbacks: Keras callbacks besides those of the run folder. A `watching.Watch` takes the
            place of the one that writes a point of the curves every 100 steps.
        verbose: Of Keras `fit`.

    Returns:
        What each epoch measured, those before a stop included.

    Raises:
        ValueError: The model was not compiled by `compile`; nothing measures what the validation
            monitors; batches cannot be divided evenly among the devices; the checkpoint does not
            fit the model; records that are read are damaged.
        FloatingPointError: The loss is not finite any more.
        OSError: A checkpoint could not be written, as on a full disk; the one before is whole.
        ConnectionError: Another worker of the training is gone; all have to be started again.
        Preempted: SIGTERM came. What was done is saved; uncaught, it ends the process with code 42.
    """
    if not model.total_steps:
        raise ValueError("The model is not compiled: call `training.compile(model, ...)` first.")
    monitor, patience = (validation.monitor, validation.patience) if validation else (None, None)
    _check_monitor(model, monitor)
    done = run.restore(model)
    # What was measured after the checkpoint is measured again.
    records = [record for record in history(run) if record["step"] <= done]
    if _has_ended(model) or was_stopped(records, monitor, patience):
        if workers.is_chief(model.distribute_strategy):  # where the end itself was cut off
            plans.end(run.path, done)
        for one in callbacks:  # as `fit` does
            one.set_model(model)
        return history(run)
    strategy = model.distribute_strategy
    hours = model.state.hours
    if workers.is_chief(strategy):
        plans.begin(run.path, None if hours else model.total_steps)
    dataset = distribution.distribute(strategy, batches, done)
    given = [one for one in callbacks if isinstance(one, Watch)]
    watch = given[0] if given else Watch(run)
    watch.element_spec = dataset.element_spec
    own = [
        KeepTime(hours, run) if hours else EndAt(model.total_steps),
        # What was measured is written before the checkpoint after which it is not measured again.
        watch,
        *([WatchRows(run, validation.data)] if validation else []),
        StopOnNonFiniteLoss(run, batches),
        RecordSkipped(run),
        KeepRecords(run, monitor, patience),
        *(one for one in callbacks if one is not watch),
    ]
    measured = validation and distribution.distribute(strategy, lambda _: validation.data, 0)
    if done % steps_per_epoch:
        model.keep_sums()
    # By the clock `fit` is told to stop; until then it needs some number of epochs.
    total_steps = sys.maxsize if hours else model.total_steps
    with (
        pipelines.damage_named(),
        pipelines.service_errors_named(),
        workers.loss_named(strategy),
        SaveOnTermination(run) as on_termination,
        contextlib.ExitStack() as at_end,
    ):
        at_end.callback(run.wait)  # for the last checkpoint; also after an error
        for epoch, epochs, steps in _epochs(done, total_steps, steps_per_epoch):
            model.fit(
                dataset,
                initial_epoch=epoch,
                epochs=epochs,
                steps_per_epoch=steps,
                validation_data=measured,
                callbacks=[*own, on_termination],
                verbose=verbose,
                shuffle=False,
            )
            if model.stop_training:
                break
            dataset = distribution.distribute(strategy, batches, int(model.steps.numpy()))
    if workers.is_chief(strategy):
        plans.end(run.path, model_state.step_of(model))
    return history(run)


def _has_ended(model: objectives.Model) -> bool:
    if model.state.hours:
        return float(model.state.progress.numpy()) >= 1
    return int(model.steps.numpy()) >= model.total_steps


def _epochs(done: int, total_steps: int, steps_per_epoch: int) -> Iterator[tuple[int, int, int]]:
    """The first epoch, the end of the last and the steps of each, for the calls of `fit`.

    An epoch in which a run was stopped is ended by a call of its own, since Keras has no other way
    to begin within one.
    """
    epoch, within = divmod(done, steps_per_epoch)
    if within:
        yield epoch, epoch + 1, steps_per_epoch - within
        epoch += 1
    if epoch * steps_per_epoch < total_steps:
        yield epoch, -(-total_steps // steps_per_epoch), steps_per_epoch


def _check_monitor(model: objectives.Model, monitor: str | None) -> None:
    names = [f"val_{metric.name}" for metric in model.metrics]
    if monitor is not None and monitor not in names:
        raise ValueError(f"`monitor` must be one of {', '.join(names)}; received {monitor!r}.")


def pretrain(
    recipe: ModuleType,
    settings: Any,
    out: str | Path,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> Run:
    """Pre-train by a recipe into a run folder, or go on with a run that was stopped.

    Args:
        recipe: A module with `dataset(settings)` and `model(settings, tokenizer)`; see
            recipes/bert.py.
        settings: Its configuration. `settings.start`, where there is one, is the run whose weights
            it begins with; see `taking_over.take_over`.
        out: The run folder.
        callbacks: Keras callbacks.
        verbose: Of Keras `fit`.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: What is wrong with settings, data or folder.
        FloatingPointError: The loss is not finite any more.
        ValueError: A store is not what was written; found while training goes on.
    """
    numbers: config.Training = settings.training
    distribution.keep_memory()
    distribution.threads(numbers.step.cpu_shards)
    done = steps_done(out)
    source = None
    if getattr(settings, "start", ""):
        # A run that goes on needs nothing more of the one it began with.
        source = open_run(out if done else settings.start)
        settings = taking_over.with_size_of(source, settings, recipe)
        source.weights_path()  # raises before a run folder is made
    strategy = distribution.strategy(numbers.strategy)
    # Before a folder is made, which would then belong to settings that cannot run.
    distribution.rows_per_device(strategy, numbers.batch_size)
    data = recipe.dataset(settings)
    if source is not None:
        taking_over.check_vocabulary(source, data.tokenizer)
    if numbers.hours or done < numbers.total_steps:
        data.train_batches(done)  # what is wrong, as a service that is not there, shows now
    run = Run(
        out,
        tokenizer=data.tokenizer,
        recipe=recipe.__name__,
        settings=settings,
        num_kept=numbers.num_kept,
    )
    with strategy.scope():
        keras.utils.set_random_seed(settings.seed)
        model = recipe.model(settings, data.tokenizer)
        if source is not None and not done:
            taking_over.tell(taking_over.take_over(source, model, data.tokenizer), source)
        model.state.hours = numbers.hours
        compile(
            model,
            learning_rate=numbers.learning_rate,
            total_steps=numbers.total_steps,
            warmup_steps=numbers.warmup_steps,
            weight_decay=numbers.weight_decay,
            clip_norm=numbers.clip_norm,
            step=numbers.step,
        )
    fit(
        model,
        data.train_batches,
        run,
        steps_per_epoch=numbers.steps_per_epoch,
        validation=None if data.validation is None else Validation(data=data.validation),
        callbacks=[
            _watch(run, numbers, profile_steps=numbers.profile_steps),
            VerifyStores(data.stores),
            *callbacks,
        ],
        verbose=verbose,
    )
    return run


def finetune(
    recipe: ModuleType,
    settings: Any,
    out: str | Path,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> Run:
    """Fine-tune by a recipe into a run folder, or go on with a run that was stopped.

    Args:
        recipe: A module with `dataset(settings, tokenizer)`, `model(settings, tokenizer,
            label_names)`, `report(model, dataset, label_names)` and `MONITOR`, the measure of the
            best epoch; see recipes/classify.py. Where the model takes numbers from the training
            rows, also `set_units(model, data)`; see recipes/score.py. Where `report` needs more
            than batches, also `judged(settings, data, split)`, which gives its `dataset`; see
            recipes/answer.py.
        settings: Its configuration. `settings.start` is the run whose encoder and vocabulary are
            taken over; "" trains from scratch, with the vocabulary of `settings.data.vocabulary`.
        out: The run folder.
        callbacks: Keras callbacks.
        verbose: Of Keras `fit`.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: What is wrong with settings, data or folder.
        FloatingPointError: The loss is not finite any more.
    """
    numbers: config.FineTuning = settings.training
    source, settings, tokenizer, strategy, data = preparation.fine_tuning(recipe, settings)
    run = Run(
        out,
        tokenizer=tokenizer,
        recipe=recipe.__name__,
        settings=settings,
        label_names=data.label_names,
        num_kept=numbers.num_kept,
    )
    preparation.check_same_rows(run, data)
    total_steps = numbers.epochs * data.steps_per_epoch
    with strategy.scope():
        keras.utils.set_random_seed(settings.seed)
        model = recipe.model(settings, tokenizer, data.label_names)
        if source is not None:
            source.restore_best(model.encoder)
        if source is not None and numbers.adaptation.method != "none":
            taking_over.adapt(model, numbers.adaptation, source, run)
        if hasattr(recipe, "set_units"):
            recipe.set_units(model, data)
        transfer.choose_layers(model, numbers.transfer, data.steps_per_epoch)
        compile(
            model,
            learning_rate=numbers.learning_rate,
            total_steps=total_steps,
            warmup_steps=int(numbers.warmup_rate * total_steps),
            weight_decay=numbers.weight_decay,
            clip_norm=numbers.clip_norm,
            step=numbers.step,
        )
    fit(
        model,
        data.train_batches,
        run,
        steps_per_epoch=data.steps_per_epoch,
        validation=Validation(
            data=data.validation, monitor=recipe.MONITOR, patience=numbers.patience
        ),
        callbacks=[_watch(run, numbers), *callbacks],
        verbose=verbose,
    )
    return run


def _watch(run: Run, numbers: Any, **settings: Any) -> Watch:
    given = numbers.peak_teraflops
    peak = None if given is None else 1e12 * given
    return Watch(run, log_steps=numbers.log_steps, peak=peak, **settings)
