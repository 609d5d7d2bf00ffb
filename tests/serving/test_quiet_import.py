"""TensorFlow without what it prints, and without what no command needs."""

import subprocess
import sys

import pytest

UNNEEDED = ("matplotlib", "sklearn")


def run(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result


def test_what_no_command_needs_is_not_imported_but_can_be():
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    result = run(
        "import sys\n"
        "from tfpt.serving.quiet_import import import_tensorflow\n"
        "import_tensorflow()\n"
        "import keras, tensorflow\n"
        f"print(*[name in sys.modules for name in {UNNEEDED}])\n"
        "import matplotlib.pyplot, sklearn.linear_model\n"
        "print(keras.Sequential([keras.layers.Dense(2)])(tensorflow.ones([1, 3])).shape)\n"
    )
    assert result.stdout == "False False\n(1, 2)\n"
    assert result.stderr == ""


def test_keras_alone_imports_it():
    """Once it does not any more, hiding it can go."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    found = run(f"import sys, keras\nprint(*[name in sys.modules for name in {UNNEEDED}])").stdout
    assert found == "True True\n"
