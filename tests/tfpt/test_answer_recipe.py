"""The recipe for answers, from files to answers: fine-tuned, stopped, evaluated, exported."""

import json
import shutil
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from click.testing import CliRunner

from tfpt import (
    answer_report,
    callbacks,
    config,
    evaluation,
    export,
    serving,
    state_files,
    training,
)
from tfpt.cli import main
from tfpt.epoch_records import weights_step
from tfpt.export import writer
from tfpt.recipes import answer

WORDS = tiny_bert.TOKENIZER.vocabulary[5:]
SIZE = {"model.max_sequence_length": 16, "data.sequence_length": 16, "model.num_layers": 1}
SIZE |= {"model.hidden_dim": 32, "model.num_heads": 2, "model.intermediate_dim": 32}
SIZE |= {"data.stride": 5, "data.question_length": 2, "data.answer_length": 4}


def sets(numbers):
    return [f"{name}={value}" for name, value in numbers.items()]


def article(name, random, count):
    """Questions whose answer is the word0 to word9 of the context; in one of four there is none."""
    paragraphs = []
    for number in range(count):
        words = random.choice(WORDS[10:40], int(random.integers(6, 24))).tolist()
        answers = []
        if number % 4:
            place = int(random.integers(len(words)))
            words[place] = WORDS[int(random.integers(10))]
            start = len(" ".join([*words[:place], ""]))
            answers = [{"text": words[place], "answer_start": start}]
        asked = {"id": f"{name}-{number}", "question": WORDS[44], "answers": answers}
        asked["is_impossible"] = not answers
        paragraphs.append({"context": " ".join(words), "qas": [asked]})
    return {"title": name, "paragraphs": paragraphs}


def squad(*articles):
    return json.dumps({"version": "v2.0", "data": articles})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answer")
    random = np.random.default_rng(0)
    for name, count in (("train", 61), ("dev", 24), ("test", 22)):
        (folder / f"{name}.json").write_text(squad(article(name, random, count)))
    tiny_bert.TOKENIZER.save(folder / "vocab.txt")
    return folder


def numbers(folder, **changes):
    chosen = {
        "data.name": folder,
        "data.vocabulary": folder / "vocab.txt",
        "training.batch_size": 16,
        "training.epochs": 8,
        "training.learning_rate": 1e-2,
    }
    return {**SIZE, **chosen, **changes}


def settings_of(folder, **changes):
    return config.override(answer.config(), sets(numbers(folder, **changes)))


@pytest.fixture(scope="module")
def run(folder):
    return training.finetune(answer, settings_of(folder), folder / "run", verbose=0)


def test_a_run_names_its_recipe_and_learns(run):
    opened = training.open_run(run.path)
    assert opened.recipe == "tfpt.recipes.answer"
    assert opened.label_names == ()
    history = callbacks.history(opened)
    assert len(history) == 8
    assert answer.MONITOR in history[0]
    assert history[-1]["loss"] < 0.2 * history[0]["loss"]


def state_of(run):
    """All that the newest checkpoint of a run holds."""
    reader = tf.train.load_checkpoint(str(run.checkpoint_path() / state_files.PREFIX))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_a_stopped_run_goes_on_to_the_same_state(run, folder, tmp_path):
    """As if it had been stopped behind the checkpoint before the last one."""
    shutil.copytree(run.path, tmp_path / "run")
    stopped = training.open_run(tmp_path / "run")
    shutil.rmtree(stopped.checkpoint_path())
    assert stopped.checkpoint_path().name < run.checkpoint_path().name
    gone_on = training.finetune(answer, settings_of(folder), stopped.path, verbose=0)
    assert gone_on.checkpoint_path().name == run.checkpoint_path().name
    one, other = state_of(run), state_of(gone_on)
    assert one.keys() == other.keys()
    assert all(np.array_equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def report(run):
    return evaluation.evaluate_run(answer, run.path)


def test_a_run_is_evaluated_by_the_answers_of_its_test_questions(report, run, folder):
    assert isinstance(report, answer_report.AnswerReport)
    (whole,) = json.loads((folder / "test.json").read_text())["data"]
    true = {
        asked["id"]: "".join(one["text"] for one in asked["answers"])
        for paragraph in whole["paragraphs"]
        for asked in paragraph["qas"]
    }
    assert set(report.answers) == set(true)
    right = [report.answers[name] == text for name, text in true.items()]
    assert report.measures["exact_match"] == pytest.approx(np.mean(right))
    assert report.measures["exact_match"] > 0.8
    assert (report.num_answerable, report.num_unanswerable) == (16, 6)
    assert report.unanswerable.exact_match > 0.5
    assert report.no_answer_threshold is not None
    written = json.loads((run.path / "evaluation.json").read_text())
    assert written == {"split": "test", "step": weights_step(run), **report.to_dict()}


def test_the_commands_go_the_whole_way(report, run, folder, tfpt, tmp_path):
    printed = tfpt("evaluate", run.path)
    assert f"exact match {report.total.exact_match:.4f}, f1 {report.total.f1:.4f}, " in printed
    path = tmp_path / "models" / "qa"
    tfpt("export", run.path, "--out", path)
    split = answer.dataset(settings_of(folder), tiny_bert.TOKENIZER).splits["test"]
    pairs = split.questions.rows
    with serving.Server({"qa": path}, rest_port=0, grpc_port=0) as server:
        texts = [text for pair in pairs for text in pair]
        printed = tfpt("predict", server.address, "qa", "--pair", *texts)
        for words, told in (
            (texts[:2], "qa takes pairs of texts (question and context): give --pair"),
            (("--pair", texts[0]), "--pair takes an even number of texts; received 1"),
        ):
            refused = CliRunner().invoke(main, ["predict", server.address, "qa", *words])
            assert refused.exit_code == 1
            assert told in " ".join(refused.output.split())
    answers = [json.loads(line) for line in printed.splitlines()]
    assert [one["answer"] for one in answers] == list(report.answers.values())
    for (_, context), one in zip(pairs, answers, strict=True):
        assert context[one["char_start"] : one["char_end"]] == one["answer"]
    assigned = [word for one in sets(numbers(folder)) for word in ("--set", one)]
    told = tfpt("show-batch", "answer", *assigned, "--rows", 8)
    assert "the answer is tokens" in told
    assert "no answer in this window" in told


def test_the_threshold_of_an_export_is_that_of_the_last_evaluation(
    report, run, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        writer, "saved_answerer", lambda *_, no_answer_threshold, **__: (no_answer_threshold,)
    )
    assert export.export_run(answer, run.path, tmp_path) == (report.no_answer_threshold,)
    shutil.copytree(run.path, tmp_path / "run")
    record = json.loads((run.path / "evaluation.json").read_text())
    (tmp_path / "run" / "evaluation.json").write_text(json.dumps({**record, "step": 1}))
    with pytest.warns(UserWarning, match="run was evaluated with other weights, which chooses"):
        assert export.export_run(answer, tmp_path / "run", tmp_path) == (None,)
    (tmp_path / "run" / "evaluation.json").unlink()
    with pytest.warns(UserWarning, match="run was not evaluated, which chooses when there is no"):
        assert export.export_run(answer, tmp_path / "run", tmp_path) == (None,)


def test_where_all_questions_have_an_answer_one_is_always_given(folder, tmp_path, monkeypatch):
    """As of SQuAD 1.1, whose files do not say so either."""
    for name in ("train", "dev", "test"):
        content = json.loads((folder / f"{name}.json").read_text())
        content["version"] = "1.1"
        for paragraph in content["data"][0]["paragraphs"]:
            (asked,) = paragraph["qas"]
            if asked.pop("is_impossible"):
                paragraph["qas"] = []
        (tmp_path / f"{name}-v1.1.json").write_text(json.dumps(content))
    settings = settings_of(folder, **{"data.name": tmp_path, "training.epochs": 1})
    run = training.finetune(answer, settings, tmp_path / "run", verbose=0)
    report = evaluation.evaluate_run(answer, run.path)
    assert (report.num_answerable, report.num_unanswerable) == (16, 0)
    assert report.no_answer_threshold is None
    assert all(report.answers.values())
    monkeypatch.setattr(
        writer, "saved_answerer", lambda *_, no_answer_threshold, **__: (no_answer_threshold,)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert export.export_run(answer, run.path, tmp_path) == (None,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"training.adaptation.method": "lora"},
        {"training.adaptation.method": "prompt_tuning", "training.adaptation.num_tokens": 2},
        {"training.transfer.trained_layers": 0},
        {"training.transfer.layer_decay": 0.5, "training.transfer.unfreezing_epochs": 1},
    ],
)
def test_a_run_is_adapted_or_trained_in_part(run, folder, tmp_path, changes):
    begun = {"start": run.path, "data.vocabulary": "", "training.epochs": 2}
    settings = settings_of(folder, **begun, **changes)
    adapted = training.finetune(answer, settings, tmp_path / "run", verbose=0)
    report = evaluation.evaluate_run(answer, adapted.path)
    assert report.measures["exact_match"] > 0.4
    export.export_run(answer, adapted.path, tmp_path / "qa")
    split = answer.dataset(settings, tiny_bert.TOKENIZER).splits["test"]
    signature = tf.saved_model.load(str(tmp_path / "qa" / "1")).signatures["serving_default"]
    questions, contexts = zip(*split.questions.rows, strict=True)
    found = signature(question=tf.constant(questions), context=tf.constant(contexts))["answer"]
    assert [one.decode() for one in found.numpy()] == list(report.answers.values())


@pytest.mark.parametrize(
    ("content", "changes", "sentence"),
    [
        ("{", {}, "train.json:1: not JSON ("),
        ("{}", {}, "train.json: there is no field `data`."),
        ("", {"data.name": ""}, "`data.name` is not set: a folder with train"),
        ("", {"data.stride": 12}, "leaves 11 for its context, but `stride` is 12"),
        ("", {"data.misplaced": "keep"}, "`data.misplaced` must be one of error, drop"),
        ("", {"data.held_out_rate": 0.5}, "`data.held_out_rate` must be a share in (0, 0.5)"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_folder(
    tmp_path, folder, content, changes, sentence
):
    (tmp_path / "train.json").write_text(content)
    chosen = {**numbers(folder), "data.name": tmp_path, **changes}
    assigned = [word for one in sets(chosen) for word in ("--set", one)]
    result = CliRunner().invoke(main, ["finetune", "answer", *assigned, "--out", tmp_path / "x"])
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert sentence in line
    assert not (tmp_path / "x").exists()


def test_rows_must_fit_the_positions_of_a_model():
    with pytest.raises(ValueError, match=r"`data.sequence_length` is 17, .* 16 tokens"):
        config.override(answer.config(), sets({**SIZE, "data.sequence_length": 17}))


def test_dropout_of_fine_tuning_is_its_own(folder):
    unheard = settings_of(folder, **{"model.dropout_rate": 0.2})
    with pytest.warns(UserWarning, match="set `dropout_rate`"):
        answer.model(unheard, tiny_bert.TOKENIZER)
