"""The scripts of tests/benchmarks: how they reckon, and that they run."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tfpt import entities

FOLDER = Path(__file__).parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

import entity_tagging  # noqa: E402
import step_work  # noqa: E402
import turns  # noqa: E402


def test_steps_of_the_warm_up_do_not_count(monkeypatch):
    wall, processor = iter([0.0, 9.0, 9.1, 9.3, 9.4]), iter([0.0, 18.0, 18.2, 18.4, 18.6])
    monkeypatch.setattr(time, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(time, "process_time", lambda: next(processor))
    clock = step_work.Clock(warmup=2)
    for _ in range(5):
        clock.tick()
    result = clock.result()
    assert result["steps"] == 3
    assert result["wall_ms"] == pytest.approx(100)
    assert result["mean_wall_ms"] == pytest.approx(400 / 3)
    assert result["cpu_ms"] == pytest.approx(200)


def test_a_ratio_is_that_of_runs_side_by_side():
    # The machine was ten times slower in the second round, and in half of the third.
    runs = {
        "ours": [{"ms": 1.0}, {"ms": 10.0}, {"ms": 1.0}],
        "peer": [{"ms": 2.0}, {"ms": 20.0}, {"ms": 20.0}],
    }
    assert turns.ratio(runs, "peer", "ours", "ms") == 2
    assert turns.median(runs["peer"], "ms") / turns.median(runs["ours"], "ms") == 20


def test_longer_rows_hold_the_same_tokens_and_masks():
    work = step_work.SIZES["small"]
    for longer in step_work.lengths(work):
        assert longer.batch_size * longer.sequence_length == work.batch_size * work.sequence_length
        assert longer.batch_size * longer.num_masks == work.batch_size * work.num_masks


def test_masks_of_a_row_are_at_different_places_and_never_at_the_first():
    positions = step_work.SIZES["small"].batch()["positions"]
    assert all(len(set(row)) == len(row) for row in positions.tolist())
    assert positions.min() >= 1
    assert positions.max() < 128


def test_entities_of_sentences_add_up_to_those_of_a_report():
    names = ["O", "B-org", "I-org", "B-per", "I-per"]
    random = np.random.default_rng(0)
    true, predicted = (
        [tuple(random.choice(names, length)) for length in range(1, 60)] for _ in range(2)
    )
    predicted[::2] = true[::2]
    counts = entity_tagging.entity_counts(true, predicted)
    total = entities.entity_report(true, predicted, names).total
    assert len(counts) == len(true)
    assert 0 < total.num_correct < min(total.num_predicted, total.num_true)
    assert counts.sum(axis=0).tolist() == [total.num_correct, total.num_predicted, total.num_true]


@pytest.mark.benchmark
@pytest.mark.parametrize("options", [["--peak"], ["--fit-overhead"]])
def test_the_training_step_is_measured(tmp_path, options):
    run(
        *("training_step.py", *options, "--peers", "--size", "mini", "--batch-size", "2"),
        *("--product-dtype", "float32", "--rounds", "1", "--steps", "1", "--out", tmp_path / "out"),
    )
    figures = json.loads((tmp_path / "out").read_text())
    (told,) = figures.keys() - {"machine", "options"}
    assert figures[told]["tfpt"]


@pytest.mark.benchmark
def test_the_loss_curve_is_measured(tmp_path):
    text = "a cat sat on the mat\na dog lay by the door\n" * 100
    (tmp_path / "novels").mkdir()
    for name in ("cats.txt", "dogs.txt"):  # a file is a document, and pairs need two
        (tmp_path / "novels" / name).write_text(text)
    words = sorted(set(text.split()))
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (tmp_path / "vocab.txt").write_text("\n".join([*specials, *words]) + "\n")
    run(
        *("loss_curve.py", tmp_path / "novels" / "*.txt", "--vocabulary", tmp_path / "vocab.txt"),
        *("--size", "mini", "--batch-size", "2", "--steps", "50", "--out", tmp_path / "out"),
    )
    losses = json.loads((tmp_path / "out").read_text())["losses"]
    assert {name: len(curve) for name, curve in losses.items()} == {"float32": 50, "bfloat16": 50}


@pytest.mark.benchmark
def test_the_fused_functions_are_measured():
    printed = run("fused_functions.py", "--repeats", "1", "--only", "bias_gelu_norm")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    here, plain = rows[2:]
    assert [here[:2], plain[:2]] == [["bias_gelu_norm", "here"], ["bias_gelu_norm", "plain"]]
    for _, _, forward, both in (here, plain):
        assert 0 < float(forward) < float(both)


def run(script: str, *options) -> str:
    command = [sys.executable, str(FOLDER / script), *map(str, options)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
