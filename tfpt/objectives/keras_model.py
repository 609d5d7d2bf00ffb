"""The one `keras.Model` subclass: a functional model that carries its objectives and its step."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfpt.objectives.objective import Objective


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
    weights over the global batch: the mean over real targets, on any number of devices.
    `fit`, `evaluate`, `predict` and callbacks are Keras' own.
    """

    encoder: keras.Model
    objectives: tuple[Objective, ...]
    clip_norm: float
    total_steps: int
    train_function: Any
    test_function: Any

    def carry(self, encoder: keras.Model, objectives: tuple[Objective, ...]) -> None:
        """Take the objectives along; called once by `objectives.model`."""
        # Keras would track a model or a list assigned to an attribute as a part of this one.
        object.__setattr__(self, "encoder", encoder)
        object.__setattr__(self, "objectives", tuple(objectives))
        means: dict[str, keras.metrics.Metric] = {}
        for objective in objectives:
            for kind in ("loss", *objective.metrics):
                name = f"{objective.name}_{kind}"
                means[name] = keras.metrics.Mean(name=name)
        object.__setattr__(self, "_means", {"loss": TotalLoss(objectives, means), **means})
        self.set_limits(clip_norm=0.0, total_steps=0)

    def set_limits(self, *, clip_norm: float, total_steps: int) -> None:
        """The largest global norm of a gradient (0 is no limit), and the step training ends at."""
        object.__setattr__(self, "clip_norm", clip_norm)
        object.__setattr__(self, "total_steps", total_steps)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self._means.values())

    def make_train_function(self, force: bool = False) -> Callable[[Any], dict[str, Any]]:
        """Keras calls it at the start of `fit`."""
        if self.train_function is None or force:
            # Its variables cannot be made inside of a step.
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
            self.train_function = self._on_all_replicas(self.train_step)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable[[Any], dict[str, Any]]:
        """Keras calls it at the start of `evaluate`."""
        if self.test_function is None or force:
            self.test_function = self._on_all_replicas(self.test_step)
        return self.test_function

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Keras draws a batch for it under a strategy; but a functional model is built already."""

    def _on_all_replicas(self, step: Callable[[Any], None]) -> Callable[[Any], dict[str, Any]]:
        """A function from an iterator of batches to the metrics, after `steps_per_execution` steps.

        Keras' own averages the metrics of the replicas, however many targets each of them has.
        """
        strategy = self.distribute_strategy
        if self.jit_compile:
            step = tf.function(step, jit_compile=True)
        step = tf.autograph.experimental.do_not_convert(step)

        def advance(iterator):
            count = self.steps_per_execution
            for _ in range(count) if count == 1 else tf.range(count):
                strategy.run(step, args=(next(iterator),))

        compiled = advance if self.run_eagerly else tf.function(advance, reduce_retracing=True)
        # Read outside of the replicas: sums over all of them.
        read_metrics = tf.function(self.get_metrics_result)

        def execute(iterator):
            # What `train_on_batch` passes is no iterator of TensorFlow's.
            is_traced = isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator)
            (compiled if is_traced else advance)(iterator)
            return read_metrics()

        return execute

    def train_step(self, data: Any) -> None:
        """One optimizer step on a replica's share of `(features, labels, weights)`."""
        features, labels, weights = _parts(data)
        targets = self._global_targets(weights)
        with tf.GradientTape() as tape:
            outputs = self(features, training=True)
            losses = self._target_losses(labels, outputs)
            loss = self._total(losses, weights, targets)
            scaled = self.optimizer.scale_loss(loss)
        variables = [weight.value for weight in self.trainable_weights]
        gradients = self._clipped(tape.gradient(scaled, variables))
        self.optimizer.apply(gradients, self.trainable_weights)
        self._update(labels, outputs, weights, losses)

    def test_step(self, data: Any) -> None:
        """Loss and metrics on a replica's share of `(features, labels, weights)`."""
        features, labels, weights = _parts(data)
        outputs = self(features, training=False)
        self._update(labels, outputs, weights, self._target_losses(labels, outputs))

    def _target_losses(self, labels, outputs) -> dict[str, Any]:
        return {
            objective.name: objective.loss(labels[objective.name], outputs[objective.name])
            for objective in self.objectives
        }

    def _global_targets(self, weights) -> dict[str, Any]:
        """The number of real targets of each objective, over all replicas."""
        sums = {name: tf.reduce_sum(weight) for name, weight in weights.items()}
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            sums = {name: context.all_reduce("SUM", value) for name, value in sums.items()}
        return sums

    def _total(self, losses, weights, targets):
        """This replica's share of the global loss; the shares sum up to it."""
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

    def _clipped(self, gradients):
        """Gradients with a global norm of at most `clip_norm`, that of the global batch."""
        if not self.clip_norm:
            return gradients
        context = tf.distribute.get_replica_context()
        replicas = 1 if context is None else context.num_replicas_in_sync
        if replicas > 1:
            gradients = context.all_reduce("SUM", gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm)
        # The optimizer sums up over replicas once more.
        return [gradient / replicas for gradient in gradients] if replicas > 1 else gradients

    def _update(self, labels, outputs, weights, losses) -> None:
        """Add this batch to the running means."""
        for objective in self.objectives:
            name = objective.name
            values = {"loss": losses[name]}
            for kind, metric in objective.metrics.items():
                values[kind] = metric(labels[name], outputs[name])
            for kind, value in values.items():
                self._means[f"{name}_{kind}"].update_state(value, weights[name])


def _parts(data: Any) -> tuple[Any, Any, Any]:
    """The three dicts of a batch."""
    if not isinstance(data, tuple) or len(data) != 3 or None in data:
        raise ValueError(
            "A batch is (features, labels, weights), three dicts as features.py describes them; "
            f"received {tf.nest.map_structure(type, data)}."
        )
    return data


class TotalLoss(keras.metrics.Metric):
    """The weighted sum of the objectives' mean losses: what training minimizes."""

    def __init__(self, objectives: tuple[Objective, ...], means: dict[str, keras.metrics.Metric]):
        super().__init__(name="loss")
        self.parts = [
            (objective.weight, means[f"{objective.name}_loss"]) for objective in objectives
        ]

    def update_state(self, *args, **kwargs) -> None:
        """Nothing to do: the means are updated by themselves."""

    def reset_state(self) -> None:
        """Nothing to do."""

    def result(self):
        return tf.add_n([weight * mean.result() for weight, mean in self.parts])
