"""The one `keras.Model` subclass: a functional model that carries its objectives and its step."""

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

    def train_step(self, data: Any) -> dict[str, Any]:
        """One optimizer step on `(features, labels, weights)`."""
        features, labels, weights = data
        targets = self._global_targets(weights)
        with tf.GradientTape() as tape:
            outputs = self(features, training=True)
            losses = self._target_losses(labels, outputs)
            loss = self._total(losses, weights, targets)
            scaled = self.optimizer.scale_loss(loss)
        variables = [weight.value for weight in self.trainable_weights]
        gradients = self._clipped(tape.gradient(scaled, variables))
        self.optimizer.apply(gradients, self.trainable_weights)
        return self._update(labels, outputs, weights, losses)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Loss and metrics on `(features, labels, weights)`."""
        features, labels, weights = data
        outputs = self(features, training=False)
        return self._update(labels, outputs, weights, self._target_losses(labels, outputs))

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

    def _update(self, labels, outputs, weights, losses) -> dict[str, Any]:
        """Add this batch to the running means."""
        for objective in self.objectives:
            name = objective.name
            values = {"loss": losses[name]}
            for kind, metric in objective.metrics.items():
                values[kind] = metric(labels[name], outputs[name])
            for kind, value in values.items():
                self._means[f"{name}_{kind}"].update_state(value, weights[name])
        return {name: mean.result() for name, mean in self._means.items()}


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
