"""Which layers fine-tuning trains, and how fast."""

import contextlib
import itertools
import shutil

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
import tiny_bert
from click.testing import CliRunner
from test_flops import products
from test_weights import folder

from tfpt import (
    callbacks,
    config,
    flops,
    importing,
    models,
    objectives,
    preparation,
    training,
    transfer,
    weights,
)
from tfpt.checkpoints import open_run
from tfpt.cli import main
from tfpt.config import Transfer
from tfpt.recipes import bert, classify

LAYERS = 3
RATE = 1e-3


def classifier(**changes):
    tf.keras.utils.set_random_seed(1)
    encoder = models.encoder(tiny_bert.size(num_layers=LAYERS, **changes), tiny_bert.V)
    head = objectives.classification(models.at_first(encoder), num_classes=2, dropout_rate=0.0)
    return objectives.model(encoder, head)


def batch(seed=0):
    inputs = tiny_bert.rows(seed=seed)[0]
    del inputs["mask_positions"]
    labels = np.random.default_rng(seed).integers(0, 2, tiny_bert.B).astype("int32")
    weights = {"classification": np.ones(tiny_bert.B, "float32")}
    return inputs, {"classification": labels}, weights


def trained(chosen, *, optimizer="adamw", steps_per_epoch=2, weight_decay=0.0):
    """How far each weight is moved after each step, by path: the largest difference."""
    model = classifier()
    transfer.choose_layers(model, chosen, steps_per_epoch)
    training.compile(
        model,
        learning_rate=RATE,
        total_steps=1_000_000,
        weight_decay=weight_decay,
        step=config.Step(optimizer=optimizer),
    )
    before = tiny_bert.values(model)
    for number in itertools.count():
        model.train_on_batch(*batch(number))
        after = tiny_bert.values(model)
        yield {path: float(np.abs(after[path] - before[path]).max()) for path in before}


def parts(moved):
    """The parts of the model that moved."""
    return {path.partition("/")[0] for path, distance in moved.items() if distance > 0}


HEADS = {"classification_head"}
EMBEDDINGS = {"token_embedding", "segment_embedding", "position_embedding"}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, HEADS),
        (1, {*HEADS, "pooler", "layer_2"}),
        (2, {*HEADS, "pooler", "layer_2", "layer_1"}),
        (LAYERS, {*HEADS, "pooler", "layer_2", "layer_1", "layer_0"}),
        (None, {*HEADS, "pooler", "layer_2", "layer_1", "layer_0", *EMBEDDINGS}),
    ],
)
def test_the_last_layers_are_trained_and_the_others_stay(number, expected):
    assert parts(next(trained(Transfer(trained_layers=number), weight_decay=0.1))) == expected


@pytest.mark.parametrize("number", [0, 1, 2, 3, None])
@pytest.mark.parametrize("width", [None, 8])
def test_what_is_frozen_costs_no_gradient(number, width):
    """The products in the graph of a step are those that `flops` tells."""
    model = classifier(embedding_dim=width)
    transfer.choose_layers(model, Transfer(trained_layers=number), 1)
    training.compile(model, learning_rate=RATE, total_steps=10)
    model.make_train_function()
    step = tf.function(model.train_step, autograph=False)
    given = tf.nest.map_structure(tf.constant, batch())
    found = products(step.get_concrete_function(given).graph)
    assert flops.trained_layers(model.encoder) == number
    shape = flops.batch_of(model, batch(), batch_size=tiny_bert.B, sequence_length=tiny_bert.T)
    size = flops.size_of(model.encoder)
    assert flops.step_flops(size, shape, trained_layers=number) == found


def test_the_rate_falls_from_layer_to_layer():
    """The gradient of the first step is the same."""
    full, moved = next(trained(Transfer())), next(trained(Transfer(layer_decay=0.5)))
    steps = {
        "classification_head/kernel": 1,
        "pooler/kernel": 1 / 2,
        "layer_2/intermediate/kernel": 1 / 2,
        "layer_1/intermediate/kernel": 1 / 4,
        "layer_0/intermediate/kernel": 1 / 8,
        "token_embedding/embeddings": 1 / 16,
    }
    for path, share in steps.items():
        assert moved[path] == pytest.approx(full[path] * share, rel=0.01), path


@pytest.mark.parametrize("optimizer", config.OPTIMIZERS)
def test_one_layer_after_the_other_is_trained_by_any_optimizer(optimizer):
    """With a decay, which would move weights that have no gradient."""
    chosen = Transfer(unfreezing_epochs=1.5)  # 3 steps
    top = {*HEADS, "pooler", "layer_2"}
    moved = list(itertools.islice(trained(chosen, optimizer=optimizer, weight_decay=0.1), 7))
    for steps, expected in ((3, top), (4, {*top, "layer_1"}), (7, {*top, "layer_1", "layer_0"})):
        assert parts(moved[steps - 1]) == expected


def test_all_of_an_encoder_in_full_is_what_it_was_without():
    model = classifier()
    transfer.choose_layers(model, Transfer(), 2)
    assert model.rate_share is None
    assert all(layer.trainable for layer in model.layers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trained_layers": -1}, "`trained_layers` of Transfer must be a number of layers"),
        ({"layer_decay": 0.0}, r"`layer_decay` of Transfer must be a share in \(0, 1\]"),
        ({"unfreezing_epochs": -1.0}, "`unfreezing_epochs` of Transfer must be zero or"),
        ({"trained_layers": 0, "layer_decay": 0.9}, "more than 0 with layer_decay"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Transfer(**changes)


def test_more_layers_than_there_are_are_refused():
    with pytest.raises(ValueError, match="`trained_layers` is 4, but the encoder has 3 layers"):
        transfer.choose_layers(classifier(), Transfer(trained_layers=4), 1)


def rows_in(folder):
    folder.mkdir()
    for name in ("train", "validation"):
        rows = "a cat sat,yes\nthe dog lay,no\n" * 20
        (folder / f"{name}.csv").write_text(f"text,label\n{rows}")


def test_a_frozen_encoder_is_fine_tuned_by_the_command(tmp_path):
    rows_in(tmp_path / "rows")
    chosen = [f"data.name={tmp_path / 'rows'}", "data.sequence_length=16", "training.epochs=1"]
    settings = [word for one in chosen for word in ("--set", one)]
    source = ("--from", str(tmp_path / "source"))
    found = {}
    command("import", str(folder("bert")), "--out", str(tmp_path / "source"))
    for number in ("0", "1"):
        out = str(tmp_path / number)
        frozen = ("--set", f"training.transfer.trained_layers={number}")
        command("finetune", "classify", *source, *settings, *frozen, "--out", out)
        found[number] = values_of(tmp_path / number)
    before = values_of(tmp_path / "source")
    shared = before.keys() & found["0"].keys()
    assert len(shared) > 30
    assert not [path for path in shared if (found["0"][path] != before[path]).any()]
    changed = {path for path in shared if (found["1"][path] != before[path]).any()}
    assert {path.partition("/")[0] for path in changed} == {"layer_1", "pooler"}


def test_more_layers_than_a_run_has_are_told_before_a_folder_is_made(tmp_path):
    rows_in(tmp_path / "rows")
    command("import", str(folder("bert")), "--out", str(tmp_path / "source"))
    words = ["classify", "--from", str(tmp_path / "source"), "--out", str(tmp_path / "out")]
    words += ["--set", f"data.name={tmp_path / 'rows'}", "--set", "data.sequence_length=16"]
    field = "training.transfer.trained_layers"
    for more in (["--set", f"{field}=40"], ["--sweep", f"{field}=1,40"]):
        result = CliRunner().invoke(main, ["finetune", *words, *more])
        assert result.exit_code == 1
        told = f"Error: `{field}` is 40, but the encoder has 2 layers."
        assert result.output.splitlines()[-1] == told
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        ({}, False),
        ({"transfer.trained_layers": 0}, True),
        ({"adaptation.method": "lora"}, False),
        ({"adaptation.method": "lora", "adaptation.train_pooler": "false"}, True),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_pooler_that_stays_random_is_told(tmp_path, changes, is_told):
    rows_in(tmp_path / "rows")
    masks_alone = tmp_path / "masks"
    shutil.copytree(folder("bert"), masks_alone)
    tensors = {}
    for shard in masks_alone.glob("model*.safetensors*"):
        if shard.suffix == ".safetensors":
            tensors |= safetensors.numpy.load_file(shard)
        shard.unlink()
    left = {n: x for n, x in tensors.items() if "pooler" not in n and "seq_relationship" not in n}
    safetensors.numpy.save_file(left, masks_alone / "model.safetensors")
    run, drawn = importing.import_run(bert, weights.read(masks_alone), tmp_path / "source")
    assert drawn == ["pooler/bias", "pooler/kernel"]
    chosen = {"data.name": tmp_path / "rows", "data.sequence_length": 16, "start": run.path}
    chosen |= {f"training.{name}": value for name, value in changes.items()}
    settings = config.override(classify.config(), [f"{name}={n}" for name, n in chosen.items()])
    told = pytest.warns(UserWarning, match=r"^The pooler of .* was drawn at random, since")
    with told if is_told else contextlib.nullcontext():
        preparation.fine_tuning(classify, settings)


def test_class_weights_and_patience_are_those_of_the_settings(tmp_path):
    (tmp_path / "rows").mkdir()
    for name in ("train", "validation"):
        rows = "a cat sat,yes\n" * 24 + "the dog lay,no\n" * 8
        (tmp_path / "rows" / f"{name}.csv").write_text(f"text,label\n{rows}")
    tiny_bert.TOKENIZER.save(tmp_path / "vocab.txt")
    chosen = {"data.name": tmp_path / "rows", "data.vocabulary": tmp_path / "vocab.txt"}
    chosen |= {"data.sequence_length": 8, "data.balanced": "true", "training.patience": 1}
    chosen |= {"training.epochs": 5, "training.learning_rate": 1e-12, "model.num_layers": 1}
    chosen |= {"model.hidden_dim": 16, "model.num_heads": 2, "model.intermediate_dim": 32}
    settings = config.override(classify.config(), [f"{name}={n}" for name, n in chosen.items()])
    _, labels, weights_of = next(iter(classify.dataset(settings, tiny_bert.TOKENIZER).train))
    expected = np.where(labels["classification"] == 0, 32 / 16, 32 / 48)  # no, yes
    np.testing.assert_allclose(weights_of["classification"], expected, rtol=1e-6)
    run = training.finetune(classify, settings, tmp_path / "run", verbose=0)
    # Nothing is learned, so the first epoch stays the best, and the second is the last.
    assert len(callbacks.history(run)) == 2


def command(*words):
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, result.output


def values_of(run):
    reader = tf.train.load_checkpoint(open_run(run).weights_path())
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("model/")]
    return {name.removeprefix("model/"): reader.get_tensor(name) for name in names}
