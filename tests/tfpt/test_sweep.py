"""`tfpt finetune --sweep`: a run for each combination, chosen by validation, tested once."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_bert
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from tfpt import combinations, sweep, training
from tfpt.checkpoints import Run
from tfpt.cli import main
from tfpt.recipes import classify

RATE = "training.learning_rate"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Rows of two classes that a tiny model tells apart, and a vocabulary."""
    folder = tmp_path_factory.mktemp("sweep")
    random = np.random.default_rng(0)
    for name, count in (("train", 128), ("validation", 32), ("test", 16)):
        labels = random.integers(0, 2, count)
        rows = [f"word{random.integers(10) + 10 * label},{label}" for label in labels]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    tiny_bert.TOKENIZER.save(folder / "vocab.txt")
    return folder


def command(data, out, *options):
    sizes = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    chosen = [f"model.{name}={value}" for name, value in sizes.items()]
    chosen += [f"data.name={data}", f"data.vocabulary={data / 'vocab.txt'}", "seed=3"]
    chosen += ["data.sequence_length=8", "training.epochs=1", "training.batch_size=16"]
    settings = [word for one in chosen for word in ("--set", one)]
    return ["finetune", "classify", *settings, *options, "--out", str(out)]


@pytest.fixture
def trained(monkeypatch):
    """The folders that were trained in, in order."""
    calls, finetune = [], training.finetune

    def counted(recipe, settings, out, **options):
        calls.append(str(out))
        return finetune(recipe, settings, out, **options)

    monkeypatch.setattr(training, "finetune", counted)
    return calls


def test_a_sweep_goes_the_whole_way_and_passes_over_what_is_finished(data, trained, tmp_path):
    out = tmp_path / "runs"
    result = CliRunner().invoke(main, command(data, out, "--sweep", f"{RATE}=1e-6,3e-2"))
    assert result.exit_code == 0, result.output
    paths = [out / f"{RATE}={rate}" / "seed-3" for rate in ("1e-06", "0.03")]
    assert trained == [str(path) for path in paths]
    histories = [(path / "history.jsonl").read_text() for path in paths]
    found = [json.loads(one)["val_classification_accuracy"] for one in histories]
    assert found[1] > found[0]
    record = json.loads((out / "sweep.json").read_text())
    assert [one["mean"] for one in record["combinations"]] == found[::-1]
    assert record["best"]["settings"] == {RATE: 0.03, "seed": 3}
    assert f"{found[1]:.4f}" in result.output
    # The test rows are looked at for what was chosen, and for nothing else.
    assert not (paths[0] / "evaluation.json").exists()
    tested = json.loads((paths[1] / "evaluation.json").read_text())
    assert tested["split"] == "test"
    assert record["best"]["test"]["accuracy"]["values"] == [tested["accuracy"]]
    # `best` is a run as any other, also where the folder is moved.
    moved = out.rename(tmp_path / "moved")
    assert (moved / "best").resolve() == (moved / f"{RATE}=0.03" / "seed-3").resolve()
    assert training.open_run(moved / "best").label_names == ("0", "1")

    # With another value only its run is trained.
    trained.clear()
    more = command(data, moved, "--sweep", f"{RATE}=3e-2,1e-6,1e-5")
    again = CliRunner().invoke(main, more)
    assert again.exit_code == 0, again.output
    assert trained == [str(moved / f"{RATE}=1e-05" / "seed-3")]
    after = json.loads((moved / "sweep.json").read_text())
    assert after["best"] == record["best"]
    assert [one["path"] for one in after["runs"]] == [
        f"{RATE}={rate}/seed-3" for rate in ("0.03", "1e-06", "1e-05")
    ]


class Trainer:
    """Takes the place of training: gives the runs of a plan the validations it was told."""

    def __init__(self, monitor, validations):
        self.recipe = SimpleNamespace(__name__="tfpt.recipes.classify", MONITOR=monitor)
        self.validations, self.calls = validations, []

    def __call__(self, number, settings, path):
        self.calls.append(number)
        values = self.validations[settings.training.epochs, settings.seed]
        run = Run(path, tokenizer=tiny_bert.TOKENIZER, settings=settings)
        if values is None:
            raise FloatingPointError("The loss is not finite.")
        lines = [
            json.dumps({"epoch": epoch, "step": 10 * epoch, self.recipe.MONITOR: value})
            for epoch, value in enumerate(values)
        ]
        (path / "history.jsonl").write_text("\n".join(lines) + "\n")
        run.write_record("evaluation.json", {"split": "test"})


@pytest.fixture
def summarized(monkeypatch):
    """The folders whose test rows were looked at."""
    found = []

    def summarize(recipe, out, seeds):
        found.append(out.name)
        return {"seeds": list(seeds), "accuracy": {"values": [0.5], "mean": 0.5, "deviation": None}}

    monkeypatch.setattr(sweep.seeds, "summarize", summarize)
    return found


PLAN = combinations.plan(classify.config(), [], ["training.epochs=1,2,3"], 2)


@pytest.mark.parametrize(
    ("monitor", "validations", "order", "path"),
    [
        (  # the mean counts, not the best single run
            "val_x_accuracy",
            {(1, 0): [0.1, 0.9], (1, 1): [0.2], (2, 0): [0.7, 0.6], (2, 1): [0.8], (3, 0): [0.3]},
            [2, 1, 3],
            "training.epochs=2/seed-1",
        ),
        (
            "val_x_loss",
            {(1, 0): [0.1, 0.9], (1, 1): [0.9], (2, 0): [0.7, 0.6], (2, 1): [0.8], (3, 0): [0.3]},
            [3, 1, 2],
            "training.epochs=3/seed-0",
        ),
        (  # a combination of which a run failed is not chosen; of equals the first is
            "val_x_accuracy",
            {(1, 0): None, (1, 1): [1.0], (2, 0): [0.25], (2, 1): [0.75], (3, 0): [0.5]},
            [2, 3, 1],
            "training.epochs=2/seed-1",
        ),
    ],
)
def test_the_mean_of_the_best_epochs_by_validation_chooses(
    monitor, validations, order, path, summarized, tmp_path
):
    train = Trainer(monitor, {**validations, (3, 1): [0.5]})
    record = sweep.sweep(train.recipe, PLAN, tmp_path / "runs", train)
    assert [one["settings"]["training.epochs"] for one in record["combinations"]] == order
    assert record["best"]["path"] == path
    assert summarized == []
    split, measures = sweep.evaluate_best(train.recipe, record, tmp_path / "runs")
    assert split == "test"
    assert measures == {"accuracy": {"values": [0.5], "mean": 0.5, "deviation": None}}
    assert summarized == [path.split("/")[0]]
    written = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert written == {**record, "best": {**record["best"], "test": measures}}
    assert train.calls == [1, 2, 3, 4, 5, 6]
    # Also a run that failed is not gone through again.
    again = Trainer(monitor, {})
    assert sweep.sweep(train.recipe, PLAN, tmp_path / "runs", again) == record
    assert again.calls == []


def test_where_every_combination_fails_the_record_tells_of_each(summarized, tmp_path):
    train = Trainer("val_loss", dict.fromkeys([(e, s) for e in (1, 2, 3) for s in (0, 1)]))
    with pytest.raises(FloatingPointError, match="No combination was trained to its end"):
        sweep.sweep(train.recipe, PLAN, tmp_path, train)
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert [run["failed"] for run in record["runs"]] == ["The loss is not finite."] * 6
    assert not (tmp_path / "best").exists()
    assert summarized == []


def test_a_sweep_that_was_stopped_goes_on_and_other_settings_are_looked_at(summarized, tmp_path):
    validations = {(e, s): [0.5] for e in (1, 2, 3) for s in (0, 1)}

    class Stopped(Trainer):
        def __call__(self, number, settings, path):
            if number == 4:
                raise KeyboardInterrupt
            super().__call__(number, settings, path)

    train = Stopped("val_accuracy", validations)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(train.recipe, PLAN, tmp_path, train)
    goes_on = Trainer("val_accuracy", validations)
    sweep.sweep(goes_on.recipe, PLAN, tmp_path, goes_on)
    assert goes_on.calls == [4, 5, 6]
    # With another batch size nothing is finished; the run folder itself refuses.
    assignments = ["training.batch_size=8"]
    other = combinations.plan(classify.config(), assignments, ["training.epochs=1,2"], 2)
    with pytest.raises(ValueError, match=r"training\.batch_size was 32 and is now 8"):
        sweep.sweep(goes_on.recipe, other, tmp_path, Trainer("val_accuracy", validations))


def test_tensorboard_compares_what_is_swept(summarized, tmp_path):
    train = Trainer("val_x_accuracy", {(e, s): [0.5] for e in (1, 2, 3) for s in (0, 1)})
    sweep.sweep(train.recipe, PLAN, tmp_path, train)
    sweep.sweep(train.recipe, PLAN, tmp_path, train)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    events = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    data = events.SummaryMetadata(".", "_hparams_/experiment").plugin_data.content
    assert b"training.epochs" in data
    assert b"epoch/x_accuracy" in data


def test_what_is_in_the_place_of_a_sweep_is_left_alone(tmp_path):
    train = Trainer("val_loss", {})
    Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER)
    with pytest.raises(FileExistsError, match="run is a run; the runs of a sweep need a folder"):
        sweep.sweep(train.recipe, PLAN, tmp_path / "run", train)
    (tmp_path / "other" / "best").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="best exists and is no link"):
        sweep.sweep(train.recipe, PLAN, tmp_path / "other", train)
    assert train.calls == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--sweep", "training.epochs=1,x"], "takes a whole number; received 'x'."),
        (["--sweep", "training.batch_size=8,16"], "but also set to 16; leave one of them out."),
        (["--sweep", "seed=3,4", "--set", "seed=5"], "`seed` is swept, but also set to"),
        (["--sweep", "training.strategy=one,multi_worker"], "--sweep trains several times in one"),
        (
            ["--sweep", "training.strategy=one,auto", "--strategy", "one"],
            "`training.strategy` is swept, but also set to one",
        ),
    ],
)
def test_mistakes_are_one_sentence_before_anything_is_trained(
    data, trained, options, sentence, tmp_path
):
    result = CliRunner().invoke(main, command(data, tmp_path / "runs", *options))
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert sentence in line
    assert not (tmp_path / "runs").exists()
    assert trained == []


def test_the_encoder_of_a_run_is_not_swept():
    options = ["--from", "runs/bert", "--sweep", "model.num_layers=1,2", "--out", "x"]
    result = CliRunner().invoke(main, ["finetune", "classify", *options])
    assert result.exit_code == 1
    assert "leave out --sweep model.num_layers=1,2" in result.output
