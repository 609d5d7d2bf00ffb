"""Programs of XLA that several threads run at once: what TensorFlow 2.21 crashes on."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf

from tfpt import xla_flags

needs_ynnpack = pytest.mark.skipif(
    not tf.__version__.startswith("2.21."), reason="TensorFlow 2.20 has no YNNPACK"
)

# New programs with sums, each run by four threads at once.
CONCURRENT = """
import tfpt
import tensorflow as tf

tf.config.threading.set_inter_op_parallelism_threads(4)
tf.config.threading.set_intra_op_parallelism_threads(1)
x = tf.random.normal([512, 384])
for number in range(40):
    @tf.function(jit_compile=True, autograph=False)
    def sums(x):
        return tf.reduce_sum(x * (1.0 + number), -1), tf.reduce_max(x, -1), tf.reduce_sum(x, 0)

    run = tf.function(lambda x: [sums(x + float(part)) for part in range(4)], autograph=False)
    for _ in range(3):
        found = run(x)
    for part, (of_rows, largest, of_columns) in enumerate(found):
        scaled = (x + float(part)) * (1.0 + number)
        tf.debugging.assert_near(of_rows, tf.reduce_sum(scaled, -1), 1e-3, 1e-3)
        tf.debugging.assert_near(largest, tf.reduce_max(x + float(part), -1), 1e-5, 1e-5)
        tf.debugging.assert_near(of_columns, tf.reduce_sum(x + float(part), 0), 1e-3, 1e-3)
print("no crash")
"""

PROGRAM = """
import tensorflow as tf

sums = tf.function(lambda x: tf.reduce_sum(x, -1), jit_compile=True, autograph=False)
print(sums.experimental_get_compiler_ir(tf.zeros([1024, 1024]))(stage="optimized_hlo"))
"""


def output(program, **changes):
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3", **changes},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{result.returncode}: {result.stderr[-2_000:]}"
    return result.stdout


def test_programs_with_sums_are_run_by_several_threads_at_once():
    assert output(CONCURRENT).splitlines()[-1] == "no crash"


@needs_ynnpack
def test_xla_leaves_sums_to_ynnpack_unless_it_is_told_not_to():
    """Once TensorFlow no longer does so, or does so without the race, xla_flags.py can go."""
    assert "ynn" in output(PROGRAM)
    assert "ynn" not in output("import tfpt\n" + PROGRAM)


@needs_ynnpack
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "--xla_cpu_experimental_ynn_fusion_type="),
        (
            "--xla_dump_to=/x",
            "--xla_dump_to=/x --xla_cpu_experimental_ynn_fusion_type=",
        ),
        (
            "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT",
            "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT",
        ),
    ],
)
def test_the_users_own_flags_are_kept(monkeypatch, given, expected):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if given is not None:
        monkeypatch.setenv("XLA_FLAGS", given)
    xla_flags.set_flags()
    assert os.environ["XLA_FLAGS"] == expected


def test_a_tensorflow_that_does_not_know_the_flag_is_not_given_it(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(xla_flags.importlib.metadata, "version", lambda _: "2.20.0")
    xla_flags.set_flags()
    assert "XLA_FLAGS" not in os.environ
