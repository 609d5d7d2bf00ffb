"""The run folder: what describes it, and what it refuses."""

import json
import re
import shutil
import warnings
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import tiny_bert
from run_folders import LABELS, Inner, Settings, a_run, contents, names

from tfpt import checkpoints, config, model_state, pipelines, plans
from tfpt.checkpoints import open_run


@dataclass(frozen=True, kw_only=True)
class OfRecipe:
    training: config.Training


@pytest.fixture
def run_of(tmp_path):
    return lambda training: a_run(tmp_path / "run", settings=OfRecipe(training=training))


@pytest.fixture
def run(tmp_path):
    return a_run(tmp_path / "run")


def test_a_new_run_describes_itself(tmp_path):
    run = a_run(tmp_path / "deep" / "run")
    assert names(run.path) == ["config.json", "labels.json", "vocab.settings.json", "vocab.txt"]
    description = json.loads((run.path / "config.json").read_text())
    assert description["recipe"] == "a.recipe"
    assert description["config"] == {"model": {"depth": 2}, "rate": 0.5}
    opened = open_run(run.path)
    assert (opened.recipe, opened.settings) == (run.recipe, run.settings)
    assert (opened.label_names, opened.tokenizer) == (LABELS, tiny_bert.TOKENIZER)
    assert names(tmp_path / "deep") == ["run"]


def test_a_run_is_gone_on_with_by_the_same_settings(run):
    before = contents(run.path)
    again = a_run(run.path)
    assert again.label_names == LABELS
    assert contents(run.path) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": Settings(rate=0.25)}, "rate was 0.5 and is now 0.25"),
        ({"settings": Settings(model=Inner(depth=3))}, "model.depth was 2 and is now 3"),
        ({"recipe": "another"}, "the recipe was 'a.recipe' and is now 'another'"),
        ({"label_names": ("good", "bad")}, "the labels were .'bad', 'good'. and are now .'good'"),
        (
            {"tokenizer": pipelines.Tokenizer(tiny_bert.TOKENIZER.vocabulary, lowercase=False)},
            "the vocabulary is another",
        ),
    ],
)
def test_a_run_is_not_gone_on_with_by_other_settings(run, changes, message):
    before = contents(run.path)
    with pytest.raises(ValueError, match=message):
        a_run(run.path, **changes)
    assert contents(run.path) == before


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "important.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    before = contents(tmp_path)
    for name in ("notes", "file"):
        with pytest.raises(FileExistsError, match=f"{name} exists and holds no run"):
            a_run(tmp_path / name)
    assert contents(tmp_path) == before


def test_an_empty_folder_becomes_a_run(tmp_path):
    assert open_run(a_run(tmp_path).path).label_names == LABELS


def test_a_run_that_cannot_be_begun_leaves_nothing(tmp_path, files_of_at_most):
    vocabulary = [*tiny_bert.TOKENIZER.vocabulary, *(f"more{number}" for number in range(2000))]
    with files_of_at_most(4096), pytest.raises(OSError, match="too large"):
        a_run(tmp_path / "run", tokenizer=pipelines.Tokenizer(vocabulary))
    assert names(tmp_path) == []


def test_another_worker_may_begin_the_run_at_the_same_time(tmp_path, monkeypatch):
    save = pipelines.Tokenizer.save

    def save_second(tokenizer, folder):
        monkeypatch.undo()
        a_run(tmp_path / "run")
        return save(tokenizer, folder)

    monkeypatch.setattr(pipelines.Tokenizer, "save", save_second)
    assert a_run(tmp_path / "run").label_names == LABELS
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize(
    "text",
    [b"{", b"\xff\xfe", b"[]", b"{}", b'{"recipe": "r"}', b'{"recipe": "r", "config": [1]}'],
)
def test_a_damaged_description_is_named(run, text):
    (run.path / "config.json").write_bytes(text)
    for opening in (open_run, a_run):
        with pytest.raises(ValueError, match=r"run/config\.json is damaged"):
            opening(run.path)


def test_damaged_labels_are_named(run):
    (run.path / "labels.json").write_text('["bad"')
    with pytest.raises(ValueError, match=r"run/labels\.json is damaged"):
        open_run(run.path)
    (run.path / "labels.json").write_text('["bad"]')
    with pytest.raises(ValueError, match=r"run/labels\.json is damaged: the run has 2 labels"):
        open_run(run.path)
    (run.path / "labels.json").unlink()
    with pytest.raises(ValueError, match=r"run/labels\.json is missing: the run has 2 labels"):
        open_run(run.path)


def test_what_is_no_run_is_not_opened(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is no run folder: it holds no config"):
        open_run(tmp_path)


def test_a_folder_of_runs_tells_which_there_are(run, tmp_path):
    for name in ("seed-0", "seed-1"):
        shutil.copytree(run.path, tmp_path / "runs" / name)
    told = re.escape(f"The runs in it are {tmp_path / 'runs' / 'seed-0'} and 1 more: name one")
    with pytest.raises(FileNotFoundError, match=told):
        open_run(tmp_path / "runs")
    (tmp_path / "runs" / "best-run").symlink_to("seed-1")
    told = re.escape(f"The best run of this sweep is {tmp_path / 'runs' / 'best-run'}.")
    with pytest.raises(FileNotFoundError, match=told):
        open_run(tmp_path / "runs")


def test_a_run_that_was_stopped_is_told_of_where_it_is_read(run):
    model = tiny_bert.compiled()
    plans.begin(run.path, 20)
    run.save(model)
    run.wait()
    with pytest.warns(UserWarning, match=r"run was stopped before its end, at step 0 of 20: these"):
        run.restore_best(model)
    plans.begin(run.path, None)
    with pytest.warns(UserWarning, match="before its end, at step 0: these are its best weights"):
        run.restore_best(model)
    plans.end(run.path, 20)
    assert not (run.path.parent / "plan.json").exists()
    plans.end(run.path.parent, 20)  # of a run from before there were plans
    assert not (run.path.parent / "plan.json").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.restore_best(model)


def test_fields_that_change_no_step_may_be_changed_and_are_told(run_of, capsys):
    begun = run_of(config.Training())
    changed = config.Training(
        strategy="mirrored",
        num_kept=5,
        log_steps=7,
        profile_steps=(2, 4),
        peak_teraflops=0.4,
        rematerialize=True,
        step=config.Step(accumulation_steps=2, cpu_shards=2, jit_compile=True),
    )
    again = run_of(changed)
    told = capsys.readouterr().err
    assert "training.num_kept was 2 and is now 5; training.peak_teraflops was None and is" in told
    fields = config.changed_fields(begun.settings, again.settings)
    assert fields.keys() == checkpoints.FREE_TO_CHANGE.keys()
    assert all(name in told for name in fields)
    assert open_run(begun.path).settings == again.settings
    run_of(changed)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "change", [{"batch_size": 64}, {"total_steps": 20_000}, {"product_dtype": "bfloat16"}]
)
def test_other_fields_are_refused_also_beside_those(run_of, change):
    before = contents(run_of(config.Training()).path)
    ((name, _),) = change.items()
    with pytest.raises(ValueError, match=f"with: training.{name} was .* and is now [^;]*$") as told:
        run_of(config.Training(**change, num_kept=5))
    assert contents(run_of(config.Training()).path) == before
    assert "num_kept" not in str(told.value)


def test_records_are_written_whole_or_not_at_all(run, files_of_at_most):
    assert run.read_record("evaluation.json") == {}
    run.write_record("evaluation.json", {"accuracy": 0.5, "label": "größer"})
    before = contents(run.path)
    with files_of_at_most(1000), pytest.raises(OSError, match=r"run/evaluation\.json"):
        run.write_record("evaluation.json", {"text": "x" * 2000})
    assert contents(run.path) == before
    assert run.read_record("evaluation.json") == {"accuracy": 0.5, "label": "größer"}


def test_weights_that_share_a_path_are_refused():
    weights = [SimpleNamespace(path="dense/kernel", value=value) for value in (1, 2)]
    with pytest.raises(ValueError, match="Two weights of the model share a path"):
        model_state.weights(SimpleNamespace(weights=weights))
