"""`make demo` as a newcomer runs it: a fresh clone, an empty home folder, no environment yet."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPORT = (
    "masked-word accuracy (validation)",
    "next-sentence accuracy (validation)",
    "library accuracy (test)",
    "library accuracy of the majority class",
    "library macro F1 (test)",
)
# What the developer's shell has and a newcomer's has not.
DROPPED = ("VIRTUAL_ENV", "PYTHONPATH", "TF_CPP_MIN_LOG_LEVEL", "PYTHON", "MAKEFLAGS")
NOISE = re.compile(r"tensorflow/|^[IWEF]\d{4} |WARNING|Warning|oneDNN|cuda|absl|Traceback", re.I)


@pytest.fixture
def clone(tmp_path):
    """A clone of what is committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone to clone from")
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_make_demo_goes_the_whole_path_in_a_fresh_clone(clone, tmp_path, capfd):
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in DROPPED}
    # The packages are needed once only: a cache would double the room they take.
    environment = {**kept, "HOME": str(tmp_path / "home"), "PIP_NO_CACHE_DIR": "1"}
    began = time.monotonic()
    result = subprocess.run(
        ["make", "demo"],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    with capfd.disabled():
        print(f"\nmake demo took {time.monotonic() - began:.0f} s, installation included")
    assert result.returncode == 0, result.stdout
    installing, begins, shown = result.stdout.partition("tfpt demo: everything is written to demo/")
    assert begins, result.stdout
    assert "Installing tfpt into .venv" in installing
    lines = [line for line in shown.splitlines() if not line.startswith("│")]  # no one's texts
    assert [line for line in lines if NOISE.search(line)] == []

    measures = dict(re.findall(r"│ (.*?\S) +│ ([\d.]+) │", shown))
    assert set(REPORT) <= set(measures)
    accuracy, majority = float(measures[REPORT[2]]), float(measures[REPORT[3]])
    assert accuracy > majority + 0.2
    assert float(measures[REPORT[0]]) > 0.1
    assert "REST and gRPC answer the same." in shown
    for folder in ("runs/bert", "runs/libraries", "models/libraries/1", "stores/train", "data"):
        assert (clone / "demo" / folder).is_dir()
    # What was made is not for git.
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""
