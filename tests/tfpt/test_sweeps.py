"""`tfpt finetune --sweep`: several values of a field, and one of them chosen by validation."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import tiny_bert
from click.testing import CliRunner
from run_folders import a_run

from tfpt import (
    callbacks,
    config,
    distribution,
    evaluation,
    preparation,
    sweeps,
    training,
)
from tfpt.cli import main
from tfpt.recipes import answer, classify, embed, label, score, tag

RATES = "training.learning_rate"


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The options of a fine-tuning of a tiny model from scratch."""
    folder = tmp_path_factory.mktemp("words")
    random = np.random.default_rng(0)
    for name in ("train", "validation", "test"):
        rows = [
            f"word{one} word{random.integers(20)},{one % 2}" for one in random.integers(20, size=32)
        ]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    tiny_bert.TOKENIZER.save(folder / "vocab.txt")
    sizes = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    numbers = {f"model.{name}": value for name, value in sizes.items()}
    numbers |= {"data.name": folder, "data.vocabulary": folder / "vocab.txt"}
    numbers |= {"data.sequence_length": 8, "training.epochs": 2, "training.batch_size": 16}
    return [word for name, n in numbers.items() for word in ("--set", f"{name}={n}")]


def invoked(*arguments):
    return CliRunner().invoke(main, ["finetune", "classify", *map(str, arguments)])


def planned(*swept, assignments=("seed=3",), num_seeds=None):
    return sweeps.combinations(classify.config(), list(assignments), list(swept), num_seeds)


def with_histories(out, combinations, monitor, histories):
    """Run folders that were never trained, each with the measures of its epochs."""
    paths = [path for one in combinations for path in one.runs(out)]
    for path, values in zip(paths, histories, strict=True):
        run = a_run(path)
        records = [{"epoch": n, "step": n, monitor: value} for n, value in enumerate(values)]
        text = "".join(json.dumps(record) + "\n" for record in records)
        (run.path / callbacks.HISTORY).write_text(text)
    return paths


def test_a_combination_is_a_folder_and_a_seed_is_a_run_in_it(tmp_path):
    found = planned(f"{RATES}=1e-5, 0.001", "training.patience=none,2", num_seeds=2)
    assert [one.values for one in found] == [
        {RATES: rate, "training.patience": patience}
        for rate in (1e-5, 1e-3)
        for patience in (None, 2)
    ]
    names = [str(path.relative_to(tmp_path)) for one in found for path in one.runs(tmp_path)]
    assert names[:2] == [f"{RATES}=1e-05,training.patience=none/seed-{n}" for n in (3, 4)]
    assert len(set(names)) == 8
    for settings, seed in zip(found[1].runs(tmp_path).values(), (3, 4), strict=True):
        assert settings.training == config.FineTuning(learning_rate=1e-5, patience=2)
        assert settings.seed == seed


def test_the_order_of_the_fields_names_no_other_folder(tmp_path):
    swept = (f"{RATES}=1e-5,1e-3", "training.patience=none,2")
    there, here = (
        {path for one in planned(*order) for path in one.runs(tmp_path)}
        for order in (swept, swept[::-1])
    )
    assert there == here


@pytest.mark.parametrize(
    ("recipe", "swept"),
    [
        (classify, "data.name=a,b"),
        (embed, "training.batch_size=32,96"),
        (embed, "temperature=0.05,0.1"),
        (answer, "data.stride=64,128"),
        (tag, "data.validation=a,b"),
        (tag, "data.sequence_length=16,128"),
        (embed, "data.least_score=3,4"),
        (answer, "data.held_out_rate=0.1,0.2"),
        (classify, "data.label=a,b"),
        (score, "data.score=a,b"),
        (label, "data.separator=;,|"),
    ],
)
def test_what_changes_the_meaning_of_the_monitor_cannot_be_chosen_by_it(recipe, swept, tmp_path):
    scored = ["data.text=a,b", "data.score=s"] if "least_score" in swept else []
    found = sweeps.combinations(recipe.config(), scored, [swept])
    field = swept.partition("=")[0]
    with pytest.raises(ValueError, match=f"`{field}` changes what {recipe.MONITOR} is measured"):
        sweeps.check(recipe, found, tmp_path / "runs")


def test_a_swept_seed_names_the_run_and_no_folder(tmp_path):
    found = planned("seed=7,5", assignments=())
    paths = [path for one in found for path in one.runs(tmp_path)]
    assert paths == [tmp_path / "seed-7", tmp_path / "seed-5"]


def test_what_no_folder_can_be_named_by_is_quoted(tmp_path):
    (one, other) = planned("start=runs/a b,..", assignments=())
    assert [one.name, other.name] == ["start=runs%2Fa%20b", "start=.."]
    assert next(iter(one.runs(tmp_path))).parent.parent == tmp_path


def test_ranges_are_those_of_the_whole_combination():
    """The batch size alone, or the number of its parts alone, would be refused."""
    parts = ("training.step.accumulation_steps=3",)
    found = planned("training.batch_size=33,66", assignments=parts)
    assert [one.settings.training.batch_size for one in found] == [33, 66]


def test_the_best_mean_over_seeds_at_the_best_epochs_is_chosen(tmp_path):
    """The first has the best single run, the last the best last epochs."""
    found = planned(f"{RATES}=1e-5,3e-5,1e-4", num_seeds=2)
    monitor = classify.MONITOR
    histories = [[0.9, 0.1], [0.2, 0.3], [0.7, 0.5], [0.5, 0.8], [0.1, 0.7], [0.1, 0.7]]
    with_histories(tmp_path, found, monitor, histories)
    record = sweeps.choose(found, tmp_path, monitor)
    assert record["chosen"] == {
        "values": {RATES: 3e-5},
        "seeds": [3, 4],
        "best_run": f"{RATES}=3e-05/seed-4",
    }
    assert [one["validation"] for one in record["runs"]] == [0.9, 0.3, 0.7, 0.8, 0.7, 0.7]
    assert [one["epoch"] for one in record["runs"]] == [0, 1, 0, 1, 1, 1]
    assert [one["seed"] for one in record["runs"]] == [3, 4] * 3
    assert [one["values"][RATES] for one in record["runs"]] == [1e-5, 1e-5, 3e-5, 3e-5, 1e-4, 1e-4]
    first, second, third = record["combinations"]
    assert first["mean"] == pytest.approx(0.6)
    assert second["deviation"] == pytest.approx(statistics.stdev([0.7, 0.8]))
    assert third == {"values": {RATES: 1e-4}, "mean": 0.7, "deviation": 0.0}


def test_of_a_loss_the_least_is_chosen_and_among_equals_the_first(tmp_path):
    found = planned(f"{RATES}=1e-5,3e-5,1e-4", num_seeds=2)
    histories = [[3, 2], [2, 3], [1, 5], [4, 1], [1, 1], [1, 1]]
    with_histories(tmp_path, found, score.MONITOR, histories)
    chosen = sweeps.choose(found, tmp_path, score.MONITOR)["chosen"]
    assert chosen["best_run"] == f"{RATES}=3e-05/seed-3"


def test_a_combination_with_a_run_that_broke_is_not_chosen(tmp_path):
    found = planned(f"{RATES}=1e-5,1", num_seeds=2)
    paths = with_histories(tmp_path, found, classify.MONITOR, [[0.5], [0.6], [0.9], [0.9]])
    record = sweeps.choose(found, tmp_path, classify.MONITOR, {paths[3]: "The loss is nan."})
    assert record["chosen"]["values"] == {RATES: 1e-5}
    assert record["runs"][3]["validation"] is None
    assert record["runs"][3]["stopped"] == "The loss is nan."
    assert record["combinations"][1] == {"values": {RATES: 1}, "mean": None, "deviation": None}
    with pytest.raises(ValueError, match="nothing to choose"):
        sweeps.choose(found, tmp_path, classify.MONITOR, {paths[1]: "", paths[2]: ""})


def test_the_chosen_run_alone_is_evaluated_and_a_repeated_command_trains_nothing(
    given, tmp_path, monkeypatch
):
    out = tmp_path / "runs"
    # Enough steps for what is learned to be more than chance.
    longer = ("--set", "training.epochs=10")
    command = (*given, *longer, "--sweep", f"{RATES}=1e-8,3e-2", "--out", out)
    result = invoked(*command)
    assert result.exit_code == 0, result.output
    record = json.loads((out / "sweep.json").read_text())
    bad, good = (out / f"{RATES}={rate}" / "seed-0" for rate in ("1e-08", "0.03"))
    measures = []
    for path in (bad, good):
        lines = (path / callbacks.HISTORY).read_text().splitlines()
        measures.append(max(json.loads(line)[classify.MONITOR] for line in lines))
    assert measures[0] < measures[1]
    assert [one["validation"] for one in record["runs"]] == measures
    assert record["chosen"]["best_run"] == str(good.relative_to(out))
    assert not (bad / "evaluation.json").exists()
    evaluation = json.loads((good / "evaluation.json").read_text())
    assert record["chosen"]["split"] == evaluation["split"] == "test"
    for name in ("accuracy", "macro_f1", "loss"):
        one = {"values": [evaluation[name]], "mean": evaluation[name], "deviation": None}
        assert record["chosen"]["measures"][name] == one
    assert result.stdout.splitlines()[-1] == str(good)
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("│ 0.03 ")]
    assert line.split()[-2:] == ["chosen", "│"]
    assert f"{measures[1]:.4f}" in line
    assert not (out / "best-run").readlink().is_absolute()
    assert (out / "best-run").resolve() == good.resolve()
    assert len(list(out.glob("events.out.tfevents.*"))) == 1

    released = []
    monkeypatch.setattr(distribution, "release", released.append)
    steps = sorted(out.glob("*/*/checkpoints/*"))
    again = invoked(*command)
    assert again.exit_code == 0, again.output
    assert again.output.count("was complete already") == 2
    # Those that nothing was left to train of too, and the one that was evaluated.
    assert [type(one).__name__ for one in released] == ["Model"] * 3
    assert sorted(out.glob("*/*/checkpoints/*")) == steps
    assert json.loads((out / "sweep.json").read_text()) == record
    assert len(list(out.glob("events.out.tfevents.*"))) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sweep", "training.learning_rates=1,2"], "Did you mean `training.learning_rate`?"),
        (["--sweep", "training=1,2"], "`training` is a group of fields"),
        (["--sweep", f"{RATES}=1e-5,fast"], f"`{RATES}` takes a number; received 'fast'."),
        (["--sweep", f"{RATES}=1e-5,"], f"`{RATES}` takes a number; received ''."),
        (["--sweep", f"{RATES}=1e-5,-1"], "must be a positive number; received learning_rate=-1.0"),
        (["--sweep", f"{RATES}=1e-5,3e-5,0.00001"], "has the same value twice"),
        (
            ["--sweep", f"{RATES}=1e-5"],
            f"has one value; a sweep chooses among several. Use --set {RATES}",
        ),
        (["--sweep", RATES], "Write a sweep as FIELD=VALUE,VALUE; received"),
        (["--sweep", f"{RATES}=1,2", "--sweep", f"{RATES}=3,4"], f"`{RATES}` is swept twice"),
        (
            ["--sweep", f"{RATES}=1,2", "--set", f"{RATES}=3"],
            f"`{RATES}` is swept, and {RATES}=3 sets it too",
        ),
        (["--sweep", "start=a,b", "--from", "c"], "`start` is swept, and start=c sets it too"),
        (["--sweep", "seed=1,2", "--seeds", "2"], "both choose the seeds; leave one of them out."),
        (
            ["--sweep", "model.num_layers=1,2", "--from", "c"],
            "comes from c; leave out --sweep model.",
        ),
        (["--sweep", "data.text=a,b"], "`data.text` has several values itself"),
        (["--sweep", f"start={'a' * 300},b"], "would have a name of 306 bytes"),
        (["--sweep", f"{RATES}=1,2", "--strategy", "multi_worker"], "--sweep trains several times"),
        (["--sweep", f"{RATES}=1,2", "--from", "nowhere"], "There is no folder nowhere"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_anything_is_trained(words, told, tmp_path):
    out = tmp_path / "runs"
    result = invoked(*words, "--out", out)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert told in line
    assert not out.exists()


def test_a_later_value_that_is_not_there_is_told_before_the_first_is_trained(given, tmp_path):
    at = next(n for n, word in enumerate(given) if word.startswith("data.vocabulary="))
    rest, there = [*given[: at - 1], *given[at + 1 :]], given[at]
    result = invoked(*rest, "--sweep", f"{there},{tmp_path}/no", "--out", tmp_path / "runs")
    assert result.exit_code == 1
    assert f"{tmp_path}/no" in result.output.splitlines()[-1]
    assert "Fine-tuning" not in result.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("swept", "told"),
    [
        ("training.batch_size=16,0", "batch_size"),
        ("training.step.steps_per_execution=1,7", "are no multiple of it. Choose a divisor."),
    ],
)
def test_what_does_not_fit_the_data_is_told_before_the_first_is_trained(
    given, tmp_path, swept, told
):
    result = invoked(*given, "--sweep", swept, "--out", tmp_path / "runs")
    assert result.exit_code == 1
    assert told in result.output.splitlines()[-1]
    assert "Fine-tuning" not in result.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("swept", "num_prepared"),
    [
        (("dropout_rate=0.1,0.2", "training.epochs=2,3", "seed=1,2"), 1),
        (("training.batch_size=8,16", "training.learning_rate=1e-4,1e-3"), 2),
    ],
)
def test_data_is_read_again_where_it_may_be_another(tmp_path, monkeypatch, swept, num_prepared):
    prepared = []
    monkeypatch.setattr(preparation, "fine_tuning", lambda recipe, one: prepared.append(one))
    found = planned(*swept, assignments=[])
    sweeps.check(classify, found, tmp_path)
    assert len(found) > len(prepared) == num_prepared


def test_a_loss_that_breaks_ends_its_run_and_not_the_sweep(tmp_path, monkeypatch):
    """And only the runs of the chosen combination are evaluated, all of them."""
    reads = {1e-4: (0.5, 0.6), 1e-3: (0.9, 0.7), 1e-2: (0.99, None), 1e-1: (None, None)}
    evaluated = []

    def train(recipe, settings, path, **_):
        (value,) = reads[settings.training.learning_rate][settings.seed : settings.seed + 1]
        if value is None:
            raise FloatingPointError("The loss is nan.")
        run = a_run(Path(path))
        (run.path / callbacks.HISTORY).write_text(json.dumps({"epoch": 0, recipe.MONITOR: value}))

    def evaluate(recipe, path):
        evaluated.append(path)
        (path / "evaluation.json").write_text('{"split": "validation"}')
        return {"accuracy": len(evaluated) / 10}

    monkeypatch.setattr(training, "finetune", train)
    monkeypatch.setattr(evaluation, "evaluate_run", evaluate)
    monkeypatch.setattr(sweeps, "check", lambda *_: None)  # there is no run to begin with
    out = tmp_path / "runs"
    rates = ",".join(map(str, reads))
    result = invoked("--sweep", f"{RATES}={rates}", "--seeds", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert evaluated == [out / f"{RATES}=0.001" / f"seed-{seed}" for seed in (0, 1)]
    assert result.stdout.splitlines()[-1] == str(evaluated[0])
    assert "there are no test rows" in result.stdout
    assert result.stdout.count("not finite") == 4  # mean and deviation of two
    assert result.stderr.count("The loss is nan.") == 3
    chosen = json.loads((out / "sweep.json").read_text())["chosen"]
    assert chosen["measures"]["accuracy"] == {
        "values": [0.1, 0.2],
        "mean": pytest.approx(0.15),
        "deviation": pytest.approx(statistics.stdev([0.1, 0.2])),
    }


def test_a_folder_of_something_else_is_left_alone(given, tmp_path):
    run = a_run(tmp_path / "run")
    sweep = ("--sweep", f"{RATES}=1,2")
    result = invoked(*given, *sweep, "--out", run.path)
    assert result.exit_code == 1
    assert f"{run.path} is a run folder; name another" in result.output
    (tmp_path / "runs" / "best-run").mkdir(parents=True)
    result = invoked(*given, *sweep, "--out", tmp_path / "runs")
    assert result.exit_code == 1
    assert "is in the place of the link to the best run" in result.output
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["best-run"]


def test_a_sweep_needs_a_folder_and_is_for_fine_tuning():
    result = invoked("--sweep", f"{RATES}=1,2")
    assert result.exit_code == 2
    assert "Missing option '--out'" in result.output
    result = CliRunner().invoke(main, ["pretrain", "bert", "--sweep", f"{RATES}=1,2"])
    assert result.exit_code == 2
    assert "No such option" in result.output
    assert "--sweep" in result.output
    result = CliRunner().invoke(main, ["finetune", "bert", "--sweep", f"{RATES}=1,2"])
    assert result.exit_code == 1
    assert "bert is a recipe for `tfpt pretrain`, not for `tfpt finetune`." in result.output
