"""What a checkpoint has of a model: its weights, and all else that the next step depends on."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tfpt import objectives, state_files


def weights(model: keras.Model) -> dict[str, tf.Variable]:
    """The weights of a model by their path, such as `layer_0/intermediate/kernel`.

    All of its encoder are among them, also what no objective reads, such as a pooler.

    Raises:
        ValueError: Two weights share a path.
    """
    of_encoder = model.encoder.weights if isinstance(model, objectives.Model) else []
    every = {id(weight): weight for weight in (*model.weights, *of_encoder)}.values()
    named = {weight.path: weight.value for weight in every}
    if len(named) < len(every):
        raise ValueError("Two weights of the model share a path; give its layers different names.")
    return named


def averages(model: keras.Model) -> dict[str, tf.Variable]:
    """The moving averages of the weights by the paths of these; empty where there are none."""
    return getattr(model, "averages", {})


def step_of(model: keras.Model) -> int:
    """Batches that a compiled model was trained on."""
    steps = getattr(model, "steps", model.optimizer.iterations)
    return int(keras.ops.convert_to_numpy(steps))


def of_training(model: keras.Model, kept: Mapping[str, tf.Variable]) -> state_files.State:
    """Everything that the next step depends on, besides the batch.

    Args:
        model: Compiled.
        kept: Those of its weights that the run keeps.
    """
    named = weights(model)
    # The names of seed generators and optimizers count up over a process; their order does not.
    # `variables` are the weights and the states of the seed generators.
    seeds = [variable.value for variable in model.variables if variable.path not in named]
    optimizer = [variable.value for variable in model.optimizer.variables]
    return {
        "model": dict(kept),
        "averages": averages(model),
        "seeds": {str(number): value for number, value in enumerate(seeds)},
        "optimizer": {str(number): value for number, value in enumerate(optimizer)},
        "step": model.step_state() if hasattr(model, "step_state") else {},
    }
