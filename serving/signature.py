"""What a served model takes and gives, and the check of a request against it. NumPy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfpt.serving.errors import ServingError, invalid

Arrays = dict[str, np.ndarray]

# TF Serving runs no signature with another method name. The empty one and those that begin with two
# underscores, such as `__saved_model_init_op`, belong to the loader.
METHOD_NAMES = (
    "tensorflow/serving/predict",
    "tensorflow/serving/classify",
    "tensorflow/serving/regress",
)


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output: its type and declared shape."""

    dtype: np.dtype  # object for strings
    type_name: str  # as TensorFlow calls it: "float32", "string"
    shape: tuple[int, ...] | None  # -1 where any size goes; None where any rank does
    dense: bool = True  # False for what no request can carry, e.g. a sparse tensor

    def __str__(self) -> str:
        return f"{self.type_name} of {shape_text(self.shape)}"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One way to call a model: `inputs` to `outputs`, each by name."""

    name: str
    method_name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    defaults: Arrays = field(default_factory=dict)  # values of the inputs that may be left out

    def check_names(self, received: Sequence[str], *, where: str = "the request") -> None:
        """Raise unless `received` holds every input without a default, and nothing else.

        Raises:
            ServingError: INVALID_ARGUMENT; names what is missing, what is too much, what is taken.
        """
        surplus = sorted(set(received) - set(self.inputs))
        missing = sorted(set(self.inputs) - set(received) - set(self.defaults))
        if not surplus and not missing:
            return
        faults = []
        if missing:
            faults.append(f"lacks {_quoted(missing)}")
        if surplus:
            faults.append(f"holds {_quoted(surplus)}, which it does not take")
        raise invalid(
            f"The inputs of signature `{self.name}` are {_quoted(sorted(self.inputs))}; "
            f"{where} {' and '.join(faults)}."
        )

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise where an array of `shape` does not fit the declared shape of input `name`.

        TF Serving compares no shapes, and its own examples rely on that: a declared (-1, 1) is
        asked with (3,), a declared (1,) with (3,). So trailing sizes of 1 may be left out, and a
        declared shape of nothing but ones (what tracing with an example leaves) is not enforced.

        Raises:
            ServingError: INVALID_ARGUMENT; names the input, the shape that came, the declared one.
        """
        declared = self.inputs[name].shape
        if declared is None or (declared and set(declared) == {1}):
            return
        fits = len(shape) <= len(declared) and all(
            size in (-1, actual) for size, actual in zip(declared, shape, strict=False)
        )
        if not fits or set(declared[len(shape) :]) - {1}:
            raise invalid(
                f"Input `{name}` of signature `{self.name}` takes {self.inputs[name]}; "
                f"received {shape_text(shape)}."
            )

    def check_output_filter(self, names: Sequence[str]) -> None:
        """Raise where `names` asks for an output twice or for one that is not there."""
        for i, name in enumerate(names):
            if name not in self.outputs:
                raise invalid(
                    f"The outputs of signature `{self.name}` are {_quoted(sorted(self.outputs))}; "
                    f"`output_filter` asks for `{name}`."
                )
            if name in names[:i]:
                raise invalid(f"`output_filter` asks for `{name}` twice.")

    def check_callable(self) -> None:
        """Raise where this signature is none that a request may call."""
        if self.method_name not in METHOD_NAMES:
            raise invalid(
                f"Signature `{self.name}` cannot be called: its method name is "
                f"{self.method_name!r}, and the callable ones are {', '.join(METHOD_NAMES)}."
            )
        for name, spec in [*self.inputs.items(), *self.outputs.items()]:
            if not spec.dense:
                raise ServingError(
                    "UNIMPLEMENTED",
                    f"Signature `{self.name}` cannot be called here: `{name}` is {spec.type_name}, "
                    "and requests carry dense tensors of numbers, booleans and strings only.",
                )


def most_exact(type_name: str) -> int:
    """The whole number up to which a type of floats has all of them.

    As TF Serving has it, one above is refused: it is likely an id that went astray.
    """
    return 1 << {"float64": 53, "float16": 11, "bfloat16": 8}.get(type_name, 24)


def shape_text(shape: tuple[int, ...] | None) -> str:
    """A shape as error messages print it, -1 standing for any size."""
    if shape is None:
        return "any shape"
    return "shape (" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
