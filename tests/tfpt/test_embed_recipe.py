"""The recipe for embeddings, from files to a served model."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from click.testing import CliRunner

from tfpt import callbacks, checkpoints, config, evaluation, export, peft, serving, training
from tfpt.cli import main
from tfpt.epoch_records import weights_step
from tfpt.pipelines.packing import pack_segments
from tfpt.recipes import bert, embed

WORDS = tiny_bert.TOKENIZER.vocabulary[5:]
EPOCHS = 6


def text_of(label, random):
    """Three words, one of which tells the label."""
    return " ".join(random.permutation([WORDS[label], *random.choice(WORDS[20:], 2)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embed")
    random = np.random.default_rng(0)
    for name, count in (("train", 96), ("dev", 40), ("test", 40)):
        rows = [f"{text_of(number % 8, random)},{number % 8}" for number in range(count)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *sorted(rows)]) + "\n")
    scored = []
    for one in range(8):
        for other in (one, (one + 3) % 8):
            texts = text_of(one, random), text_of(other, random)
            scored.append(f"{texts[0]},{texts[1]},{5 if one == other else 1}")
    (folder / "scored.csv").write_text("\n".join(scored))
    tiny_bert.TOKENIZER.save(folder / "vocab.txt")
    return folder


@pytest.fixture(scope="module")
def sets(folder):
    """The assignments of a fine-tuning from scratch."""
    size = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    numbers = {f"model.{name}": value for name, value in size.items()}
    numbers |= {"model.max_sequence_length": 16, "data.sequence_length": 8}
    numbers |= {"data.name": folder, "data.vocabulary": folder / "vocab.txt"}
    numbers |= {"data.label": "label", "data.similarity": folder / "scored.csv"}
    numbers |= {"training.batch_size": 32, "training.epochs": EPOCHS}
    numbers |= {"training.learning_rate": 1e-2, "temperature": 0.1}
    return [f"{name}={value}" for name, value in numbers.items()]


def settings(sets, *more):
    return config.override(embed.config(), [*sets, *more])


@pytest.fixture(scope="module")
def run(sets, folder):
    return training.finetune(embed, settings(sets), folder / "run", verbose=0)


def given(sets):
    return [word for one in sets for word in ("--set", one)]


def command(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def loaded(run):
    chosen = config.from_dict(embed.config(), run.settings)
    return checkpoints.load(run.path, build=lambda run: embed.model(chosen, run.tokenizer))


def test_texts_of_a_label_are_found_and_scores_are_met(run, sets, folder):
    chosen = settings(sets)
    untrained = embed.model(chosen, tiny_bert.TOKENIZER)
    data = embed.dataset(chosen, tiny_bert.TOKENIZER)
    before = embed.report(untrained, embed.judged(chosen, data, "test"))
    report = evaluation.evaluate_run(embed, run.path)
    assert report.num_queries == 40
    assert before.recall[1] < 0.6
    assert report.recall[1] > 0.9
    assert report.spearman > max(0.7, before.spearman)
    written = json.loads((run.path / "evaluation.json").read_text())
    assert written == {"split": "test", "step": weights_step(run), **report.to_dict()}
    opened = training.open_run(run.path)
    assert (opened.recipe, opened.label_names) == ("tfpt.recipes.embed", ())
    history = callbacks.history(run)
    losses = [record[embed.MONITOR] for record in history]
    best = history[int(np.argmin(losses))]
    assert run.best_path().name == f"step-{best['step']:08d}"
    # The loss that is monitored is that of the validation batches.
    model = loaded(run)
    model.compile(jit_compile=False)
    measured = model.evaluate(data.validation, verbose=0, return_dict=True)
    assert measured["contrastive_loss"] == pytest.approx(min(losses), abs=1e-4)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(run, sets, tmp_path):
    """Killed after the checkpoint before the last one."""
    shutil.copytree(run.path, tmp_path / "run")
    shutil.rmtree(training.open_run(tmp_path / "run").checkpoint_path())
    again = training.finetune(embed, settings(sets), tmp_path / "run", verbose=0)
    found, expected = callbacks.history(again), callbacks.history(run)
    assert found[:-1] == expected[:-1]
    assert found[-1] == pytest.approx(expected[-1], abs=1e-6)
    np.testing.assert_allclose(
        loaded(again)(packed(WORDS[:8]))["contrastive"],
        loaded(run)(packed(WORDS[:8]))["contrastive"],
        atol=1e-6,
    )


def packed(texts):
    tokenizer = tiny_bert.TOKENIZER
    rows = pack_segments(
        [tokenizer.tokenize(tf.constant(texts))],
        sequence_length=8,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
    )
    return dict(zip(("token_ids", "segment_ids", "padding_mask"), rows, strict=True))


def test_the_commands_go_the_whole_way(run, sets, tfpt, tmp_path):
    printed = tfpt("evaluate", run.path)
    assert "recall at 1 0.9" in printed or "recall at 1 1.0" in printed
    assert "spearman 0." in printed
    told = tfpt("show-batch", "embed", *given(sets), "--rows", 17)
    groups = [line.rpartition("; group ")[2] for line in told.splitlines() if "; group " in line]
    assert len(groups) == 17
    assert groups[0] == groups[16]
    path = tfpt("export", run.path, "--out", tmp_path / "models" / "near").split()[-1]
    texts = [" ".join(WORDS[:3]), "", " ".join(WORDS[4:20])]
    expected = loaded(run)(packed(texts))["contrastive"].numpy()
    signatures = tf.saved_model.load(path).signatures
    found = signatures["serving_default"](text=tf.constant(texts))
    assert {name: tuple(value.shape) for name, value in found.items()} == {"embedding": (3, 16)}
    assert signatures["serving_default"].structured_outputs["embedding"].shape.as_list() == [
        None,
        16,
    ]
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found["embedding"], axis=1), 1, atol=1e-5)
    by_tokens = signatures["tokens"](**packed(texts))
    np.testing.assert_allclose(by_tokens["embedding"], expected, atol=1e-5)
    models = {"near": tmp_path / "models" / "near"}
    with serving.Server(models, rest_port=0, grpc_port=0) as server:
        answer = serving.Client(server.address, "near").predict(texts)
        np.testing.assert_allclose(answer["embedding"], expected, atol=1e-5)
        lines = tfpt("predict", server.address, "near", *texts[:1]).splitlines()
    assert np.allclose(json.loads(lines[0])["embedding"], expected[0], atol=1e-5)


@pytest.fixture
def pretrained(sets, tmp_path):
    """A run of pre-training on packed rows, as it is before its first step."""
    numbers = [one for one in sets if one.startswith("model.")]
    numbers += ["data.store=store", "data.sequence_length=12", "drawing.layout=packed"]
    chosen = config.override(bert.config(), numbers)
    run = checkpoints.Run(
        tmp_path / "bert", tokenizer=tiny_bert.TOKENIZER, recipe=bert.__name__, settings=chosen
    )
    model = bert.model(chosen, tiny_bert.TOKENIZER)
    training.compile(model, learning_rate=1e-3, total_steps=1)
    run.save_best(model)
    run.wait()
    return run


def test_the_encoder_of_any_run_is_exported_for_embeddings(pretrained, sets, tfpt, tmp_path):
    words = ("export", pretrained.path, "--embedding", "first", "--out", tmp_path / "first")
    signatures = tf.saved_model.load(tfpt(*words).split()[-1]).signatures
    texts = [WORDS[1], " ".join(WORDS[5:9])]
    model = embed.model(settings(sets, "pooling=first"), tiny_bert.TOKENIZER)
    pretrained.restore_best(model.encoder)
    expected = model(packed(texts))["contrastive"]
    found = signatures["serving_default"](text=tf.constant(texts))
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-5)


def test_an_embedding_is_asked_for_where_there_is_none_yet(pretrained, run, tmp_path):
    for words, message in (
        ([pretrained.path], "Or export its encoder as it is, for embeddings of texts: --embedding"),
        ([run.path, "--embedding", "mean"], "of its own: leave out --embedding mean."),
        ([run.path, "--embedding", "max"], "'max' is not one of 'mean', 'first'"),
    ):
        result = command("export", *words, "--out", tmp_path / "no")
        assert result.exit_code
        assert message in result.output
    assert not (tmp_path / "no").exists()


def test_of_a_text_alone_both_rows_have_dropout_of_their_own(sets):
    """What unsupervised SimCSE learns from; where nothing is dropped both are the same."""
    chosen = settings(sets, "data.label=", "dropout_rate=0.1")
    data = embed.dataset(chosen, tiny_bert.TOKENIZER)
    model = embed.model(chosen, tiny_bert.TOKENIZER)
    rows, groups, _ = next(iter(data.train))
    groups = groups["contrastive"].numpy()
    first, second = (
        np.array(places)
        for places in zip(
            *(np.flatnonzero(groups == one) for one in np.unique(groups)), strict=True
        )
    )
    np.testing.assert_array_equal(*(rows["token_ids"].numpy()[one] for one in (first, second)))
    outputs = {training: model(rows, training=training) for training in (False, True)}
    kept, dropped = (outputs[training]["contrastive"].numpy() for training in (False, True))
    np.testing.assert_allclose(kept[first], kept[second], atol=1e-6)
    assert np.abs(dropped[first] - dropped[second]).max(axis=1).min() > 1e-3
    again = model(rows, training=True)["contrastive"].numpy()
    assert np.abs(dropped - again).max(axis=1).min() > 1e-3  # each step draws anew


def test_texts_alone_train_an_adapted_encoder_that_is_exported(run, sets, tmp_path):
    own = ("model.", "data.vocabulary", "data.label", "training.epochs")
    rest = [one for one in sets if not one.startswith(own)]
    more = ("training.adaptation.method=lora", "training.epochs=1", f"start={run.path}")
    chosen = settings(rest, *more)
    other = training.finetune(embed, chosen, tmp_path / "run", verbose=0)
    assert callbacks.history(other)[0]["val_contrastive_accuracy"] == 1  # there is no dropout
    model = loaded(other)
    assert peft.adaptation_of(model).method == "lora"
    texts = [WORDS[1], " ".join(WORDS[5:9])]
    written = export.export_run(embed, other.path, tmp_path / "near")
    found = tf.saved_model.load(str(written)).signatures["serving_default"](text=tf.constant(texts))
    expected = model(packed(texts))["contrastive"]
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-5)
    before = loaded(run)(packed(texts))["contrastive"].numpy()
    assert np.abs(before - expected).max() > 1e-4


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["data.text=text,other"],
            "grouped by pairs or by a label: received the columns text, other and",
        ),
        (
            ["data.text=a,b,c,d", "data.label="],
            "`text` is a tuple of one column, of the two of a pair, or of",
        ),
        (["training.batch_size=7"], "a multiple of 2, at least 4; received 7."),
        (["data.name="], "`data.name` is not set"),
        (
            ["data.score=2", "data.label="],
            "A score is of pairs: received the score 2 and one column",
        ),
        (["pooling=max"], "`pooling` must be one of mean, first; received pooling='max'"),
        (["temperature=0"], "`temperature` must be a positive number"),
        (["data.label=", "dropout_rate=0"], "`dropout_rate` must be more than 0 where"),
        (["training.step.cpu_shards=2"], "`cpu_shards` of Step must be 1: texts of a batch are"),
        (["data.similarity=no.csv"], "There is no file no.csv."),
        (["data.similarity_columns=0,1"], "`data.similarity_columns` must be two columns of"),
        (["data.similarity_columns=0,1,3"], "scored.csv: there is no column 3; the 3 columns of"),
        (["data.text=0,1,2", "data.label="], "a multiple of 3, at least 6; received 32."),
        (
            ["training.transfer.trained_layers=0"],
            "`trained_layers` of Transfer must be more than 0",
        ),
        (["data.sequence_length=17"], "`data.sequence_length` is 17, but the model has positions"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_leaves_no_folder(sets, tmp_path, more, message):
    result = command("finetune", "embed", *given([*sets, *more]), "--out", tmp_path / "run")
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert message in line
    assert not (tmp_path / "run").exists()
