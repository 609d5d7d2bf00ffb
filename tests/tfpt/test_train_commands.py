"""`tfpt pretrain --dry-run`, `--strategy`, and what they refuse."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfpt.cli import main

TEXTS = "the cat sat on the mat\nit purred\n\na dog ran to the park\nit barked at the cat\n\n" * 4
SIZE = {"num_layers": 2, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}


def invoked(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Those that name a store in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text(TEXTS)
    for command in (
        ("vocabulary", "texts.txt", "--size", 50, "--out", "vocab.txt"),
        ("store", "texts.txt", "--vocabulary", "vocab.txt", "--out", "store"),
    ):
        assert invoked(*command).exit_code == 0
    numbers = {f"model.{name}": value for name, value in SIZE.items()}
    numbers |= {"data.store": "store", "data.sequence_length": 24, "training.batch_size": 2}
    return [word for name, n in numbers.items() for word in ("--set", f"{name}={n}")]


def test_a_dry_run_tells_everything_and_makes_nothing(settings, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    result = invoked("pretrain", "bert", *settings, "--dry-run", "--out", "run")
    assert result.exit_code == 0, result.output
    assert sorted(tmp_path.rglob("*")) == before
    printed, _, batch = result.stdout.partition("batch 0: 2 rows of 24 tokens; ")
    resolved, _, facts = printed.partition("\n}\n")
    assert json.loads(resolved + "}")["model"]["num_layers"] == 2
    told = dict(line.split(maxsplit=1) for line in facts.splitlines() if line.strip())
    assert told["devices"] == "One device, batches of 2 rows"
    assert told["training"] == "10,000 steps of 2 rows"
    # 50 entries, 2 segments, 512 positions; 2 layers; the pooler, masked words, next sentences.
    embeddings = (50 + 2 + 512) * 16 + 32
    layer = 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 64
    heads = (16 * 16 + 16) + (16 * 16 + 3 * 16 + 50) + (2 * 16 + 2)
    assert told["parameters"] == f"{embeddings + 2 * layer + heads:,}"
    assert re.fullmatch(r"\S+ MFLOP in a step, \S+ GFLOP in all", told["operations"])
    assert re.fullmatch(
        r"about \S+ kB on each device, besides TensorFlow's own: weights .*", told["memory"]
    )
    assert "[CLS]" in batch


def test_rows_of_several_lengths_are_planned_trained_on_and_watched(settings):
    """Shorter ones come in larger batches. Operations of a step of any of them are not told."""
    words = ["drawing.layout=bucketed", "drawing.num_buckets=2", "training.log_steps=1"]
    words += ["training.batch_size=4", "training.total_steps=6"]
    words += ["training.warmup_steps=1", "data.validation_store=store"]
    words += ["training.validation_steps=2", "training.steps_per_epoch=3"]
    given = [*settings, *(word for one in words for word in ("--set", one))]
    told = []
    for layout in ("bucketed", "padded"):
        more = ["--set", f"drawing.layout={layout}"]
        result = invoked("pretrain", "bert", *given, *more, "--dry-run")
        assert result.exit_code == 0, result.output
        told.append(float(re.search(r"operations +(\S+) MFLOP in a step", result.output)[1]))
    assert 0.6 < told[0] / told[1] < 1.5  # as many tokens, whatever the bucket of the first batch
    result = invoked("pretrain", "bert", *given, "--out", "run")
    assert result.exit_code == 0, result.output
    lines = Path("run/history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 6]
    logs = EventAccumulator("run/logs/train", {"tensors": 0}).Reload()
    names = {*logs.Tags()["tensors"]}
    assert "speed/tokens_per_second" in names
    assert "speed/model_flops_utilization" not in names


def test_a_dry_run_needs_no_run_folder_but_a_training_does(settings):
    assert invoked("pretrain", "bert", *settings, "--dry-run").exit_code == 0
    for command in (("pretrain", "bert", *settings), ("finetune", "classify")):
        result = invoked(*command)
        assert result.exit_code == 2
        assert "Missing option '--out'" in result.stderr


def test_what_is_wrong_with_the_settings_shows_in_a_dry_run(settings):
    result = invoked("pretrain", "bert", *settings, "--set", "data.store=no", "--dry-run")
    assert result.exit_code == 1
    assert "There is no folder no; a token store is needed." in result.stderr


def test_the_strategy_is_a_setting(settings):
    name = ("--set", "training.strategy=one")
    for words in (("--strategy", "one"), ("--strategy", "one", *name)):
        result = invoked("pretrain", "bert", *settings, *words, "--dry-run")
        assert '"strategy": "one"' in result.stdout


@pytest.mark.parametrize("command", [("pretrain", "bert"), ("finetune", "classify")])
def test_two_strategies_are_refused(command):
    result = invoked(
        *command, "--strategy", "one", "--set", "training.strategy=mirrored", "--out", "run"
    )
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: --strategy one and --set training.strategy=mirrored differ; leave one of them "
        "out.\n"
    )


def test_an_unknown_strategy_is_refused_with_those_there_are():
    result = invoked("pretrain", "bert", "--strategy", "gpu", "--dry-run")
    assert result.exit_code == 2
    assert "'auto', 'one', 'mirrored', 'multi_worker', 'tpu'" in result.stderr


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0 "), (999, "999 "), (1_234, "1.23 k"), (999_900, "1 M"), (5e13, "50 T")],
)
def test_numbers_are_told_by_prefixes(value, told):
    from tfpt import dry_run

    assert dry_run._prefixed(value) == told
