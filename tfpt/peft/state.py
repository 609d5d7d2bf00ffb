"""What is known of an encoder that was adapted; its layers hold it, in whatever model they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from tfpt import config
from tfpt.peft.adaptive import RankBudget


@dataclass(frozen=True, eq=False)
class State:
    """How an encoder was adapted, and how it was before."""

    adaptation: config.Adaptation
    encoder: keras.Model
    # Its weights before, with whether each was trained.
    before: tuple[tuple[Any, bool], ...]
    budget: RankBudget | None = None  # of adalora


def set_state(layer: Any, state: State | None) -> None:
    """Let a layer of an encoder hold it; Keras would track what is assigned to an attribute."""
    object.__setattr__(layer, "adapted", state)


def state_of(model: keras.Model) -> State | None:
    """That of the encoder in a model, or of the encoder itself; None where it is not adapted."""
    found = (getattr(layer, "adapted", None) for layer in _layers(model))
    return next((state for state in found if state is not None), None)


def adaptation_of(model: keras.Model) -> config.Adaptation | None:
    """How the encoder in a model, or the encoder itself, was adapted; None where it was not."""
    state = state_of(model)
    return state.adaptation if state else None


def rank_budget(model: keras.Model) -> RankBudget | None:
    """What divides the ranks among the maps of an encoder that `adalora` adapted; else None."""
    state = state_of(model)
    return state.budget if state else None


def kept_weights(model: keras.Model) -> list[Any]:
    """The weights of a model on an adapted encoder that are not those of the encoder as it was.

    Those that are trained, all of heads, and what the method keeps beside.
    """
    state = state_of(model)
    before = state.before if state else ()
    frozen = {id(weight) for weight, _ in before if not weight.trainable}
    return [weight for weight in model.weights if id(weight) not in frozen]


def _layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):  # a backbone in a task of keras-hub
            yield from _layers(layer)
