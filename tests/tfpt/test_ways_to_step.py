"""The same step, however it is taken: in parts, by XLA, on replicas, on workers, in few bits."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("ways_to_step.py")
# What a step may have besides; of each the values that are tried.
AXES = {
    "accumulation_steps": (1, 2),
    "steps_per_execution": (1, 2),
    "jit_compile": (False, True),
    "clip_norm": (0.0, 0.05),
    "ema_momentum": (0.0, 0.9),
    "product_dtype": ("float32", "bfloat16", "float16"),
}
PLAIN = {name: values[0] for name, values in AXES.items()}
# Rows in which each value of an axis meets each value of each other axis.
PAIRS = [
    dict(zip(AXES, row, strict=True))
    for row in (
        (1, 1, False, 0.0, 0.0, "float32"),
        (2, 2, True, 0.05, 0.9, "float32"),
        (1, 1, False, 0.05, 0.9, "float32"),
        (2, 2, True, 0.0, 0.0, "float32"),
        (1, 1, True, 0.0, 0.9, "bfloat16"),
        (2, 2, False, 0.05, 0.0, "bfloat16"),
        (1, 2, False, 0.0, 0.9, "float16"),
        (2, 1, True, 0.05, 0.0, "float16"),
    )
]
ALL = [dict(zip(AXES, row, strict=True)) for row in itertools.product(*AXES.values())]
# One layer, compiled with few passes of LLVM: most of the time is XLA's. Slow tests have the rest.
QUICK = {"num_layers": 1, "XLA_FLAGS": "--xla_backend_optimization_level=1"}
# After 20 steps, with weights that have moved by 0.02: beside the plain step in the same dtype on
# one device, of which parts and replicas round other sums.
TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-3, "float16": 1e-3}
# Of those plain steps beside the one in float32: what the rounding of products comes to.
ROUNDING = {"bfloat16": 3e-3, "float16": 1e-3}
SAME = ("clip_norm", "product_dtype")


def references(ways):
    """The plain steps to compare with; the averages do not change the weights."""
    chosen = sorted({tuple(way[name] for name in SAME) for way in ways})
    return [{**PLAIN, "ema_momentum": 0.9, **dict(zip(SAME, one, strict=True))} for one in chosen]


def start(strategy, num_devices, folder, *, script=SCRIPT, **environment):
    return subprocess.Popen(
        [sys.executable, script, strategy, str(num_devices), folder],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_workers(num_workers, folder, *, script=SCRIPT, **environment):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num_workers)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    cluster = {"worker": addresses}
    return [
        start(
            "multi_worker",
            1,
            folder,
            script=script,
            **environment,
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in range(num_workers)
    ]


def trained(folder, ways, kind, num_devices, *, num_layers=2, **environment):
    """The processes that train in each of the ways, and what they leave in the folder."""
    folder.mkdir()
    (folder / "ways.json").write_text(json.dumps({"num_layers": num_layers, "ways": ways}))
    if kind == "multi_worker":
        return start_workers(num_devices, folder, **environment)
    return [start(kind, num_devices, folder, **environment)]


def finish(processes, num_devices):
    for process in processes:
        out, error = process.communicate(timeout=3_000)
        assert process.returncode == 0, error[-3_000:]
        assert out.strip() == f"replicas {num_devices}"


def results(folder, kind, number):
    with np.load(folder / f"{kind}-{number}.npz") as file:
        return dict(file)


def assert_alike(tmp_path, ways, kinds, **given):
    """Train in all ways on all kinds of devices, two at a time; compare with one device."""
    plain = references(ways)
    runs = {
        kind: trained(tmp_path / "-".join(map(str, kind)), ways, *kind, **given) for kind in kinds
    }
    finish(trained(tmp_path / "plain", plain, "one", 1, **given), 1)
    for (_, num_devices), processes in runs.items():
        finish(processes, num_devices)
    of_plain = {
        tuple(way[name] for name in SAME): results(tmp_path / "plain", "one", number)
        for number, way in enumerate(plain)
    }
    for (clip_norm, dtype), one in of_plain.items():
        for name in one.keys() - {"losses", "window"} if dtype in ROUNDING else ():
            exact = of_plain.get((clip_norm, "float32"))
            assert exact is not None
            np.testing.assert_allclose(one[name], exact[name], rtol=0, atol=ROUNDING[dtype])
    for kind, num_devices in kinds:
        folder = tmp_path / f"{kind}-{num_devices}"
        for number, way in enumerate(ways):
            expected = of_plain[tuple(way[name] for name in SAME)]
            found = results(folder, kind, number)
            tolerance = TOLERANCE[way["product_dtype"]]
            names = [name for name in found if name not in ("losses", "window")]
            assert any(name.startswith("average ") for name in names) == bool(way["ema_momentum"])
            different = {
                name: float(np.abs(found[name] - expected[name]).max())
                for name in names
                if not np.allclose(found[name], expected[name], rtol=0, atol=tolerance)
            }
            assert not different, f"{kind} {num_devices} {way}"
            stride = way["steps_per_execution"]
            there, here = expected["losses"][stride - 1 :: stride], found["losses"]
            print(kind, num_devices, way)
            print(*(f"{one:.5f} {two:.5f}" for one, two in zip(there, here, strict=True)), sep="\n")
            np.testing.assert_allclose(here, there, rtol=0, atol=5 * tolerance)
            np.testing.assert_allclose(
                found["window"], expected["window"], rtol=20 * tolerance, atol=5 * tolerance
            )
    return expected


def test_each_value_meets_each_other():
    for one, other in itertools.combinations(AXES, 2):
        met = {(way[one], way[other]) for way in PAIRS}
        assert met == set(itertools.product(AXES[one], AXES[other]))


@pytest.mark.timeout(900)
def test_all_pairs_train_alike_on_one_device_on_replicas_and_on_workers(tmp_path):
    assert_alike(tmp_path, PAIRS, [("one", 1), ("mirrored", 2), ("multi_worker", 2)], **QUICK)


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("kind", [("one", 1), ("mirrored", 2), ("multi_worker", 2)])
def test_the_full_product_trains_alike(tmp_path, kind):
    assert_alike(tmp_path, ALL, [kind])


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("kind", [("mirrored", 4), ("multi_worker", 3)])
def test_more_devices_train_alike(tmp_path, kind):
    assert_alike(tmp_path, PAIRS, [kind])
