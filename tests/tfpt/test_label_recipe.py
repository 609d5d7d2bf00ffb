"""The recipe for several labels, from `finetune` to a served model."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import tensorflow as tf
import tiny_bert
from click.testing import CliRunner

from tfpt import callbacks, config, evaluation, export, serving, training
from tfpt.cli import main
from tfpt.epoch_records import weights_step
from tfpt.pipelines.packing import pack_segments
from tfpt.recipes import label

WORDS = tiny_bert.TOKENIZER.vocabulary[5:]
# A text has the label of each of these words that is in it.
NAMED = {WORDS[0]: "nought", WORDS[1]: "one", WORDS[2]: "two"}


def write_texts(folder, separator=";"):
    """Three words to a row, of which some have a label."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, count in (("train", 240), ("dev", 40), ("test", 40)):
        rows = ["text\tlabels"]
        for numbers in random.integers(0, 6, (count, 3)):
            words = [WORDS[number] for number in numbers]
            named = dict.fromkeys(NAMED[word] for word in words if word in NAMED)
            rows.append(f"{' '.join(words)}\t{separator.join(named)}")
        (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The assignments of a fine-tuning from scratch."""
    folder = tmp_path_factory.mktemp("labels")
    tiny_bert.TOKENIZER.save(folder / "vocab.txt")
    size = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    numbers = {f"model.{name}": value for name, value in size.items()}
    numbers |= {"model.max_sequence_length": 16, "data.sequence_length": 8, "dropout_rate": 0}
    numbers |= {"data.name": write_texts(folder / "texts"), "data.separator": ";"}
    numbers |= {"data.vocabulary": folder / "vocab.txt", "threshold": 0.4}
    numbers |= {"training.batch_size": 16, "training.epochs": 60}
    numbers |= {"training.learning_rate": 5e-3}
    return [f"{name}={value}" for name, value in numbers.items()]


def settings(sets, *more):
    return config.override(label.config(), [*sets, *more])


@pytest.fixture(scope="module")
def run(sets, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "texts"
    return training.finetune(label, settings(sets), path, verbose=0)


def command(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def given(sets):
    return [word for one in sets for word in ("--set", one)]


@pytest.fixture(scope="module")
def model(run, sets):
    built = label.model(settings(sets), tiny_bert.TOKENIZER, run.label_names)
    run.restore_best(built)
    return built


def test_labels_are_learned_and_counted_above_the_threshold_of_the_configuration(run, sets, model):
    report = evaluation.evaluate_run(label, run.path)
    assert report.label_names == training.open_run(run.path).label_names == ("nought", "one", "two")
    assert report.threshold == 0.4
    data = label.dataset(settings(sets), tiny_bert.TOKENIZER)
    labels, logits = evaluation.predictions(model, data.test, "multi_label")
    chosen = scipy.special.expit(logits) >= 0.4
    assert report.measures["micro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(labels, chosen, average="micro")
    )
    assert report.measures["micro_f1"] > 0.9
    assert report.exact_match == sklearn.metrics.accuracy_score(labels, chosen)
    written = json.loads((run.path / "evaluation.json").read_text())
    assert written == {"split": "test", "step": weights_step(run), **report.to_dict()}
    rows = (Path(settings(sets).data.name) / "test.tsv").read_text().splitlines()[1:]
    for one in report.worst:
        assert one.texts[0] == rows[one.row].rpartition("\t")[0]
    page = (run.path / "evaluation.html").read_text()
    assert "Learning curves" in page
    assert report.worst[0].texts[0] in page


def test_the_best_epoch_is_the_one_of_the_smallest_loss(run):
    history = callbacks.history(run)
    losses = [record["val_multi_label_loss"] for record in history]
    assert run.best_path().name == f"step-{history[int(np.argmin(losses))]['step']:08d}"
    assert "val_multi_label_accuracy" in history[0]


def packed(texts):
    rows = pack_segments(
        [tiny_bert.TOKENIZER.tokenize(tf.constant(texts))],
        sequence_length=8,
        cls_id=tiny_bert.TOKENIZER.cls_id,
        sep_id=tiny_bert.TOKENIZER.sep_id,
    )
    return dict(zip(("token_ids", "segment_ids", "padding_mask"), rows, strict=True))


def test_the_exported_run_tells_every_label_and_which_are_chosen(run, model, tmp_path):
    written = export.export_run(label, run.path, tmp_path / "texts")
    texts = [" ".join(WORDS[:3]), WORDS[5], "", f"{WORDS[4]} {WORDS[1]}"]
    scores = scipy.special.expit(model(packed(texts))["multi_label"].numpy())
    assert (scores >= 0.4).any()
    assert not (scores >= 0.4).all()
    loaded = tf.saved_model.load(str(written))
    by_text = loaded.signatures["serving_default"](text=tf.constant(texts))
    by_tokens = loaded.signatures["tokens"](**packed(texts))
    for found in (by_text, by_tokens):
        np.testing.assert_allclose(found["scores"], scores, atol=1e-5)
        np.testing.assert_array_equal(found["chosen"], scores >= 0.4)
        names = [[name.decode() for name in row] for row in found["labels"].numpy()]
        assert names == [["nought", "one", "two"]] * 4
    assert (written / "assets" / "labels.txt").read_text() == "nought\none\ntwo\n"


def test_the_labels_that_a_server_chose_are_printed_the_surest_first(run, model, tmp_path):
    export.export_run(label, run.path, tmp_path / "texts")
    texts = [" ".join(WORDS[:3]), WORDS[5]]
    scores = scipy.special.expit(model(packed(texts))["multi_label"].numpy())
    with serving.Server({"texts": tmp_path / "texts"}, rest_port=0, grpc_port=0) as server:
        for address, options in ((server.address, ()), (server.grpc_address, ("--grpc",))):
            result = command("predict", address, "texts", *texts, *options)
            assert result.exit_code == 0, result.output
            answers = [json.loads(line) for line in result.stdout.splitlines()]
            for answer, row in zip(answers, scores, strict=True):
                order = [place for place in np.argsort(-row) if row[place] >= 0.4]
                assert answer["labels"] == [run.label_names[place] for place in order]
                assert answer["scores"] == pytest.approx(row[order], abs=1e-5)
            assert answers[0]["labels"]


def test_every_command_for_fine_tuned_runs_takes_it(run, sets, tmp_path):
    result = command("evaluate", run.path)
    assert result.exit_code == 0, result.output
    assert "mean over classes" in result.stdout
    assert "nought" in result.stdout
    assert "exact match " in result.stdout
    result = command("show-batch", "label", *given(sets), "--rows", 16)
    assert result.exit_code == 0, result.output
    assert "labels nought, one" in result.stdout
    assert "; no label" in result.stdout
    result = command("export", run.path, "--out", tmp_path / "models" / "texts")
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_several_seeds_have_a_mean_and_a_deviation(sets, tmp_path):
    short = [*given(sets), "--set", "training.epochs=1", "--seeds", "2"]
    result = command("finetune", "label", *short, "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "runs" / "seeds.json").read_text())
    measures = {"micro_f1", "macro_f1", "exact_match", "mean_average_precision", "loss"}
    assert set(record) == {"seeds", *measures}


def test_a_separator_that_never_occurs_is_one_line(sets, tmp_path):
    for name in ("train", "dev"):
        rows = [f"{WORDS[number % 3]}\t{NAMED[WORDS[number % 3]]}\n" for number in range(12)]
        (tmp_path / f"{name}.tsv").write_text("text\tlabels\n" + "".join(rows))
    more = [*sets, f"data.name={tmp_path}", "data.separator=|"]
    result = command("show-batch", "label", *given(more))
    assert result.exit_code == 0, result.output
    assert "Warning: " in result.output
    assert "no row has more than one label" in result.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["data.label=tags"], "dev.tsv: no column `tags`; the header has 'text', 'labels'"),
        (["data.separator="], "`data.separator` must be at least one character"),
        (["threshold=1"], "`threshold` must be a probability in (0, 1); received"),
        (["data.name="], "`data.name` is not set"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_leaves_no_folder(sets, tmp_path, more, message):
    result = command("finetune", "label", *given([*sets, *more]), "--out", tmp_path / "run")
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_label_that_training_never_saw_is_refused_with_its_place(sets, tmp_path):
    folder = write_texts(tmp_path / "texts")
    with open(folder / "test.tsv", "a") as file:
        file.write("word3\tone;hundred\n")
    more = [*sets, f"data.name={folder}"]
    result = command("finetune", "label", *given(more), "--out", tmp_path / "run")
    assert f"{folder / 'test.tsv'}:42: the label 'hundred' of the test rows never" in result.output
