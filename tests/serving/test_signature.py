"""What a request's shapes and names are held against."""

import numpy as np
import pytest

from tfpt.serving.errors import ServingError
from tfpt.serving.signature import Signature, TensorSpec


def signature(declared, *, method_name="tensorflow/serving/predict", dense=True):
    spec = TensorSpec(dtype=np.dtype("float32"), type_name="float32", shape=declared, dense=dense)
    return Signature(
        name="sig", method_name=method_name, inputs={"x": spec, "y": spec}, outputs={"z": spec}
    )


@pytest.mark.parametrize(
    ("declared", "shape"),
    [
        ((-1,), (0,)),
        ((-1, 3), (5, 3)),
        ((-1, -1), (5, 3)),
        (None, (2, 2, 2)),
        (None, ()),
        ((), ()),
        ((-1, 1), (3,)),  # TF Serving's own example of half_plus_two
        ((2, 1, 1), (2,)),
        ((1,), (3,)),
        ((1,), (3, 1)),
        ((1, 1), ()),
    ],
)
def test_a_shape_that_fits_is_taken(declared, shape):
    signature(declared).check_shape("x", shape)


@pytest.mark.parametrize(
    ("declared", "shape"),
    [
        ((-1,), (2, 1)),
        ((-1,), ()),
        ((-1, 3), (5, 4)),
        ((-1, 3), (5,)),
        ((-1, 1), (5, 2)),
        ((-1, 1), (5, 1, 1)),
        ((-1, 1), ()),
        ((2,), (3,)),
        ((), (1,)),
        ((-1, -1), (5,)),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_with_both_shapes(declared, shape):
    with pytest.raises(ServingError) as caught:
        signature(declared).check_shape("x", shape)
    assert caught.value.code == "INVALID_ARGUMENT"
    for part in ("`x`", "`sig`", str(declared), str(shape)):
        assert part in caught.value.message


def test_missing_and_surplus_names_are_both_told():
    with pytest.raises(ServingError) as caught:
        signature(None).check_names(["x", "other"])
    assert "lacks `y` and holds `other`" in caught.value.message
    signature(None).check_names(["y", "x"])


def test_output_filters_name_outputs_once():
    chosen = signature(None)
    chosen.check_output_filter([])
    chosen.check_output_filter(["z"])
    with pytest.raises(ServingError, match="asks for `x`"):
        chosen.check_output_filter(["x"])
    with pytest.raises(ServingError, match="`z` twice"):
        chosen.check_output_filter(["z", "z"])


def test_only_signatures_for_requests_can_be_called():
    signature(None).check_callable()
    with pytest.raises(ServingError, match="cannot be called") as caught:
        signature(None, method_name="").check_callable()
    assert caught.value.code == "INVALID_ARGUMENT"
    with pytest.raises(ServingError, match="dense tensors") as caught:
        signature(None, dense=False).check_callable()
    assert caught.value.code == "UNIMPLEMENTED"
