"""The recipe for scores, from `finetune` to a served model."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from click.testing import CliRunner

from tfpt import callbacks, checkpoints, config, evaluation, export, pages, serving, training
from tfpt.cli import main
from tfpt.epoch_records import weights_step
from tfpt.pipelines.packing import pack_segments
from tfpt.recipes import score

WORDS = tiny_bert.TOKENIZER.vocabulary[5:]
EPOCHS = 12


def write_pairs(folder):
    """Two words to a row; the score tells how small their numbers are, from 900 to 1,000."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, count in (("train", 160), ("dev", 40), ("test", 40)):
        rows = ["first,second,alike"]
        for one, other in random.integers(0, 8, (count, 2)):
            rows.append(f"{WORDS[one]},{WORDS[other]},{1000 - 50 / 7 * (one + other)}")
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The assignments of a fine-tuning from scratch."""
    folder = tmp_path_factory.mktemp("scores")
    tiny_bert.TOKENIZER.save(folder / "vocab.txt")
    size = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    numbers = {f"model.{name}": value for name, value in size.items()}
    numbers |= {"model.max_sequence_length": 16, "data.sequence_length": 8, "dropout_rate": 0}
    numbers |= {"data.name": write_pairs(folder / "pairs"), "data.vocabulary": folder / "vocab.txt"}
    numbers |= {"data.text": "first,second", "data.score": "alike"}
    numbers |= {"training.batch_size": 16, "training.epochs": EPOCHS}
    numbers |= {"training.learning_rate": 5e-3}
    return [f"{name}={value}" for name, value in numbers.items()]


def settings(sets, *more):
    return config.override(score.config(), [*sets, *more])


@pytest.fixture(scope="module")
def run(sets, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "pairs"
    return training.finetune(score, settings(sets), path, verbose=0)


def command(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def given(sets):
    return [word for one in sets for word in ("--set", one)]


def test_scores_are_learned_in_the_units_of_the_data(run, sets):
    data = score.dataset(settings(sets), tiny_bert.TOKENIZER)
    report = evaluation.evaluate_run(score, run.path)
    assert report.num_rows == 40
    assert report.spearman > 0.8
    assert report.root_mean_squared_error < 0.6 * report.deviation
    assert 20 < data.deviation < 40
    written = json.loads((run.path / "evaluation.json").read_text())
    assert written == {"split": "test", "step": weights_step(run), **report.to_dict()}
    model = checkpoints.load(
        run.path, build=lambda run: score.model(settings(sets), run.tokenizer, run.label_names)
    )
    found = tiny_bert.values(model)
    assert found["regression_units/mean"] == pytest.approx(data.mean)
    assert found["regression_units/deviation"] == pytest.approx(data.deviation)
    labels, outputs = evaluation.predictions(model, data.test, "regression")
    assert report.mean_absolute_error == pytest.approx(np.abs(labels - outputs).mean())
    errors = np.square(labels - outputs)
    assert report.worst[0].row == errors.argmax()
    rows = (Path(settings(sets).data.name) / "test.csv").read_text().splitlines()[1:]
    for one in report.worst:
        assert ",".join(one.texts) == rows[one.row].rpartition(",")[0]


def test_without_what_draws_the_page_all_else_is_written_and_an_old_page_goes(run, monkeypatch):
    (run.path / "evaluation.html").write_text("of another evaluation")
    (run.path / "evaluation.json").unlink(missing_ok=True)
    monkeypatch.setattr(pages, "are_possible", lambda: False)
    with pytest.warns(UserWarning, match=r"pip install 'tfpt\[reports\]'"):
        evaluation.evaluate_run(score, run.path)
    assert not (run.path / "evaluation.html").exists()
    assert (run.path / "evaluation.json").exists()


def test_a_run_of_scores_has_no_label_names(run):
    opened = training.open_run(run.path)
    assert opened.label_names == ()
    assert not (run.path / "labels.json").exists()


def test_the_best_epoch_is_the_one_of_the_smallest_loss(run, sets, tmp_path):
    """Also where that is not the last one."""
    history = callbacks.history(run)
    losses = [record["val_regression_loss"] for record in history]
    assert len(losses) == EPOCHS
    best = history[int(np.argmin(losses))]
    assert run.best_path().name == f"step-{best['step']:08d}"
    assert {"val_regression_absolute_error", "val_loss"} < best.keys()
    steep = settings(sets, "training.learning_rate=0.5", "training.epochs=4")
    other = training.finetune(score, steep, tmp_path / "run", verbose=0)
    losses = [record["val_regression_loss"] for record in callbacks.history(other)]
    best = callbacks.history(other)[int(np.argmin(losses))]
    assert other.best_path().name == f"step-{best['step']:08d}"
    assert callbacks.best_epoch([{"val_regression_loss": x} for x in (3, 1, 2)], score.MONITOR) == 1


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(run, sets, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.finetune(score, settings(sets), tmp_path / "run", callbacks=[Stop()], verbose=0)
    again = training.finetune(score, settings(sets), tmp_path / "run", verbose=0)
    assert [one["step"] for one in callbacks.history(again)] == [
        one["step"] for one in callbacks.history(run)
    ]
    assert callbacks.history(again)[-1]["val_loss"] == pytest.approx(
        callbacks.history(run)[-1]["val_loss"], abs=1e-6
    )


def test_fine_tuning_begins_with_the_encoder_of_another_run(run, sets, tmp_path):
    begin = {}

    class Begin(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            begin.update(tiny_bert.values(self.model))

    own = ("model.", "data.vocabulary")
    rest = [one for one in sets if not one.startswith(own)]
    chosen = settings(rest, f"start={run.path}", "training.epochs=1")
    training.finetune(score, chosen, tmp_path / "run", callbacks=[Begin()], verbose=0)
    source = score.model(settings(sets), tiny_bert.TOKENIZER)
    run.restore_best(source)
    for name, value in tiny_bert.values(source.encoder).items():
        np.testing.assert_array_equal(begin[name], value)
    assert begin["regression_units/mean"] > 900


def packed(*texts):
    rows = pack_segments(
        [tiny_bert.TOKENIZER.tokenize(tf.constant(text)) for text in texts],
        sequence_length=8,
        cls_id=tiny_bert.TOKENIZER.cls_id,
        sep_id=tiny_bert.TOKENIZER.sep_id,
    )
    return dict(zip(("token_ids", "segment_ids", "padding_mask"), rows, strict=True))


def test_the_exported_run_answers_pairs_and_is_served(run, sets, tmp_path):
    written = export.export_run(score, run.path, tmp_path / "alike")
    firsts, seconds = [WORDS[0], WORDS[7], ""], [WORDS[1], WORDS[6], WORDS[2]]
    model = score.model(settings(sets), tiny_bert.TOKENIZER)
    run.restore_best(model)
    expected = model(packed(firsts, seconds))["regression"].numpy()
    assert expected[0] > expected[1]
    loaded = tf.saved_model.load(str(written))
    signature = loaded.signatures["serving_default"]
    found = signature(text_a=tf.constant(firsts), text_b=tf.constant(seconds))
    assert set(found) == {"score"}
    # 1e-5 in deviations, in which the model was trained.
    np.testing.assert_allclose(found["score"], expected, atol=1e-5 * 40)
    by_tokens = loaded.signatures["tokens"](**packed(firsts, seconds))
    np.testing.assert_allclose(by_tokens["score"], expected, atol=1e-5 * 40)
    with serving.Server({"alike": tmp_path / "alike"}, rest_port=0, grpc_port=0) as server:
        texts = [text for pair in zip(firsts, seconds, strict=True) for text in pair]
        for address, options in ((server.address, ()), (server.grpc_address, ("--grpc",))):
            result = command("predict", address, "alike", *texts, "--pair", *options)
            assert result.exit_code == 0, result.output
            answers = [json.loads(line) for line in result.stdout.splitlines()]
            assert [set(answer) for answer in answers] == [{"score"}] * 3
            assert [answer["score"] for answer in answers] == pytest.approx(expected, rel=1e-5)


def test_every_command_for_fine_tuned_runs_takes_it(run, sets, tmp_path):
    result = command("evaluate", run.path)
    assert result.exit_code == 0, result.output
    assert "spearman 0." in result.stdout
    assert "root mean squared error " in result.stdout
    result = command("show-batch", "score", *given(sets))
    assert result.exit_code == 0, result.output
    assert "tokens, 3 padding; score 9" in result.stdout
    result = command("export", run.path, "--out", tmp_path / "models" / "alike")
    assert result.exit_code == 0, result.output
    (tmp_path / "texts.txt").write_text("word1\nword2 word3\n")
    out = tmp_path / "features.npy"
    result = command("features", run.path, tmp_path / "texts.txt", "--out", out)
    assert result.exit_code == 0, result.output
    assert np.load(out).shape == (2, 16)
    result = command("convert", run.path, "--to", "hugging-face", "--out", tmp_path / "there")
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "there" / "config.json").read_text())
    assert written["problem_type"] == "regression"


@pytest.mark.slow
def test_several_seeds_have_a_mean_and_a_deviation(sets, tmp_path):
    short = [*given(sets), "--set", "training.epochs=1", "--seeds", "2"]
    result = command("finetune", "score", *short, "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "runs" / "seeds.json").read_text())
    measures = {"spearman", "pearson", "mean_absolute_error", "root_mean_squared_error"}
    assert set(record) == {"seeds", *measures}
    assert "spearman" in result.stdout


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["data.score=stars"],
            "dev.csv: no column `stars`; the header has 'first', 'second', 'al",
        ),
        (["data.score=first"], "dev.csv:2: the field `first` must be a finite number; received"),
        (["data.name="], "`data.name` is not set"),
        (["data.sequence_length=17"], "`data.sequence_length` is 17, but the model has positions"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_leaves_no_folder(sets, tmp_path, more, message):
    result = command("finetune", "score", *given([*sets, *more]), "--out", tmp_path / "run")
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert message in line
    assert not (tmp_path / "run").exists()


def test_the_recipe_is_named_where_another_is_not_found():
    result = command("show", "scores")
    assert re.search(r"tfpt brings answer, bert, .*label.* score", result.output)
    result = command("pretrain", "score", "--out", "run")
    assert "score is a recipe for `tfpt finetune`, not for `tfpt pretrain`." in result.output
