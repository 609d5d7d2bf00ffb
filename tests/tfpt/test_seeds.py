"""`tfpt finetune --seeds`: several trainings, and what of the result is chance."""

import json

import numpy as np
import pytest
import tiny_bert
from click.testing import CliRunner

from tfpt.cli import main


@pytest.fixture
def words(tmp_path):
    """A command that fine-tunes a tiny model from scratch twice."""
    (tmp_path / "rows").mkdir()
    random = np.random.default_rng(0)
    for name in ("train", "validation", "test"):
        rows = [f"word{random.integers(20)} word{random.integers(20)},{n % 2}" for n in range(48)]
        (tmp_path / "rows" / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    tiny_bert.TOKENIZER.save(tmp_path / "vocab.txt")
    sizes = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    chosen = [f"model.{name}={value}" for name, value in sizes.items()]
    chosen += [f"data.name={tmp_path / 'rows'}", f"data.vocabulary={tmp_path / 'vocab.txt'}"]
    chosen += ["data.sequence_length=8", "training.epochs=1", "training.batch_size=16", "seed=3"]
    chosen += ["training.learning_rate=1e-2"]
    settings = [word for one in chosen for word in ("--set", one)]
    return ["finetune", "classify", *settings, "--out", str(tmp_path / "runs")]


def test_each_seed_has_a_run_and_the_summary_is_of_their_evaluations(words, tmp_path):
    result = CliRunner().invoke(main, [*words, "--seeds", "2"])
    assert result.exit_code == 0, result.output
    runs = [tmp_path / "runs" / f"seed-{seed}" for seed in (3, 4)]
    for run, seed in zip(runs, (3, 4), strict=True):
        assert json.loads((run / "config.json").read_text())["config"]["seed"] == seed
    found = [json.loads((run / "evaluation.json").read_text()) for run in runs]
    assert found[0]["loss"] != found[1]["loss"]
    record = json.loads((tmp_path / "runs" / "seeds.json").read_text())
    assert record["seeds"] == [3, 4]
    for measure in ("accuracy", "macro_f1", "loss"):
        values = [one[measure] for one in found]
        assert record[measure]["values"] == values
        assert record[measure]["mean"] == pytest.approx(np.mean(values))
        assert record[measure]["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert f"{record['accuracy']['mean']:.4f}" in result.output
    again = CliRunner().invoke(main, [*words, "--seeds", "2"])
    assert again.exit_code == 0, again.output
    assert again.output.count("was complete already") == 2
    assert json.loads((tmp_path / "runs" / "seeds.json").read_text()) == record


def test_one_seed_is_refused_and_workers_have_no_second_training(words):
    result = CliRunner().invoke(main, [*words, "--seeds", "1"])
    assert result.exit_code == 2
    assert "1 is not in the range x>=2" in result.output
    result = CliRunner().invoke(main, [*words, "--seeds", "2", "--strategy", "multi_worker"])
    assert result.exit_code == 1
    assert "--seeds trains several times in one process" in result.output
