"""The REST interface of a running server."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

TEXT = "/v1/models/text:predict"
NUMBERS = "/v1/models/numbers:predict"
ROW = {"a": [1.0, 2.0, 3.0], "b": 1}


def answers(rest):
    """Whether the server answers an ordinary request as it should."""
    status, body = rest(NUMBERS, {"instances": [ROW]})
    return (status, body) == (200, {"predictions": [{"total": [2.0, 3.0, 4.0], "twice": 2}]})


def test_texts_are_classified_by_row(rest):
    status, body = rest(TEXT, {"instances": ["a good film", "a bad film", ""]})
    assert status == 200
    rows = body["predictions"]
    assert [row["label"] for row in rows] == ["größer", "schlecht", "schlecht"]
    positive = 1 / (1 + math.exp(-2.25)), 1 / (1 + math.exp(0.75))
    assert rows[0]["score"] == pytest.approx(positive[0], abs=1e-6)
    assert rows[1]["scores"] == pytest.approx([1 - positive[1], positive[1]], abs=1e-6)
    assert rows[1] == rows[2]


def test_texts_are_classified_by_column(rest):
    _, rows = rest(TEXT, {"instances": [{"text": "a good film"}, {"text": "bad"}]})
    status, columns = rest(TEXT, {"inputs": {"text": ["a good film", "bad"]}})
    assert status == 200
    assert columns == rest(TEXT, {"inputs": ["a good film", "bad"]})[1]
    assert columns["outputs"] == {
        name: [row[name] for row in rows["predictions"]] for name in ("label", "score", "scores")
    }


def test_bytes_go_in_and_out_in_base64(rest):
    request = {"signature_name": "mark", "instances": ["a", {"b64": "AP8="}]}
    assert rest(TEXT, request) == (200, {"predictions": [{"b64": "/2E="}, {"b64": "/wD/"}]})


def test_outputs_of_every_type_have_their_json_form(rest):
    request = {"signature_name": "kinds", "inputs": [0.2, -1.0, 0.0]}
    status, body = rest(NUMBERS, request)
    assert status == 200
    outputs = body["outputs"]
    assert outputs["negative"] == [False, True, False]
    assert outputs["log"][2] == -math.inf
    assert math.isnan(outputs["log"][1])
    assert np.float32(outputs["log"][0]) == np.log(np.float32(0.2))
    assert outputs["wide"] == [float(np.float32(0.2)) / 3, -1 / 3, 0.0]
    assert outputs["half"] == pytest.approx([0.2, -1, 0], abs=1e-3)
    assert outputs["byte"][0] == 0


def test_scalars_are_answered_by_column(rest):
    request = {"signature_name": "mean", "inputs": [1.0, 2.0]}
    assert rest(NUMBERS, request) == (200, {"outputs": {"first": [1.0], "mean": 1.5}})
    status, body = rest(NUMBERS, {"signature_name": "mean", "instances": [1.0, 2.0]})
    assert status == 400
    assert "give `inputs` instead" in body["error"]


def test_a_trailing_size_of_one_may_be_left_out(rest):
    request = {"signature_name": "half", "instances": [1.0, 3.0]}
    assert rest(NUMBERS, request) == (200, {"predictions": [0.5, 1.5]})
    request["instances"] = [[1.0], [3.0]]
    assert rest(NUMBERS, request) == (200, {"predictions": [[0.5], [1.5]]})


def test_versions_are_asked_by_number(rest):
    for version in ("3", "003", "20"):
        status, _ = rest(f"/v1/models/numbers/versions/{version}:predict", {"instances": [ROW]})
        assert status == 200


def test_status_lists_versions_newest_first(rest):
    def state(version):
        ok = {"error_code": "OK", "error_message": ""}
        return {"version": version, "state": "AVAILABLE", "status": ok}

    assert rest("/v1/models/numbers") == (200, {"model_version_status": [state("20"), state("3")]})
    assert rest("/v1/models/numbers/versions/3") == (200, {"model_version_status": [state("3")]})


def test_metadata_describe_the_signatures(rest):
    status, body = rest("/v1/models/numbers/versions/3/metadata")
    assert status == 200
    assert body["model_spec"] == {"name": "numbers", "version": "3", "signature_name": ""}
    signature = body["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["a"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["a"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}],
        "unknown_rank": False,
    }
    assert set(signature["outputs"]) == {"total", "twice"}


@pytest.mark.parametrize(
    ("path", "body", "status", "parts"),
    [
        (NUMBERS, {"instances": [{"a": [1, 2, 3]}]}, 400, ["lacks `b`", "`a`, `b`"]),
        (NUMBERS, {"instances": [{**ROW, "c": 1}]}, 400, ["holds `c`"]),
        (NUMBERS, {"inputs": {"A": [[1, 2, 3]], "b": [1]}}, 400, ["lacks `a` and holds `A`"]),
        (
            NUMBERS,
            {"instances": [{"a": ["1", "2", "3"], "b": 1}]},
            400,
            ["Input `a`", "float32 of shape (-1, 3)", 'the string "1"'],
        ),
        (NUMBERS, {"instances": [{"a": [1, 2], "b": 1}]}, 400, ["Input `a`", "shape (1, 2)"]),
        (NUMBERS, {"instances": [{"a": [1, 2, 3], "b": [1]}]}, 400, ["Input `b`", "(1, 1)"]),
        (TEXT, {"instances": [["a"]]}, 400, ["Input `text`", "string of shape (-1,)", "(1, 1)"]),
        (TEXT, {"instances": [1]}, 400, ["Input `text`", "the number 1"]),
        (TEXT, {"signature_name": "nope", "instances": ["a"]}, 400, ["nope", "`serving_default`"]),
        (
            TEXT,
            {"signature_name": "__saved_model_init_op", "instances": ["a"]},
            400,
            ["cannot be called"],
        ),
        (TEXT, {"signature_name": "not_text", "instances": ["a"]}, 400, ["`broken`", "UTF-8"]),
        (TEXT, b'{"instances": ["a"', 400, ["JSON Parse error"]),
        (TEXT, b'{"signature_name": "\\ud800", "instances": ["a"]}', 400, ['"?" not found']),
        (NUMBERS, b'{"inputs": {"\\ud800": [1]}}', 400, ["holds `?`"]),
        (NUMBERS, b'{"instances": [{"\\ud800": 1}]}', 400, ["holds `?`"]),
        (TEXT, b"[" * 960 + b"]" * 960, 400, ["received the list [[[[", "..."]),
        (TEXT, b"[" * 100_000, 400, ["JSON Parse error"]),
        (
            NUMBERS,
            b'{"instances": [{"a": [1, 2, 1e400], "b": 1}]}',
            400,
            ["JSON Parse error: a number is too large"],
        ),
        (
            NUMBERS,
            {"signature_name": "picky", "instances": [1.0, -2.5]},
            400,
            ["failed on these inputs", "x must rise", "-2.5"],
        ),
        ("/v1/models/nope:predict", {"instances": [1]}, 404, ["Latest(nope)", "`numbers`, `text`"]),
        (
            "/v1/models/text/versions/7:predict",
            {"instances": ["a"]},
            404,
            ["Specific(text, 7)", "version 1"],
        ),
        (
            "/v1/models/text/versions/99999999999999999999:predict",
            {"instances": ["a"]},
            400,
            ["Failed to convert version"],
        ),
        ("/v1/models/text/labels/stable:predict", {"instances": ["a"]}, 400, ["label: stable"]),
        ("/v1/models/text:classify", {"examples": [{}]}, 501, [":predict, not :classify"]),
        ("/v1/models/text:guess", {"instances": ["a"]}, 400, ["Malformed request: POST"]),
        ("/v1/models/nope", None, 404, ["Could not find any versions of model nope"]),
        ("/v1/models/text/versions/7", None, 404, ["Could not find version 7 of model text"]),
        ("/v1/models/nope/metadata", None, 404, ["Servable not found"]),
        ("/v1/models", None, 400, ["Missing model name"]),
        ("/v1/models/text:predict", None, 400, ["Malformed request: GET"]),
        ("/v1/other", None, 400, ["Malformed request"]),
        ("/", None, 404, ["nothing at /"]),
    ],
)
def test_a_bad_request_is_refused_in_one_sentence_and_the_server_lives_on(
    rest, path, body, status, parts
):
    received, answer = rest(path, body)
    assert received == status
    assert list(answer) == ["error"]
    assert "\n" not in answer["error"]
    for part in parts:
        assert part in answer["error"]
    assert answers(rest)


def test_thirty_two_parallel_requests_get_their_own_answers(rest):
    def ask(i):
        rows = [{"a": [i, i + 0.5, -i], "b": j} for j in range(1 + i % 3)]
        return rest(NUMBERS, {"instances": rows})

    with ThreadPoolExecutor(32) as pool:
        results = list(pool.map(ask, range(96)))
    for i, (status, body) in enumerate(results):
        assert status == 200
        assert body["predictions"] == [
            {"total": [i + j, i + j + 0.5, j - i], "twice": 2 * j} for j in range(1 + i % 3)
        ]


def test_a_model_at_work_does_not_hold_up_the_port(rest):
    results = []

    def work():
        results.append(rest(NUMBERS, {"signature_name": "spin", "inputs": 4_000}))
        results.append(time.monotonic())

    thread = threading.Thread(target=work)
    begin = time.monotonic()
    thread.start()
    time.sleep(0.1)
    asked = time.monotonic()
    assert rest("/v1/models/text")[0] == 200
    answered = time.monotonic()
    thread.join()
    assert results[0] == (200, {"outputs": 200.0})
    assert answered - asked < (results[1] - begin) / 3


def test_a_large_batch_goes_through(rest):
    rows = [{"a": [i, 0.1, 1e-3], "b": i} for i in range(20_000)]
    status, body = rest(NUMBERS, {"instances": rows})
    assert status == 200
    assert len(body["predictions"]) == len(rows)
    assert body["predictions"][-1]["twice"] == 39_998
