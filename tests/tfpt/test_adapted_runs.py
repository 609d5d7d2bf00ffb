"""Fine-tuning with an adapted encoder: what its run keeps, and that nothing else is needed."""

import functools
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from click.testing import CliRunner
from test_recipes import finetuning
from test_weights import folder as weights_folder

from tfpt import checkpoints, config, evaluation, export, peft, state_files, training, weights
from tfpt.cli import main
from tfpt.recipes import classify, score

# One that is merged, one with ranks to go on with, one that lengthens rows, one that is in the
# weights. The others are built like these; what they calculate test_peft.py tells of each.
METHODS = ("lora", "adalora", "prompt_tuning", "bitfit")
BY_METHOD = pytest.mark.parametrize(
    "method",
    [
        *METHODS,
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("ia3", "adapters", "prefix_tuning")
        ),
    ],
)
TEXTS = ["word1 word2 word3", "word7", "word9 word9 word4 word1 word2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run to start from, and labelled texts."""
    path = tmp_path_factory.mktemp("adapted")
    random = np.random.default_rng(0)
    (path / "texts").mkdir()
    for name in ("train", "validation", "test"):
        texts = [f"word{random.integers(20)} word{random.integers(20)}" for _ in range(22)]
        rows = [f"{row}\t{('even', 'odd')[len(row) % 2]}\n" for row in texts]
        (path / "texts" / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows))
    result = CliRunner().invoke(
        main, ["import", str(weights_folder("bert")), "--out", str(path / "bert")]
    )
    assert result.exit_code == 0, result.output
    return path


def chosen(folder, method, **changes):
    numbers = {"training.adaptation.method": method, "training.adaptation.num_tokens": 3}
    return finetuning(folder, folder / "bert", **{**numbers, **changes})


@pytest.fixture(scope="module")
def runs(folder):
    """A function from a method to a finished run."""

    @functools.cache
    def run(method):
        return training.finetune(classify, chosen(folder, method), folder / method, verbose=0)

    return run


def settings_of(run):
    return config.from_dict(classify.config(), run.settings)


def loaded(run):
    return checkpoints.load(
        run.path,
        build=lambda run: classify.model(settings_of(run), run.tokenizer, run.label_names),
    )


@BY_METHOD
def test_a_run_keeps_what_is_trained_and_nothing_else(runs, folder, method):
    run = runs(method)
    model = loaded(run)
    trained = {weight.path for weight in peft.kept_weights(model)}
    for path in (run.best_path(), run.checkpoint_path()):
        kept = {name for name in state_files.names(path) if name.startswith("model/")}
        assert kept == {f"model/{name}" for name in trained}
    frozen = json.loads((run.path / "frozen.json").read_text())
    assert frozen["run"] == str(folder / "bert")
    before = tf.train.load_checkpoint(checkpoints.open_run(folder / "bert").weights_path())
    for weight in model.encoder.weights:
        if weight.path not in trained:
            expected = before.get_tensor(f"model/{weight.path}")
            np.testing.assert_array_equal(weight, expected)


@BY_METHOD
def test_an_adapted_run_is_evaluated_and_exported(runs, tmp_path, method):
    run = runs(method)
    report = evaluation.evaluate_run(classify, run.path)
    assert report.measures.keys() == {"accuracy", "macro_f1", "loss"}
    assert json.loads((run.path / "evaluation.json").read_text())["loss"] == report.loss
    served = tf.saved_model.load(str(export.export_run(classify, run.path, tmp_path / "model")))
    scores = served.signatures["serving_default"](text=tf.constant(TEXTS))["scores"]
    model = loaded(run)
    tokens = run.tokenizer.tokenize(tf.constant(TEXTS))
    longest = 2 + int(tokens.bounding_shape()[1])
    ids = np.zeros((len(TEXTS), longest), np.int32)
    for row, text in zip(ids, tokens.to_list(), strict=True):
        text = [run.tokenizer.cls_id, *text, run.tokenizer.sep_id]
        row[: len(text)] = text
    inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids)}
    logits = model({**inputs, "padding_mask": (ids != run.tokenizer.pad_id).astype("int32")})
    expected = tf.nn.softmax(logits["classification"])
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    # What can be merged is not there besides.
    peft.merge_if_possible(model.encoder)
    assert len(served.weights) == len(model.weights)


def test_a_run_that_was_stopped_goes_on_to_the_same_end(folder, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.steps.numpy()) == 4:
                raise KeyboardInterrupt

    numbers = chosen(folder, "adalora", **{"training.adaptation.budget_steps": 1})
    whole = training.finetune(classify, numbers, tmp_path / "whole", verbose=0)
    with pytest.raises(KeyboardInterrupt):
        training.finetune(classify, numbers, tmp_path / "run", callbacks=[Stop()], verbose=0)
    run = training.finetune(classify, numbers, tmp_path / "run", verbose=0)
    expected, found = loaded(whole), loaded(run)
    kept = [np.asarray(one) for one in found.weights if one.path.endswith("is_kept")]
    assert any((one == 0).any() for one in kept)
    for weight, other in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(weight, other, err_msg=weight.path)


def test_other_weights_in_the_place_of_the_frozen_ones_are_refused(folder, tmp_path):
    shutil.copytree(folder / "bert", tmp_path / "bert")
    changes = {"training.adaptation.method": "lora"}
    numbers = finetuning(folder, tmp_path / "bert", **changes)
    run = training.finetune(classify, numbers, tmp_path / "run", verbose=0)
    # Both folders at another place.
    for name in ("bert", "run"):
        shutil.copytree(tmp_path / name, tmp_path / "moved" / name)
    shutil.rmtree(tmp_path / "bert")
    evaluation.evaluate_run(classify, tmp_path / "moved" / "run")
    with pytest.raises(FileNotFoundError, match=f"There is no folder {tmp_path / 'bert'}"):
        evaluation.evaluate_run(classify, run.path)
    weights = str(weights_folder("bert_classifier"))
    result = CliRunner().invoke(main, ["import", weights, "--out", str(tmp_path / "bert")])
    assert result.exit_code == 0, result.output
    with pytest.raises(ValueError, match=r"was trained beside weights that .* does not have any"):
        evaluation.evaluate_run(classify, run.path)
    with pytest.raises(ValueError, match=r"was trained beside weights that .* does not have any"):
        training.finetune(classify, numbers, run.path, verbose=0)


def test_an_adapted_run_is_no_start_but_is_converted_where_it_can_be_merged(runs, folder, tmp_path):
    path = str(runs("lora").path)
    numbers = finetuning(folder, path)
    told = "holds only what was trained beside the weights of"
    with pytest.raises(ValueError, match=told):
        training.finetune(classify, numbers, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()
    for method in ("lora", "adapters"):
        words = [str(runs(method).path), "--to", "hugging-face", "--out", str(tmp_path / method)]
        result = CliRunner().invoke(main, ["convert", *words])
        assert result.exit_code == int(method == "adapters"), result.output
        assert (tmp_path / method).exists() == (method == "lora")
    assert "adapters, which cannot be merged into the weights, and other formats" in result.output
    expected = loaded(runs("lora"))
    peft.merge(expected.encoder)
    found = classify.model(settings_of(runs("lora")), runs("lora").tokenizer, ("even", "odd"))
    weights.read(tmp_path / "lora").assign(found)
    for weight, other in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-6, err_msg=weight.path)


def test_an_adaptation_needs_weights_to_stand_beside(folder, tmp_path):
    tiny_bert.TOKENIZER.save(tmp_path / "vocab.txt")
    numbers = finetuning(
        folder,
        **{
            "training.adaptation.method": "lora",
            "data.vocabulary": tmp_path / "vocab.txt",
        },
    )
    with pytest.raises(ValueError, match=r"`training\.adaptation\.method` lora trains a little"):
        training.finetune(classify, numbers, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()


def test_the_command_tells_how_much_is_trained(folder, tmp_path):
    result = CliRunner().invoke(
        main,
        [
            *("finetune", "classify", "--from", str(folder / "bert")),
            *("--set", f"data.name={folder / 'texts'}", "--set", "data.sequence_length=16"),
            *("--set", "training.epochs=1", "--set", "training.adaptation.method=ia3"),
            *("--out", str(tmp_path / "run")),
        ],
    )
    assert result.exit_code == 0, result.output
    told = str(peft.counts(loaded(checkpoints.open_run(tmp_path / "run"))))
    assert f"ia3: {told}" in " ".join(result.output.split())


def test_the_units_of_scores_stay_with_an_adapted_run(folder, tmp_path):
    """Weights of the head that are not trained."""
    for name in ("train", "dev", "test"):
        rows = [f"word{n} word{n % 7},{100 + n % 5}" for n in range(22)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,score", *rows]) + "\n")
    numbers = [f"data.name={tmp_path}", f"start={folder / 'bert'}", "data.sequence_length=16"]
    numbers += ["training.epochs=1", "training.batch_size=8", "training.adaptation.method=lora"]
    run = training.finetune(
        score, config.override(score.config(), numbers), tmp_path / "run", verbose=0
    )
    report = evaluation.evaluate_run(score, run.path)
    assert report.mean_absolute_error < 20  # and not around 100
