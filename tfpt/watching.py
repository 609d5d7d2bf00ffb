"""What TensorBoard shows of a run: curves, speed, the configuration, a profile.

A point of a curve is written every `log_steps` steps into `logs/train`, one of an epoch into
`logs/train` and `logs/validation`, under the same name, so that one chart has both. The groups are

steps/   means over the steps since the point before, and counts. They depend on nothing but what a
         checkpoint holds: a run that was stopped and gone on with writes the same numbers.
epoch/   means over an epoch and over its validation.
speed/   what the clock and the machine say; other numbers each time.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tfpt import config, flops, workers
from tfpt.checkpoints import Run

DESCRIPTIONS = {
    "steps/gradient_norm": "Global norm of the gradient before it is clipped, mean over the steps.",
    "steps/weight_norm": "Global norm of the trainable weights.",
    "steps/learning_rate": "Of the step that follows.",
    "steps/padding": "Share of positions that hold padding.",
    "steps/skipped": "Steps so far that changed no weight.",
    "speed/tokens_per_second": "Real tokens, without padding.",
    "speed/input_stall": "Share of the time in which steps waited for their batch. A GPU may "
    "still work on the step before: there it is an upper bound.",
    "speed/model_flops_utilization": "Operations of the model (`tfpt.flops.step_flops`: 6 for each "
    "weight of a product and position, and those of the attention), by the second, divided by the "
    "fastest product of two matrices that was measured, or by the peak that was given. Left out "
    "where rows have several lengths.",
    "speed/memory_gigabytes": "Resident memory of the process, in 10^9 bytes.",
    "speed/peak_memory_gigabytes": "The most it was, in 10^9 bytes.",
    "speed/gpu_memory_gigabytes": "Of the fullest GPU, in 10^9 bytes.",
    "speed/gpu_peak_memory_gigabytes": "The most it was on any GPU, in 10^9 bytes.",
}


class Watch(keras.callbacks.Callback):
    """Writes the curves of a run. Give it before what saves: a checkpoint then has its points.

    The device is asked for numbers at a point only, not in each step.

    Args:
        run: The run folder; `logs` in it is written to.
        log_steps: Steps between two points; 0 writes those of epochs alone.
        profile_steps: The first and the last step of a profile, from 1; () for none.
        peak: Operations a second of all devices together that the utilization is a share of; None
            measures them, for a third of a second before the first point.
    """

    def __init__(
        self,
        run: Run,
        *,
        log_steps: int = 100,
        profile_steps: tuple[int, ...] = (),
        peak: float | None = None,
    ):
        super().__init__()
        self.run = run
        # Of the batches to train on; tells the mask slots of a row. `training.fit` sets it.
        self.element_spec: Any = None
        self.log_steps, self.profile_steps, self.peak = log_steps, profile_steps, peak
        self._writers: dict[str, tf.summary.SummaryWriter] = {}
        self._trace: tf.profiler.experimental.Trace | None = None

    @property
    def logs(self) -> Path:
        """The folder of TensorBoard."""
        return self.run.path / "logs"

    def on_train_begin(self, logs=None):
        # Of several workers each begins a new window; one writes.
        self.writes = workers.is_chief(self.model.distribute_strategy)
        self.steps = int(self.model.steps.numpy())
        self.clock = _Clock(self.model.input_clock)
        if self.writes and self.run.settings:
            with self._writer("").as_default(step=self.steps):
                hparams.hparams(_plain(self.run.settings))
            self._writer("").flush()

    def on_train_batch_begin(self, batch, logs=None):
        self.clock.go_on()
        self._first = batch
        first, last = self.profile_steps or (0, 0)
        if self.writes and first <= self.steps + 1 <= last:
            if self._trace is None:
                tf.profiler.experimental.start(str(self.logs / "train"))
            self._trace = tf.profiler.experimental.Trace("train", step_num=self.steps + 1, _r=1)
            self._trace.__enter__()

    def on_train_batch_end(self, batch, logs=None):
        before = self.steps
        self.steps += batch - self._first + 1  # several where they are executed in one call
        if self._trace is not None:
            self._trace.__exit__(None, None, None)
            if self.steps >= self.profile_steps[1]:
                self._end_profile()
        self.clock.count(self.steps - before)
        if not self.log_steps:
            return
        if self.steps // self.log_steps > before // self.log_steps or (
            self.steps == self.model.total_steps
        ):
            self._write_point()

    def on_test_begin(self, logs=None):
        # Also called by an evaluation outside of a training.
        if hasattr(self, "clock"):
            self.clock.pause()

    def on_epoch_end(self, epoch, logs=None):
        self.clock.pause()
        for name, value in (logs or {}).items():
            kind = "validation" if name.startswith("val_") else "train"
            self._write(kind, {f"epoch/{name.removeprefix('val_')}": float(value)})
        self._flush()

    def on_train_end(self, logs=None):
        self._end_profile()
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _end_profile(self) -> None:
        if self._trace is not None:
            self._trace = None
            tf.profiler.experimental.stop()

    def _write_point(self) -> None:
        window = self.model.read_window()
        values = {f"steps/{name}": value for name, value in self._measured(window).items()}
        self.clock.pause()
        speed = self._speed(window)
        self._write("train", values | {f"speed/{name}": value for name, value in speed.items()})
        self._flush()
        self.clock = _Clock(self.model.input_clock, is_first=False)

    def _measured(self, window: dict[str, float]) -> dict[str, float]:
        """What does not depend on the clock."""
        names = ["loss", *self.model.state.names]
        weights = [weight.value for weight in self.model.trainable_weights]
        return {
            **{name: window[name] for name in names},
            "gradient_norm": window["gradient_norm"],
            "weight_norm": float(tf.linalg.global_norm(weights)),
            "learning_rate": float(self.model.optimizer.learning_rate),
            "padding": 1.0 - window["tokens"] / max(1.0, window["positions"]),
            "skipped": float(self.model.state.skipped.numpy()),
        }

    def _speed(self, window: dict[str, float]) -> dict[str, float]:
        """What does; nothing of the clock where the only call was the one that is traced."""
        memory = {name: count / 1e9 for name, count in memory_bytes().items()}
        if not self.clock.steps:
            return memory
        steps_per_second = self.clock.steps / self.clock.seconds
        share = steps_per_second / window["steps"]
        speed = {
            "tokens_per_second": window["tokens"] * share,
            "examples_per_second": window["examples"] * share,
            "steps_per_second": steps_per_second,
            "input_stall": self.clock.waited / self.clock.seconds,
        }
        work = self._step_flops(window)
        if work is not None and (peak := self._peak()):
            speed["model_flops_utilization"] = work * steps_per_second / peak
        return speed | memory

    def _step_flops(self, window: dict[str, float]) -> float | None:
        """Operations of a step of the window; None where it is not known."""
        size = flops.size_of(self.model.encoder)
        if size is None or self.element_spec is None or not window["positions"]:
            return None
        if not flops.has_equal_rows(self.element_spec):
            return None
        batch = flops.batch_of(
            self.model,
            self.element_spec,
            batch_size=window["examples"] / window["steps"],
            sequence_length=window["positions"] / window["examples"],
        )
        trained_layers = flops.trained_layers(self.model.encoder)
        return flops.step_flops(size, batch, trained_layers=trained_layers)

    def _peak(self) -> float | None:
        """Of all devices; None on a TPU where it was not given, which a product cannot tell."""
        strategy = self.model.distribute_strategy
        if self.peak is None and not isinstance(strategy, tf.distribute.TPUStrategy):
            dtype = flops.product_dtype(self.model.encoder)
            # The devices of a CPU share its cores.
            workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
            is_apart = workers or tf.config.list_logical_devices("GPU")
            devices = strategy.num_replicas_in_sync if is_apart else 1
            self.peak = devices * flops.matmul_peak(dtype)
        return self.peak

    def _write(self, kind: str, values: dict[str, float]) -> None:
        if self.writes:
            with self._writer(kind).as_default(step=self.steps):
                for name, value in values.items():
                    tf.summary.scalar(name, value, description=DESCRIPTIONS.get(name))

    def _writer(self, kind: str) -> tf.summary.SummaryWriter:
        if kind not in self._writers:
            self._writers[kind] = tf.summary.create_file_writer(str(self.logs / kind))
        return self._writers[kind]

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()


class _Clock:
    """The time of the steps since the point before, without validations and checkpoints.

    Args:
        input_clock: Of the model.
        is_first: Whether the next call is the first one, in which the step is traced: it does not
            count.
    """

    def __init__(self, input_clock: Any, *, is_first: bool = True):
        self.input_clock, self.is_first = input_clock, is_first
        self.steps, self.seconds, self.waited = 0, 0.0, 0.0
        self._began: tuple[float, float] | None = None

    def go_on(self) -> None:
        if self._began is None:
            self._began = (time.perf_counter(), self.input_clock.seconds)

    def count(self, steps: int) -> None:
        if self.is_first:
            self.is_first, self._began = False, None
        else:
            self.steps += steps

    def pause(self) -> None:
        if self._began is not None:
            began, waited = self._began
            self.seconds += time.perf_counter() - began
            self.waited += self.input_clock.seconds - waited
            self._began = None


def write_comparison(folder: Path, fields: Mapping[str, Sequence[Any]], monitor: str) -> None:
    """Tell HPARAMS which settings of the runs below a folder to compare, and by which measure.

    Of its own accord it shows every setting that a run notes. What was written before is replaced.

    Args:
        folder: Of the runs; TensorBoard is to be started with it.
        fields: The dotted names of the settings, and the values that each takes.
        monitor: The measure on the validation rows, such as "val_loss".
    """
    before = list(folder.glob("events.out.tfevents.*"))
    metric = hparams.Metric(
        f"epoch/{monitor.removeprefix('val_')}", group="validation", display_name=monitor
    )
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        hparams.hparams_config(
            hparams=[hparams.HParam(name, _domain(values)) for name, values in fields.items()],
            metrics=[metric],
        )
    writer.close()
    for old in before:
        old.unlink(missing_ok=True)


def _domain(values: Sequence[Any]) -> hparams.Discrete | None:
    """The values of a setting; None where they are of several kinds, as numbers and none."""
    told = list(dict.fromkeys(map(hyperparameter, values)))
    return hparams.Discrete(told) if len(set(map(type, told))) == 1 else None


def memory_bytes() -> dict[str, float]:
    """What the process and the GPUs hold; of the process only where Linux tells."""
    found = {}
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        for name, key in (("memory", "VmRSS"), ("peak_memory", "VmHWM")):
            found[f"{name}_gigabytes"] = 1024.0 * int(lines[key].split()[0])
    gpus = [gpu.name.removeprefix("/device:") for gpu in tf.config.list_logical_devices("GPU")]
    if gpus:
        infos = [tf.config.experimental.get_memory_info(gpu) for gpu in gpus]
        for name, key in (("gpu_memory", "current"), ("gpu_peak_memory", "peak")):
            found[f"{name}_gigabytes"] = float(max(info[key] for info in infos))
    return found


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """A configuration as the hyperparameters of TensorBoard, which are numbers and texts."""
    return {name: hyperparameter(value) for name, value in config.flatten(settings)}


def hyperparameter(value: Any) -> bool | int | float | str:
    """The value of a field as a hyperparameter of TensorBoard, which is a number or a text."""
    if isinstance(value, bool | int | float | str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
