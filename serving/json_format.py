"""The bodies of TF Serving's REST interface: JSON to arrays and back. NumPy only.

A request gives its inputs by rows (`instances`) or by columns (`inputs`); the response takes the
same form (`predictions`, `outputs`). Values are converted a whole array at a time.

Source: https://www.tensorflow.org/tfx/serving/api_rest, "Predict API".
"""

import base64
import binascii
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpt.serving.errors import ServingError, invalid
from tfpt.serving.signature import Arrays, Signature, TensorSpec, most_exact

_JSON_TYPES = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "list",
    dict: "object",
}
_SHOWN_KEYS = 8
_POWERS_OF_TEN = np.array([float(f"1e{i}") for i in range(23)])  # each exact in float64


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """A parsed request body."""

    signature: Signature
    inputs: Arrays
    by_row: bool  # the form it came in, and the form the response must have


def parse_request(body: bytes, signature: Callable[[str], Signature]) -> PredictRequest:
    """Read the body of a `:predict` request.

    Args:
        body: JSON.
        signature: Gives the signature of a name ("" for the default), or raises a ServingError.

    Raises:
        ServingError: INVALID_ARGUMENT where the body is not JSON, not of the documented form, or
            its names and values do not fit the signature; shapes are checked by the model.
    """
    document = _parse_json(body)
    if not isinstance(document, dict) or ("instances" in document) == ("inputs" in document):
        raise invalid(
            "The body must be a JSON object with one of the keys `instances` (rows) and `inputs` "
            f"(columns); received {_describe(document)}."
        )
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(f"The `signature_name` key must be a string value; received {_show(name)}.")
    chosen = signature(name)
    by_row = "instances" in document
    columns = (_columns_of_rows if by_row else _columns)(
        document["instances" if by_row else "inputs"], chosen
    )
    inputs = {key: _to_array(values, key, chosen) for key, values in columns.items()}
    _check_infinities(inputs, body)
    return PredictRequest(signature=chosen, inputs=inputs, by_row=by_row)


def format_response(outputs: Arrays, *, by_row: bool) -> bytes:
    """The body that answers a `:predict` request; a single output comes without its name.

    float32 values are printed in as few digits as give them back exactly; infinities and NaN as
    `Infinity`, `-Infinity` and `NaN`. Strings are UTF-8 text, those of outputs whose name ends in
    `_bytes` are base64 objects.

    Raises:
        ServingError: INVALID_ARGUMENT where the outputs cannot be put in this form.
    """
    if by_row:
        _check_rows(outputs)
    values = {name: _to_values(array, name) for name, array in outputs.items()}
    answer: Any = values
    if len(values) == 1:
        (answer,) = values.values()
    elif by_row:
        answer = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    document = {"predictions" if by_row else "outputs": answer}
    return json.dumps(document, ensure_ascii=False).encode()


def _parse_json(body: bytes) -> Any:
    if not body.strip():
        raise invalid("JSON Parse error: The document is empty.")
    try:
        return json.loads(body)
    except RecursionError:
        raise invalid("JSON Parse error: lists or objects are nested too deeply.") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, a number of 5,000 digits
        raise invalid(f"JSON Parse error: {error}.") from error


def _check_infinities(inputs: Arrays, body: bytes) -> None:
    """Raise where a number such as 1e400, which Python reads as infinity, was none that was meant.

    A hook for each number of the document would take several times as long to read it.
    """
    floats = [array for array in inputs.values() if array.dtype.kind == "f"]
    if b"Infinity" not in body and any(np.isinf(array).any() for array in floats):
        raise invalid("JSON Parse error: a number is too large to be stored as a double.")


def _columns_of_rows(rows: Any, signature: Signature) -> dict[str, Any]:
    if not isinstance(rows, list) or not rows:
        raise invalid(f"`instances` must be a list of at least one row; received {_show(rows)}.")
    if not _is_named(rows[0]):
        return {_only_input(signature, "instances"): rows}
    signature.check_names(list(rows[0]), where="`instances[0]`")
    keys = rows[0].keys()
    for i, row in enumerate(rows):
        if not _is_named(row):
            raise invalid(f"`instances[{i}]` is no object as `instances[0]` is: {_show(row)}.")
        if row.keys() != keys:
            signature.check_names(list(row), where=f"`instances[{i}]`")
            raise invalid(
                f"`instances[{i}]` has the keys {', '.join(row)}, `instances[0]` has "
                f"{', '.join(keys)}; all rows must have the same."
            )
    return {key: [row[key] for row in rows] for key in keys}


def _columns(columns: Any, signature: Signature) -> dict[str, Any]:
    if not _is_named(columns):
        return {_only_input(signature, "inputs"): columns}
    signature.check_names(list(columns), where="`inputs`")
    return columns


def _only_input(signature: Signature, key: str) -> str:
    if len(signature.inputs) != 1:
        names = ", ".join(f"`{name}`" for name in signature.inputs)
        raise invalid(
            f"Signature `{signature.name}` takes the inputs {names}, so `{key}` must give each by "
            "name; received plain values."
        )
    return next(iter(signature.inputs))


def _to_array(values: Any, name: str, signature: Signature) -> np.ndarray:
    """An array of the declared type; the shape is what the lists give."""
    spec = signature.inputs[name]
    takes = f"Input `{name}` of signature `{signature.name}` takes {spec}"
    try:
        cells = np.array(values, dtype=object)
    except ValueError as error:  # some uneven lists; for others the cells are lists
        raise invalid(f"{takes}; received lists that do not all have one shape.") from error
    flat = cells.ravel().tolist()
    types = set(map(type, flat))
    if list in types:
        raise invalid(f"{takes}; received lists that do not all have one shape.")
    allowed = _allowed_types(spec)
    if not types <= allowed:
        wrong = next(value for value in flat if type(value) not in allowed)
        raise invalid(f"{takes}; received {_describe(wrong)}.")
    try:
        array = _convert(flat, types, spec.dtype)
    except ValueError as error:
        raise invalid(f"{takes}; {error}.") from error
    shape = cells.shape
    if not flat and spec.shape is not None:  # of no row, lists do not tell what else there is
        shape += tuple(max(size, 0) for size in spec.shape[len(shape) :])
    return array.reshape(shape)


def _allowed_types(spec: TensorSpec) -> set[type]:
    if spec.type_name == "string":
        return {str, dict}
    if spec.type_name == "bool":
        return {bool}
    if spec.dtype.kind in "iu":
        return {int}
    if spec.dtype.kind == "c":
        raise ServingError("UNIMPLEMENTED", "Complex numbers have no form in JSON; ask over gRPC.")
    return {int, float}


def _convert(flat: list[Any], types: set[type], dtype: np.dtype) -> np.ndarray:
    """JSON values of allowed types as an array; ValueError where one does not fit."""
    if dtype.kind == "O":
        if types == {str}:
            return _objects([value.encode() for value in flat])  # a lone surrogate raises
        return _objects([_decode_base64(v) if type(v) is dict else v.encode() for v in flat])
    if dtype.kind == "b":
        return np.array(flat, dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if flat and (min(flat) < limits.min or max(flat) > limits.max):
            wrong = min(flat) if min(flat) < limits.min else max(flat)
            raise ValueError(f"received {_show(wrong)}, which is out of its range")
        return np.array(flat, dtype)
    return _convert_floats(flat, types, dtype)


def _convert_floats(flat: list[Any], types: set[type], dtype: np.dtype) -> np.ndarray:
    if int in types:
        most = most_exact(dtype.name)
        for value in flat:
            if type(value) is int and abs(value) > most:
                raise ValueError(f"cannot convert {_show(value)} without loss of precision")
    wide = np.array(flat, np.float64)
    with np.errstate(over="ignore"):
        array = wide.astype(dtype)
    overflown = np.isinf(array) & ~np.isinf(wide)
    if overflown.any():
        raise ValueError(f"received {wide[overflown][0]}, which is out of its range")
    return array


def _decode_base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise ValueError(f'received the object {_show(value)}, and bytes are {{"b64": "..."}}')
    text = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"unable to base64 decode {_show(text)}") from error


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    """Whether a JSON object maps input names to values."""
    return isinstance(value, dict) and not _is_base64(value)


def _check_rows(outputs: Arrays) -> None:
    sizes = {name: array.shape[0] if array.ndim else None for name, array in outputs.items()}
    if None in sizes.values() or len(set(sizes.values())) > 1:
        shapes = ", ".join(f"`{name}` {array.shape}" for name, array in outputs.items())
        raise invalid(
            "The outputs do not all have one value for each row, so they cannot be put in rows: "
            f"{shapes}. Ask in columns: give `inputs` instead of `instances`."
        )


def _to_values(array: np.ndarray, name: str) -> Any:
    """Nested lists of what `json.dumps` takes."""
    kind = "f" if array.dtype.name == "bfloat16" else array.dtype.kind
    if kind == "c":
        raise ServingError(
            "UNIMPLEMENTED", f"Output `{name}` is complex and has no form in JSON; ask over gRPC."
        )
    if kind == "O":
        return _to_text(array, name).tolist()
    if kind == "f" and array.dtype != np.float64:
        return _short_decimals(array.astype(np.float32)).tolist()
    return array.tolist()


def _to_text(array: np.ndarray, name: str) -> np.ndarray:
    flat = array.ravel().tolist()
    if name.endswith("_bytes"):
        encoded = [{"b64": base64.b64encode(value).decode("ascii")} for value in flat]
        return _objects(encoded).reshape(array.shape)
    try:
        return _objects([value.decode() for value in flat]).reshape(array.shape)
    except UnicodeDecodeError as error:
        raise invalid(
            f"Output `{name}` holds bytes that are not UTF-8 text, and its name does not end in "
            "`_bytes`, which would have them encoded in base64; ask over gRPC."
        ) from error


def _short_decimals(values: np.ndarray) -> np.ndarray:
    """float32 values as float64 that print short and that float32 rounds back to the same values.

    The double next to float32's 0.2 prints as 0.20000000298023224. Of the decimals with 6, 7, 8 and
    9 digits the first that rounds back is taken; 9 always do, save for very large and very small
    numbers, where powers of ten are not exact: those keep their 17 digits.
    """
    exact = values.astype(np.float64)
    flat, result = exact.ravel(), exact.ravel().copy()
    todo = np.flatnonzero(np.isfinite(flat) & (flat != 0))
    exponents = np.zeros(flat.shape, np.int64)
    exponents[todo] = np.floor(np.log10(np.abs(flat[todo])))
    for digits in (6, 7, 8, 9):
        places = digits - 1 - exponents[todo]
        scale = _POWERS_OF_TEN[np.minimum(np.abs(places), len(_POWERS_OF_TEN) - 1)]
        x = flat[todo]
        rounded = np.where(places >= 0, np.rint(x * scale) / scale, np.rint(x / scale) * scale)
        with np.errstate(over="ignore"):
            same = rounded.astype(np.float32) == x
        result[todo[same]] = rounded[same]
        todo = todo[~same]
    return result.reshape(values.shape)


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        keys = [_show(key) for key in itertools.islice(value, _SHOWN_KEYS)]
        more = f" and {len(value) - _SHOWN_KEYS:,} more" if len(value) > _SHOWN_KEYS else ""
        return f"an object with the keys {', '.join(keys) or '(none)'}{more}"
    return "null" if value is None else f"the {_JSON_TYPES[type(value)]} {_show(value)}"


def _show(value: Any) -> str:
    text = ""
    for piece in json.JSONEncoder().iterencode(value):  # of a large or deep one the beginning alone
        text += piece
        if len(text) > 60:
            return f"{text[:57]}..."
    return text
