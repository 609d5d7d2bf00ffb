"""Request and response bodies, without a server."""

import json

import numpy as np
import pytest

from tfpt.serving.errors import ServingError
from tfpt.serving.json_format import format_response, parse_request
from tfpt.serving.signature import Signature, TensorSpec


def spec(type_name, *shape):
    dtype = np.dtype(object) if type_name == "string" else np.dtype(type_name)
    return TensorSpec(dtype=dtype, type_name=type_name, shape=shape)


def parse(document, **inputs):
    """The parsed request for a signature with these inputs."""
    signature = Signature(
        name="serving_default",
        method_name="tensorflow/serving/predict",
        inputs=inputs,
        outputs={"y": spec("float32", -1)},
    )
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_request(body, lambda name: signature)


def parsed(values, type_name):
    """Column values of a single input as an array."""
    return parse({"inputs": values}, x=spec(type_name, -1)).inputs["x"]


def refusal(document, **inputs):
    with pytest.raises(ServingError) as caught:
        parse(document, **inputs)
    assert caught.value.code == "INVALID_ARGUMENT"
    return caught.value.message


def test_rows_and_columns_give_the_same_arrays():
    rows = {"instances": [{"a": [1, 2], "b": "x"}, {"a": [3, 4], "b": "y"}]}
    columns = {"inputs": {"a": [[1, 2], [3, 4]], "b": ["x", "y"]}}
    inputs = {"a": spec("float32", -1, 2), "b": spec("string", -1)}
    by_row, by_column = parse(rows, **inputs), parse(columns, **inputs)
    assert by_row.by_row
    assert not by_column.by_row
    for request in (by_row, by_column):
        assert request.inputs["a"].dtype == np.float32
        np.testing.assert_array_equal(request.inputs["a"], [[1, 2], [3, 4]])
        assert request.inputs["b"].tolist() == [b"x", b"y"]


def test_plain_rows_go_to_the_only_input():
    request = parse({"instances": [1.5, 2.5]}, x=spec("float64", -1))
    np.testing.assert_array_equal(request.inputs["x"], [1.5, 2.5])


def test_base64_gives_bytes_in_rows_and_columns():
    value = {"b64": "/wD+"}
    for document in (
        {"instances": [value]},
        {"instances": [{"x": value}]},
        {"inputs": [value]},
        {"inputs": {"x": [value]}},
    ):
        assert parse(document, x=spec("string", -1)).inputs["x"].tolist() == [b"\xff\x00\xfe"]
    assert parse({"inputs": value}, x=spec("string")).inputs["x"].tolist() == b"\xff\x00\xfe"


def test_base64_without_padding_is_taken():
    assert parsed([{"b64": "/w"}], "string").tolist() == [b"\xff"]


def test_text_becomes_utf8():
    assert parsed(["größer", "好", ""], "string").tolist() == [
        "größer".encode(),
        "好".encode(),
        b"",
    ]


def test_the_signature_is_chosen_by_name():
    asked = []

    def find(name):
        asked.append(name)
        return Signature(name=name, method_name="", inputs={"x": spec("float32", -1)}, outputs={})

    parse_request(b'{"signature_name": "other", "instances": [1]}', find)
    parse_request(b'{"instances": [1]}', find)
    assert asked == ["other", ""]


@pytest.mark.parametrize(
    ("type_name", "values"),
    [
        ("float32", [0.1, 3, -2.5]),
        ("float64", [1e300, 1 << 53]),
        ("float16", [0.5, 2048]),
        ("int8", [-128, 127]),
        ("uint8", [0, 255]),
        ("int64", [-(1 << 63), (1 << 63) - 1]),
        ("uint64", [0, (1 << 64) - 1]),
        ("bool", [True, False]),
    ],
)
def test_values_of_every_type_arrive(type_name, values):
    array = parsed(values, type_name)
    assert array.dtype == np.dtype(type_name)
    np.testing.assert_array_equal(array, np.array(values, type_name))


def test_nan_and_infinities_arrive():
    request = parse(b'{"inputs": [NaN, Infinity, -Infinity]}', x=spec("float32", -1))
    np.testing.assert_array_equal(request.inputs["x"], [np.nan, np.inf, -np.inf])


def test_an_empty_column_keeps_its_shape():
    assert parsed([], "float32").shape == (0,)
    assert parsed([[], []], "string").shape == (2, 0)


@pytest.mark.parametrize(
    ("type_name", "values", "received"),
    [
        ("float32", ["1"], 'the string "1"'),
        ("float32", [1.0, True], "the boolean true"),
        ("float32", [None], "received null"),
        ("float32", [1e39], "1e+39, which is out of its range"),
        ("float32", [(1 << 24) + 1], "16777217 without loss of precision"),
        ("int32", [1.0], "the number 1.0"),
        ("int32", [1 << 31], "2147483648, which is out of its range"),
        ("uint8", [-1], "-1, which is out of its range"),
        ("int64", [True], "the boolean true"),
        ("int64", [10**30], "which is out of its range"),
        ("bool", [1], "the number 1"),
        ("string", [1], "the number 1"),
        ("string", [{"b64": 1}], "and bytes are"),
        ("string", [{"b64": "?"}], "unable to base64 decode"),
        ("float32", [[1, 2], [3]], "do not all have one shape"),
        ("float32", [[1, 2], 3], "do not all have one shape"),
        ("string", ["a", ["b"]], "do not all have one shape"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(type_name, values, received):
    message = refusal({"inputs": {"x": values}}, x=spec(type_name, -1))
    assert f"Input `x` of signature `serving_default` takes {type_name}" in message
    assert received in message


@pytest.mark.parametrize(
    ("document", "part"),
    [
        (b"", "The document is empty"),
        (b"{", "JSON Parse error"),
        (b"\xff\xfe{", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b'{"inputs": ["\\ud800"]}', "surrogates not allowed"),
        ([1], "the list [1]"),
        ({}, "(none)"),
        ({"instances": ["a"], "inputs": ["a"]}, 'the keys "instances", "inputs"'),
        ({"instances": []}, "at least one row"),
        ({"instances": "a"}, "must be a list"),
        ({"signature_name": 1, "instances": ["a"]}, "`signature_name` key must be a string"),
        ({"instances": [{"y": "a"}]}, "`instances[0]` lacks `x` and holds `y`"),
        ({"instances": [{"x": "a"}, {"x": "a", "y": 1}]}, "`instances[1]` holds `y`"),
        ({"instances": [{"x": "a"}, "a"]}, "`instances[1]` is no object"),
        ({"instances": ["a", {"x": "a"}]}, "the object"),
        ({"inputs": {"y": ["a"]}}, "`inputs` lacks `x` and holds `y`"),
    ],
)
def test_a_malformed_body_is_refused(document, part):
    assert part in refusal(document, x=spec("string", -1))


def test_plain_values_for_several_inputs_are_refused():
    inputs = {"a": spec("float32", -1), "b": spec("float32", -1)}
    for key in ("instances", "inputs"):
        message = refusal({key: [1.0]}, **inputs)
        assert "takes the inputs `a`, `b`" in message
        assert f"`{key}`" in message


def test_an_input_with_a_default_may_be_left_out():
    signature = Signature(
        name="serving_default",
        method_name="",
        inputs={"x": spec("float32", -1), "scale": spec("float32")},
        outputs={},
        defaults={"scale": np.float32(2)},
    )
    request = parse_request(b'{"inputs": {"x": [1]}}', lambda name: signature)
    assert list(request.inputs) == ["x"]
    with pytest.raises(ServingError, match=r"`instances\[1\]` has the keys x, `instances\[0\]`"):
        parse_request(b'{"instances": [{"x": 1, "scale": 1}, {"x": 1}]}', lambda name: signature)


def test_a_single_output_comes_without_its_name():
    outputs = {"y": np.array([[1.5], [2.0]], np.float32)}
    assert json.loads(format_response(outputs, by_row=True)) == {"predictions": [[1.5], [2.0]]}
    assert json.loads(format_response(outputs, by_row=False)) == {"outputs": [[1.5], [2.0]]}


def test_several_outputs_are_objects():
    outputs = {"n": np.array([1, 2]), "ok": np.array([True, False])}
    assert json.loads(format_response(outputs, by_row=True)) == {
        "predictions": [{"n": 1, "ok": True}, {"n": 2, "ok": False}]
    }
    assert json.loads(format_response(outputs, by_row=False)) == {
        "outputs": {"n": [1, 2], "ok": [True, False]}
    }


def test_strings_are_text_and_bytes_outputs_base64():
    text = np.array(["größer".encode()], object)
    assert json.loads(format_response({"y": text}, by_row=True)) == {"predictions": ["größer"]}
    data = np.array([b"\xff\x00"], object)
    assert json.loads(format_response({"y_bytes": data}, by_row=True)) == {
        "predictions": [{"b64": "/wA="}]
    }
    with pytest.raises(ServingError, match="not UTF-8 text") as caught:
        format_response({"y": data}, by_row=True)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_infinity_is_a_number_where_it_is_written_so():
    for body in (b'{"inputs": [Infinity, -Infinity, 1]}', b'{"instances": [Infinity, 1e400]}'):
        found = parse(body, x=spec("float32", -1)).inputs["x"]
        assert np.isinf(found[:2]).all()
    for number in ("1e400", "-1e999"):
        message = refusal(f'{{"inputs": [1, {number}]}}'.encode(), x=spec("float64", -1))
        assert message == "JSON Parse error: a number is too large to be stored as a double."


def test_a_long_or_deep_value_is_quoted_in_short():
    deep = "x"
    for _ in range(900):
        deep = [deep]
    for value in ("y" * 10**6, ["y" * 10**6], {str(n): n for n in range(10**5)}, deep):
        message = refusal({"instances": value}, x=spec("float32", -1))
        assert len(message) < 400
    assert "and 99,992 more" in refusal(
        {str(number): 0 for number in range(10**5)}, x=spec("float32", -1)
    )


def test_outputs_without_a_common_first_size_are_refused_in_rows_only():
    outputs = {"mean": np.array(1.0, np.float32), "y": np.array([1.0, 2.0], np.float32)}
    with pytest.raises(ServingError, match=r"`mean` \(\), `y` \(2,\)"):
        format_response(outputs, by_row=True)
    assert json.loads(format_response(outputs, by_row=False)) == {
        "outputs": {"mean": 1.0, "y": [1.0, 2.0]}
    }


def test_not_finite_numbers_are_written_as_tf_serving_does():
    outputs = {"y": np.array([np.nan, np.inf, -np.inf], np.float32)}
    assert format_response(outputs, by_row=False) == b'{"outputs": [NaN, Infinity, -Infinity]}'


def test_every_float32_comes_back_exactly():
    random = np.random.default_rng(0)
    patterns = random.integers(0, 1 << 32, 200_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate(
        [
            patterns[np.isfinite(patterns)],
            random.random(50_000, np.float32),
            np.array([0.0, -0.0, 1e-45, 3.4028235e38, 16777216.0, 0.1, 1 / 3], np.float32),
        ]
    )
    body = format_response({"y": values}, by_row=False)
    back = np.array(json.loads(body)["outputs"], np.float64).astype(np.float32)
    np.testing.assert_array_equal(back.view(np.uint32), values.view(np.uint32))


def test_ordinary_float32_values_are_printed_short():
    random = np.random.default_rng(0)
    values = np.concatenate([random.random(10_000), random.normal(0, 1e4, 10_000)])
    body = format_response({"y": values.astype(np.float32)}, by_row=False).decode()
    numbers = body.removeprefix('{"outputs": [').removesuffix("]}").split(", ")
    assert max(len(number) for number in numbers) <= len("-0.000123456789")
    assert format_response({"y": np.array([0.2, 3, 2.5e-7], np.float32)}, by_row=False) == (
        b'{"outputs": [0.2, 3.0, 2.5e-07]}'
    )


def test_float64_keeps_all_its_digits():
    values = np.random.default_rng(0).random(1_000)
    body = format_response({"y": values}, by_row=False)
    assert json.loads(body)["outputs"] == values.tolist()
