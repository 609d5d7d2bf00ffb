"""Weights of others: their outputs here, and every format there and back.

`data/hugging_face` and `data/minilm.safetensors` hold what torch gave; see
tests/benchmarks/peers/reference_outputs.py.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tiny_bert
import tokenizers
from click.testing import CliRunner

from tfpt import models, objectives, pipelines, weights
from tfpt.checkpoints import open_run
from tfpt.cli import main

DATA = Path(__file__).parent.parent / "data"
CLASSIFIERS = (
    "bert_classifier",
    "roberta_classifier",
    "electra_classifier",
    "distilbert_classifier",
)
FAMILIES = ("bert", "roberta", "electra", "distilbert", *CLASSIFIERS)
BOUND = 1e-5


def folder(name):
    return DATA / "hugging_face" / name


def built(checkpoint):
    """The model that the weights are for."""
    encoder = models.encoder(checkpoint.size, checkpoint.tokenizer.vocabulary_size)
    if checkpoint.label_names:
        number = len(checkpoint.label_names)
        heads = [objectives.classification(encoder, num_classes=number)]
    else:
        epsilon = checkpoint.size.norm_epsilon
        heads = [objectives.masked_lm(encoder, norm_epsilon=epsilon)]
        heads += [objectives.next_sentence(encoder)] if "next_sentence" in checkpoint.groups else []
    return objectives.model(encoder, *heads)


def opened(name):
    checkpoint = weights.read(folder(name))
    model = built(checkpoint)
    lacks_pooler = checkpoint.size.has_pooler and "pooler" not in checkpoint.groups
    drawn = ["pooler/bias", "pooler/kernel"] if lacks_pooler else []
    assert checkpoint.assign(model) == drawn
    return checkpoint, model


def tensors_of(path):
    found = {}
    for file in sorted(path.glob("model*.safetensors")):
        found |= safetensors.numpy.load_file(file)
    return found


def inputs_of(expected):
    inputs = {
        name: expected[name].astype("int32")
        for name in ("token_ids", "segment_ids", "padding_mask")
    }
    rows, length = inputs["token_ids"].shape
    return inputs, {"mask_positions": np.tile(np.arange(length, dtype="int32"), (rows, 1))}


@pytest.mark.parametrize("name", FAMILIES)
def test_outputs_are_those_of_torch(name):
    checkpoint, model = opened(name)
    expected = safetensors.numpy.load_file(folder(name) / "expected.safetensors")
    inputs, masks = inputs_of(expected)
    is_token = inputs["padding_mask"] > 0
    states = model.encoder(inputs)
    np.testing.assert_allclose(
        states["sequence_output"].numpy()[is_token], expected["states"][is_token], atol=BOUND
    )
    if "pooled" in expected:
        np.testing.assert_allclose(states["pooled_output"], expected["pooled"], atol=BOUND)
    if name in CLASSIFIERS:
        logits = model(inputs)["classification"]
        np.testing.assert_allclose(logits, expected["logits"], atol=BOUND)
        return
    outputs = model({**inputs, **masks})
    # RoBERTa's table has 12 rows more than its vocabulary entries, as a real one is filled up.
    logits = expected["logits"][is_token][:, : checkpoint.tokenizer.vocabulary_size]
    np.testing.assert_allclose(outputs["masked_lm"].numpy()[is_token], logits, atol=BOUND)
    if "next_sentence" in expected:
        # There 0 is a pair that follows, here 1 is.
        logits = outputs["next_sentence"][:, 0, ::-1]
        np.testing.assert_allclose(logits, expected["next_sentence"], atol=BOUND)


def test_a_pooler_that_no_head_reads_is_imported(tmp_path):
    """As of encoders that were trained for embeddings, or for masked words alone."""
    shutil.copytree(folder("bert"), tmp_path / "bert")
    tensors = tensors_of(tmp_path / "bert")
    for path in (tmp_path / "bert").glob("model*"):
        path.unlink()
    left = {key: value for key, value in tensors.items() if "seq_relationship" not in key}
    safetensors.numpy.save_file(left, tmp_path / "bert" / "model.safetensors")
    words = ["import", str(tmp_path / "bert"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "drawn at random" not in result.output
    settings = open_run(tmp_path / "run").settings
    assert settings["drawing"]["pairing"] == "single"  # so that nothing reads the pooler
    checkpoint = weights.read(tmp_path / "bert")
    encoder = models.encoder(checkpoint.size, checkpoint.tokenizer.vocabulary_size)
    open_run(tmp_path / "run").restore_best(encoder)
    expected = safetensors.numpy.load_file(folder("bert") / "expected.safetensors")
    inputs, _ = inputs_of(expected)
    pooled = encoder(inputs)["pooled_output"]
    np.testing.assert_allclose(pooled, expected["pooled"], atol=BOUND)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_written_for_transformers_is_what_came_from_there(name, tmp_path):
    checkpoint, model = opened(name)
    written = weights.write(
        tmp_path / "out",
        model,
        to="hugging-face",
        size=checkpoint.size,
        tokenizer=checkpoint.tokenizer,
        label_names=checkpoint.label_names,
    )
    before, after = tensors_of(folder(name)), tensors_of(written)
    # Weights that are others turned or tied, which transformers ties again.
    left_out = {one for one in before if one.endswith(("decoder.weight", "decoder.bias"))}
    left_out |= {"vocab_projector.weight", "generator_lm_head.weight"} & before.keys()
    assert before.keys() - left_out == after.keys()
    for key, value in after.items():
        if key == "roberta.embeddings.position_embeddings.weight":
            value, before[key] = value[2:], before[key][2:]  # rows of no position
        if name.startswith("roberta") and len(before[key]) == 300:
            before[key] = before[key][: len(value)]  # and those of no entry
        np.testing.assert_array_equal(value, before[key], err_msg=key)
    there, here = (
        json.loads((path / "config.json").read_text()) for path in (folder(name), written)
    )
    assert here.keys() - there.keys() <= {"label2id"}  # of which transformers writes id2label alone
    for key in here.keys() - {"vocab_size", "label2id"}:
        assert there[key] == here[key], key
    assert here["vocab_size"] == checkpoint.tokenizer.vocabulary_size
    assert here["architectures"] == there["architectures"]
    again = weights.read(written)
    assert (again.size, again.family) == (checkpoint.size, checkpoint.family)
    assert again.tokenizer.sha256 == checkpoint.tokenizer.sha256
    assert again.label_names == checkpoint.label_names


def test_the_encoder_of_a_discriminator_is_imported_without_its_head(tmp_path):
    """As `google/electra-base-discriminator` is published: ElectraForPreTraining."""
    shutil.copytree(folder("electra"), tmp_path / "electra")
    tensors = tensors_of(tmp_path / "electra")
    for path in (tmp_path / "electra").glob("model*"):
        path.unlink()
    left = {key: value for key, value in tensors.items() if key.startswith("electra.")}
    assert left.keys() < tensors.keys()
    for name, units in (("dense", 16), ("dense_prediction", 1)):
        left[f"discriminator_predictions.{name}.weight"] = np.ones((units, 16), "float32")
        left[f"discriminator_predictions.{name}.bias"] = np.ones(units, "float32")
    safetensors.numpy.save_file(left, tmp_path / "electra" / "model.safetensors")
    config = json.loads((tmp_path / "electra" / "config.json").read_text())
    config["architectures"] = ["ElectraForPreTraining"]
    (tmp_path / "electra" / "config.json").write_text(json.dumps(config))
    words = ["import", str(tmp_path / "electra"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "drawn at random: masked_lm_head" in " ".join(result.output.split())
    checkpoint = weights.read(tmp_path / "electra")
    encoder = models.encoder(checkpoint.size, checkpoint.tokenizer.vocabulary_size)
    open_run(tmp_path / "run").restore_best(encoder)
    expected = safetensors.numpy.load_file(folder("electra") / "expected.safetensors")
    inputs, _ = inputs_of(expected)
    is_token = inputs["padding_mask"] > 0
    states = encoder(inputs)["sequence_output"].numpy()
    np.testing.assert_allclose(states[is_token], expected["states"][is_token], atol=BOUND)


def test_the_encoder_alone_can_be_read_and_the_heads_stay(tmp_path):
    checkpoint = weights.read(folder("bert"), heads=False)
    assert checkpoint.groups == {"segments", "pooler"}
    model = built(checkpoint)
    stayed = checkpoint.assign(model)
    assert {path.partition("/")[0] for path in stayed} == {"masked_lm_head"}


def test_a_written_vocabulary_of_byte_pairs_adds_what_stands_around_a_text(tmp_path):
    """To the `tokenizers` library, which transformers uses."""
    checkpoint, model = opened("roberta")
    arguments = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer}
    written = weights.write(tmp_path / "out", model, to="hugging-face", **arguments)
    theirs = tokenizers.Tokenizer.from_file(str(written / "tokenizer.json"))
    (ours,) = checkpoint.tokenizer.encode(["The cat sat."])
    tokenizer = checkpoint.tokenizer
    expected = [tokenizer.cls_id, *ours.ids, tokenizer.sep_id]
    assert theirs.encode("The cat sat.").ids == expected
    settings = json.loads((written / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "RobertaTokenizer"


@pytest.mark.parametrize("pad_id", [0, 3])
def test_positions_count_from_the_id_of_padding(tmp_path, pad_id):
    """RoBERTa's first row of positions is that after the id of padding."""
    checkpoint, model = opened("roberta")
    entries = [f"{number}" for number in range(checkpoint.tokenizer.vocabulary_size)]
    for number, role in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")):
        entries[(pad_id + number) % 5] = role
    tokenizer = pipelines.WordPiece(entries)
    assert tokenizer.pad_id == pad_id
    arguments = {"size": checkpoint.size, "tokenizer": tokenizer}
    written = weights.write(tmp_path / "out", model, to="hugging-face", **arguments)
    table = tensors_of(written)["roberta.embeddings.position_embeddings.weight"]
    ours = tiny_bert.values(model)["position_embedding/embeddings"]
    np.testing.assert_array_equal(table[pad_id + 1 :], ours)
    assert json.loads((written / "config.json").read_text())["pad_token_id"] == pad_id
    again = weights.read(written)
    assert again.size == checkpoint.size
    other = built(again)
    assert again.assign(other) == ["pooler/bias", "pooler/kernel"]
    assert tiny_bert.largest_difference(tiny_bert.values(model), tiny_bert.values(other)) == 0


def test_heads_that_no_format_has_are_left_out_without_heads(tmp_path):
    checkpoint, model = opened("bert")
    order = objectives.model(model.encoder, objectives.sentence_order(model.encoder))
    arguments = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer}
    with pytest.raises(ValueError, match="has no place for sentence_order_head/bias"):
        weights.write(tmp_path / "a", order, to="hugging-face", **arguments)
    written = weights.write(tmp_path / "a", order, to="hugging-face", heads=False, **arguments)
    assert weights.read(written).groups == {"segments", "pooler"}


def command(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.exit_code, result.output


def test_a_checkpoint_is_imported_fine_tuned_and_converted(tmp_path):
    code, told = command("import", folder("distilbert"), "--out", tmp_path / "run")
    assert code == 0, told
    assert f"{tmp_path / 'run'}: distilbert, 2 layers x 16, 300 entries" in told
    assert "drawn at random" not in told
    code, told = command(
        *("convert", tmp_path / "run", "--to", "hugging-face", "--out", tmp_path / "out"),
    )
    assert code == 0, told
    before, after = tensors_of(folder("distilbert")), tensors_of(tmp_path / "out")
    assert "vocab_transform.weight" in after
    for name, value in after.items():
        np.testing.assert_array_equal(value, before[name])
    code, told = command(*("convert", tmp_path / "run", "--to", "google", "--out", tmp_path / "b"))
    assert code == 1
    assert "google-research's BERT has two segments, a pooler" in told
    (tmp_path / "rows").mkdir()
    for name in ("train", "validation"):
        rows = "text,label\n" + "a cat sat,yes\nthe dog lay,no\n" * 20
        (tmp_path / "rows" / f"{name}.csv").write_text(rows)
    code, told = command(
        *("finetune", "classify", "--from", tmp_path / "run", "--out", tmp_path / "tuned"),
        *("--set", f"data.name={tmp_path / 'rows'}", "--set", "data.sequence_length=16"),
        *("--set", "training.epochs=1", "--set", "training.batch_size=8"),
    )
    assert code == 0, told
    # Its head has one layer, and DistilBERT's two there.
    written = ("convert", tmp_path / "tuned", "--to", "hugging-face", "--out", tmp_path / "half")
    code, told = command(*written)
    assert code == 1
    assert "A classifier of distilbert has a head of two layers in Hugging Face" in told
    assert not (tmp_path / "half").exists()
    code, told = command(*written, "--without-heads")
    assert code == 0, told
    code, told = command("import", folder("distilbert"), "--out", tmp_path / "run")
    assert code == 1
    assert "exists. Nothing is overwritten" in told


@pytest.mark.parametrize("name", CLASSIFIERS[1:])
def test_of_a_classifier_the_encoder_alone_is_written_and_read(name, tmp_path):
    """Where the pooler is the first layer of the head it goes with the head."""
    checkpoint, model = opened(name)
    given = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer}
    written = weights.write(tmp_path / "out", model, to="hugging-face", heads=False, **given)
    if name == "roberta_classifier":  # whose encoder may have a pooler of its own
        assert "pooler.dense.weight" in tensors_of(written)
    else:
        assert not any("pool" in one or "classifier" in one for one in tensors_of(written))
        assert not weights.read(written).size.has_pooler
    alone = weights.read(folder(name), heads=False)
    assert not alone.groups & {"classification", "pooler"}


def test_a_pooler_that_a_classifier_of_roberta_does_not_read_is_passed_over(tmp_path):
    """Several public ones hold one."""
    copied = tmp_path / "copied"
    shutil.copytree(folder("roberta_classifier"), copied)
    tensors = tensors_of(copied)
    pooler = {"weight": np.ones((16, 16), np.float32), "bias": np.ones(16, np.float32)}
    tensors |= {f"roberta.pooler.dense.{name}": value for name, value in pooler.items()}
    safetensors.numpy.save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    checkpoint = weights.read(copied)
    model = built(checkpoint)
    assert checkpoint.assign(model) == []
    kernel = model.get_layer("pooler").kernel
    np.testing.assert_array_equal(kernel, tensors["classifier.dense.weight"].T)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_an_imported_classifier_is_a_run_of_a_classifier(name, tmp_path):
    code, told = command("import", folder(name), "--out", tmp_path / "run")
    assert code == 0, told
    assert json.loads((tmp_path / "run" / "labels.json").read_text()) == ["no", "so", "yes"]
    code, told = command("export", tmp_path / "run", "--out", tmp_path / "models" / "it")
    assert code == 0, told
