"""The one `keras.Model` subclass: a functional model that carries its objectives and its step."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfpt import config, distribution, features, peft
from tfpt.models import fused
from tfpt.objectives import gradients as gradients_of
from tfpt.objectives.input_clock import Call, InputClock, at_most
from tfpt.objectives.objective import Objective
from tfpt.objectives.of_keras import check_optimizer, take_summed_gradients
from tfpt.objectives.step_state import COUNTS, FIRST_LOSS_SCALE, Mean, StepState


def model(encoder: keras.Model, *objectives: Objective) -> "Model":
    """Join an encoder and objectives on it into one functional model.

    Args:
        encoder: Any functional model the objectives were built on.
        objectives: At least one, of different names.

    Returns:
        A model from the encoder's inputs and those of the objectives to one output for each
        objective, under its name.

    Raises:
        ValueError: No objective, or two of one name.
    """
    names = [objective.name for objective in objectives]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Give at least one objective, of different names; received {names}.")
    inputs = dict(encoder.input)
    for objective in objectives:
        inputs.update(objective.inputs)
    outputs = {objective.name: objective.output for objective in objectives}
    joined = Model(inputs, outputs, name="_".join(names))
    joined.carry(encoder, objectives)
    return joined


class Model(keras.Model):
    """A functional model with the training step of its objectives.

    The loss of each objective is the sum over its targets, by weight, divided by the sum of the
    weights over the global batch: the mean over real targets, on any number of devices and in any
    number of parts. `fit`, `evaluate`, `predict` and callbacks are Keras' own.
    """

    encoder: keras.Model
    objectives: tuple[Objective, ...]
    step: config.Step
    clip_norm: float
    total_steps: int
    state: StepState
    averages: dict[str, tf.Variable]
    input_clock: InputClock
    # What each weight has of the learning rate; see `transfer.choose_layers`. None: all of it.
    rate_share: Callable[[str, Any], Any] | None
    train_function: Any
    test_function: Any

    def carry(self, encoder: keras.Model, objectives: tuple[Objective, ...]) -> None:
        """Take the objectives along; called once by `objectives.model`."""
        # Keras would track a model, a list or a variable assigned to an attribute as a part of
        # this one.
        keep = object.__setattr__
        keep(self, "encoder", encoder)
        keep(self, "objectives", tuple(objectives))
        kinds = [(o.name, kind) for o in objectives for kind in ("loss", *o.metrics)]
        keep(self, "state", StepState([f"{name}_{kind}" for name, kind in kinds]))
        total = {f"{objective.name}_loss": objective.weight for objective in objectives}
        means = [Mean(name, self.state, {name: 1.0}) for name in self.state.names]
        keep(self, "_means", (Mean("loss", self.state, total), *means))
        keep(self, "averages", {})
        keep(self, "input_clock", InputClock())
        keep(self, "_keeps_sums", False)
        keep(self, "rate_share", None)
        self._take(config.Step(), clip_norm=0.0, total_steps=0)

    def prepare(self, step: config.Step, *, clip_norm: float, total_steps: int) -> None:
        """Say how a step is taken; called once by `training.compile`, in the strategy's scope.

        Args:
            step: See `config.Step`.
            clip_norm: Largest global norm of a gradient; 0 is no limit.
            total_steps: Steps that training ends at.

        Raises:
            ValueError: A batch in parts, where rows are compared with each other.
        """
        if self._crosses_rows and step.accumulation_steps * step.cpu_shards > 1:
            names = ", ".join(one.name for one in self.objectives if one.across_rows)
            raise ValueError(
                f"{names} compares the rows of a batch with each other, so that parts of it would "
                "be batches of their own. Leave step.accumulation_steps and step.cpu_shards at 1."
            )
        self._take(step, clip_norm=clip_norm, total_steps=total_steps)
        if step.ema_momentum:
            self.averages.update(
                {
                    # A copy: Keras takes a variable of TensorFlow's as its own.
                    weight.path: keras.Variable(
                        tf.identity(weight.value),
                        dtype=weight.dtype,
                        trainable=False,
                        name="average",
                    ).value
                    for weight in self.trainable_weights
                }
            )
        if _computes_in_float16(self):
            self.state.loss_scale.assign(FIRST_LOSS_SCALE)

    def _take(self, step: config.Step, *, clip_norm: float, total_steps: int) -> None:
        object.__setattr__(self, "step", step)
        object.__setattr__(self, "clip_norm", clip_norm)
        object.__setattr__(self, "total_steps", total_steps)

    @property
    def steps(self) -> keras.Variable:
        """int64 (): batches taken; batch number N is that of step N, from 0."""
        return self.state.steps

    def step_state(self) -> dict[str, tf.Variable]:
        """What the next step depends on besides weights, random states and optimizer, by name."""
        return self.state.variables()

    def read_window(self) -> dict[str, float]:
        """What the steps since the last call came to; see `StepState.read_window`."""
        window = self.state.read_window()
        losses = (o.weight * window[f"{o.name}_loss"] for o in self.objectives)
        return {"loss": sum(losses), **window}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self._means)

    def keep_sums(self) -> None:
        """Let the next epoch go on with the sums that were restored, once."""
        object.__setattr__(self, "_keeps_sums", True)

    def reset_metrics(self) -> None:
        """Keras calls it at the start of an epoch and of an evaluation."""
        if self._keeps_sums:
            object.__setattr__(self, "_keeps_sums", False)
        else:
            self._means[0].reset_state()  # of all means: they are rows of one variable

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the weights are their moving averages; as they are without `ema_momentum`."""
        weights = [weight.value for weight in self.trainable_weights if self.averages]
        averages = list(self.averages.values())
        trained = [tf.identity(weight) for weight in weights]
        try:
            for weight, average in zip(weights, averages, strict=True):
                weight.assign(average)
            yield
        finally:
            for weight, value in zip(weights, trained, strict=True):
                weight.assign(value)

    def evaluate(self, *args, **kwargs):
        """Keras' own, with the averages of the weights where there are any."""
        with self.averaged():
            return super().evaluate(*args, **kwargs)

    def make_train_function(self, force: bool = False) -> Call:
        """Keras calls it at the start of `fit`."""
        if self.train_function is None or force:
            check_optimizer(self.optimizer)
            if peft.rank_budget(self) and not self.total_steps:
                raise ValueError(
                    "The ranks of adalora fall with the time: compile by `training.compile(model, "
                    "total_steps=, ...)`."
                )
            # Its variables cannot be made inside of a step.
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
            take_summed_gradients(self.optimizer)
            self.train_function = self._on_all_replicas(self.train_step, self.steps_per_execution)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Call:
        """Keras calls it at the start of `evaluate`."""
        if self.test_function is None or force:
            one = self._on_all_replicas(self.test_step, 1)
            self.test_function = at_most(self.steps_per_execution, one)
        return self.test_function

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Keras draws a batch for it under a strategy; but a functional model is built already."""

    def _on_all_replicas(self, step: Callable[[Any], None], count: int) -> Call:
        """A function from an iterator of batches to the metrics, after so many steps.

        Keras' own averages the metrics of the replicas, however many targets each of them has.
        """
        strategy = self.distribute_strategy
        next_batch = self.input_clock.next
        if self.jit_compile and strategy.num_replicas_in_sync == 1:
            step = tf.function(step, jit_compile=True, autograph=False)
        step = tf.autograph.experimental.do_not_convert(step)

        def advance(iterator):
            for _ in range(count) if count == 1 else tf.range(count):
                strategy.run(step, args=(next_batch(iterator),))

        compiled = advance if self.run_eagerly else tf.function(advance, reduce_retracing=True)
        read_metrics = tf.function(self.get_metrics_result)

        def execute(iterator):
            self.input_clock.start()
            # What `train_on_batch` passes is no iterator of TensorFlow's.
            is_traced = isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator)
            (compiled if is_traced else advance)(iterator)
            return read_metrics()

        return execute

    def train_step(self, data: Any) -> None:
        """One optimizer step, on a replica's share of `(features, labels, weights)`."""
        batch = _parts(data)
        scale = self.state.loss_scale.value
        targets = self._global_targets(batch[2])
        local = self._gradients
        if self.jit_compile and distribution.num_replicas() > 1 and not self._crosses_rows:
            # Collective operations stay outside. Made anew for each replica, whose variables it
            # reads.
            local = tf.function(local, jit_compile=True, autograph=False)
        gradients, sums = distribution.summed(local(batch, targets, scale))
        gradients = gradients_of.regularized(gradients, self.trainable_weights, scale)

        norm = tf.linalg.global_norm(gradients) / scale
        is_finite = tf.math.is_finite(norm) & tf.reduce_all(tf.math.is_finite(sums))
        accepted = tf.cast(self.optimizer.iterations.value, tf.int64)
        ok = self.state.judge(norm, is_finite, self.step.max_spike, accepted)
        factor = 1.0 / scale
        if self.clip_norm:
            factor = factor * self.clip_norm / tf.maximum(norm, self.clip_norm)
        if self.clip_norm or self._scales_loss:
            gradients = [gradient * factor for gradient in gradients]
        distribution.apply_where(ok, self._apply, gradients)
        if self._scales_loss:
            self.state.adapt_loss_scale(is_finite)
        self.state.add_step(sums, norm, ok)

    def test_step(self, data: Any) -> None:
        """Loss and metrics on a replica's share of `(features, labels, weights)`."""
        features_, labels, weights = _parts(data)
        outputs = self(features_, training=False)
        losses = self._target_losses(labels, outputs)
        sums = self._sums(features_, labels, weights, outputs, losses)
        self.state.add(distribution.summed(sums))

    @property
    def _crosses_rows(self) -> bool:
        return any(objective.across_rows for objective in self.objectives)

    @property
    def _scales_loss(self) -> bool:
        return _computes_in_float16(self)

    @property
    def _has_clusters(self) -> bool:
        """Whether XLA compiles what lies between products; nothing where it compiles the step."""
        return not (self.jit_compile or self.run_eagerly or distribution.has_accelerator())

    def _gradients(self, batch: Any, targets: Any, scale: Any) -> tuple[list[Any], Any]:
        """Gradients of the scaled loss and sums over this replica's rows, part after part.

        Only one part's states are held at a time.
        """
        count = self.step.accumulation_steps
        if count == 1:
            return self._shards(batch, targets, scale)
        parts = tf.nest.map_structure(lambda rows: gradients_of.divided(rows, count), batch)

        def add(number, gradients, sums):
            part = tf.nest.map_structure(lambda rows: rows[number], parts)
            more, more_sums = self._shards(part, targets, scale)
            return number + 1, gradients_of.added(gradients, more), sums + more_sums

        nothing = [tf.zeros(weight.shape) for weight in self.trainable_weights]
        no_sums = tf.zeros([len(self.state.names) + len(COUNTS), 2])
        _, gradients, sums = tf.while_loop(
            lambda number, *_: number < count,
            add,
            (tf.constant(0), nothing, no_sums),
            parallel_iterations=1,
            maximum_iterations=count,
        )
        return gradients, sums

    def _shards(self, batch: Any, targets: Any, scale: Any) -> tuple[list[Any], Any]:
        """The same for parts that do not wait for one another."""
        count = self.step.cpu_shards
        if count == 1:
            return self._part(batch, targets, scale)
        parts = tf.nest.map_structure(lambda rows: gradients_of.divided(rows, count), batch)
        gradients, sums = self._part(tf.nest.map_structure(lambda x: x[0], parts), targets, scale)
        for number in range(1, count):
            part = tf.nest.map_structure(lambda rows, number=number: rows[number], parts)
            more, more_sums = self._part(part, targets, scale)
            gradients, sums = gradients_of.added(gradients, more), sums + more_sums
        return gradients, sums

    def _part(self, batch: Any, targets: Any, scale: Any) -> tuple[list[Any], Any]:
        features_, labels, weights = batch
        variables = [weight.value for weight in self.trainable_weights]
        # What is below the lowest weight that is trained is not recorded, and costs no gradient.
        recording = tf.GradientTape(watch_accessed_variables=False)
        with fused.clusters(self._has_clusters), recording as tape:
            tape.watch(variables)
            outputs = self(features_, training=True)
            losses = self._target_losses(labels, outputs)
            scaled = self._total(losses, weights, targets) * scale
            sums = self._sums(features_, labels, weights, outputs, losses)
        # What the loss does not depend on has a gradient of zero, on every device and in any part.
        gradients = tape.gradient(
            scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return [gradients_of.dense(gradient) for gradient in gradients], sums

    def _target_losses(self, labels, outputs) -> dict[str, Any]:
        return {
            objective.name: objective.loss(labels[objective.name], outputs[objective.name])
            for objective in self.objectives
        }

    def _global_targets(self, weights) -> dict[str, Any]:
        """The number of real targets of each objective, over all replicas."""
        names = [objective.name for objective in self.objectives]
        sums = distribution.summed(tf.stack([tf.reduce_sum(weights[name]) for name in names]))
        return dict(zip(names, tf.unstack(sums), strict=True))

    def _total(self, losses, weights, targets):
        """This part's share of the global loss; the shares sum up to it."""
        return tf.add_n(
            [
                objective.weight
                * tf.math.divide_no_nan(
                    tf.reduce_sum(losses[objective.name] * weights[objective.name]),
                    targets[objective.name],
                )
                for objective in self.objectives
            ]
        )

    def _sums(self, features_, labels, weights, outputs, losses) -> Any:
        """float32 (K, 2): of each mean the sum of values and of weights, then what is counted."""
        rows = []
        for objective in self.objectives:
            name = objective.name
            weight = weights[name]
            values = [losses[name]]
            values += [metric(labels[name], outputs[name]) for metric in objective.metrics.values()]
            total = tf.reduce_sum(weight)
            rows += [tf.stack([tf.reduce_sum(value * weight), total]) for value in values]
        tokens = features_.get(features.PADDING_MASK, features_.get(features.TOKEN_IDS))
        any_rows = next(iter(features_.values()))
        if tokens is None:
            counts = [0.0, 0.0, tf.shape(any_rows)[0]]
        else:
            counts = [tf.math.count_nonzero(tokens), tf.size(tokens), tf.shape(any_rows)[0]]
        rows += [tf.stack([tf.cast(count, tf.float32), 1.0]) for count in counts]
        return tf.stack(rows)

    def _apply(self, gradients: list[Any]) -> None:
        """Move the weights, and their averages after them; on each replica."""
        self.optimizer.apply(gradients, self.trainable_weights)
        left = 1.0 - self.step.ema_momentum
        for weight in self.trainable_weights if self.averages else ():
            average = self.averages[weight.path]
            average.assign_add(left * (weight.value - average))
        if budget := peft.rank_budget(self):
            paths = [weight.path for weight in self.trainable_weights]
            by_path = dict(zip(paths, gradients, strict=True))
            budget.update(by_path, self.state.steps.value, self.total_steps, self.averages)


def _parts(data: Any) -> tuple[Any, Any, Any]:
    """The three dicts of a batch."""
    if not isinstance(data, tuple) or len(data) != 3 or None in data:
        raise ValueError(
            "A batch is (features, labels, weights), three dicts as features.py describes them; "
            f"received {tf.nest.map_structure(type, data)}."
        )
    return data


def _computes_in_float16(model_: keras.Model) -> bool:
    return any(
        "float16" in (getattr(layer, "product_dtype", ""), layer.compute_dtype)
        for layer in model_.layers
    )
