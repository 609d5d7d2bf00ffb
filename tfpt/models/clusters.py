"""Stretches of a training step as small programs of XLA, beside products that oneDNN does.

XLA on a CPU has no fast product in bfloat16, so that a step compiled as a whole is slower there
than one without XLA; what lies between two products is faster with it, by half.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

_enabled = contextvars.ContextVar("clusters", default=False)


@contextlib.contextmanager
def clusters(enabled: bool = True) -> Iterator[None]:
    """Inside, the functions of fused.py run as small programs of XLA.

    For the forward pass and the loss of a training step on a CPU; the backward pass, wherever it is
    called, follows the forward one. Not for what is exported (a stock TF Serving has no XLA), nor
    inside of a program of XLA, which fuses more than this. Holds for the thread that enters it:
    under a strategy, enter it in the function that runs on each replica.
    """
    token = _enabled.set(enabled)
    try:
        yield
    finally:
        _enabled.reset(token)


def in_clusters() -> bool:
    """Whether `clusters` holds here."""
    return _enabled.get()


def cluster(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function run as one program of XLA forward and one backward, where `clusters` says so.

    The backward program calculates the forward one again from its inputs, which costs less than to
    write what lies in between to memory and to read it back.

    Args:
        function: Of tensors (or None) by position and plain values by keyword, to a tensor. The
            gradient is with respect to all inputs that are floats.
    """

    @functools.wraps(function)
    def call(*inputs, **settings):
        if not in_clusters():
            return function(*inputs, **settings)
        given = [tf.convert_to_tensor(x) for x in inputs if x is not None]
        pattern = tuple(x is not None for x in inputs)
        return _programs(function, pattern, tuple(settings.items()))(*given)

    return call


@functools.cache
def _programs(function, pattern: tuple[bool, ...], settings: tuple[tuple[str, Any], ...]):
    """The two programs of a cluster, joined; shared by all layers that have the same shapes."""

    def plain(*given):
        rest = iter(given)
        inputs = (next(rest) if is_given else None for is_given in pattern)
        return function(*inputs, **dict(settings))

    def gradients(upstream, *given):
        sources = [x for x in given if x.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            results = plain(*given)
        return tape.gradient(results, sources, output_gradients=upstream)

    forward, backward = program(plain, True), program(gradients, True)

    @tf.custom_gradient
    def both(*given):
        results = forward(*given)

        def gradient(upstream):
            found = iter(backward(upstream, *given))
            return [next(found) if x.dtype.is_floating else None for x in given]

        return results, gradient

    return both


@functools.cache
def program(function: Callable[..., Any], enabled: bool) -> Callable[..., Any]:
    """The function as a program of XLA, if enabled; one for all that call it."""
    return tf.function(function, jit_compile=True, autograph=False) if enabled else function
