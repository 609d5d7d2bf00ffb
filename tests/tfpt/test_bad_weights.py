"""Checkpoints that are damaged, or of models that tfpt does not have, and what is not written."""

import json
import re
import shutil

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
import tiny_bert
from click.testing import CliRunner
from test_weights import built, folder, opened

from tfpt import models, weights
from tfpt.cli import main


def a_copy(tmp_path, name="bert_classifier"):
    copied = tmp_path / name
    shutil.copytree(folder(name), copied)
    return copied


def rewrite(path, change):
    file = path / "model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    change(tensors)
    safetensors.numpy.save_file(tensors, file)


QUERY = "bert.encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(QUERY), "lacks encoder.layer.1.attention.self.query.weight"),
        (lambda tensors: tensors.pop("classifier.bias"), "lacks classifier.bias"),
        (
            lambda tensors: tensors.update({"bert.more.weight": np.zeros(2, "float32")}),
            r"holds more.weight, which tfpt's models do not have\. .* heads=False",
        ),
    ],
)
def test_a_missing_or_surplus_tensor_is_named(tmp_path, change, message):
    copied = a_copy(tmp_path)
    rewrite(copied, change)
    with pytest.raises(ValueError, match=message):
        weights.read(copied)


def test_a_tensor_of_another_shape_is_named_and_nothing_is_assigned(tmp_path):
    copied = a_copy(tmp_path)
    rewrite(copied, lambda tensors: tensors.update({QUERY: np.zeros((16, 8), "float32")}))
    checkpoint = weights.read(copied)
    model = built(checkpoint)
    before = tiny_bert.values(model)
    with pytest.raises(ValueError, match=r"self.query.weight is \(16, 8\), where .* \(16, 16\)"):
        checkpoint.assign(model)
    assert tiny_bert.largest_difference(before, tiny_bert.values(model)) == 0


def test_a_cut_file_is_told_from_a_whole_one(tmp_path):
    copied = a_copy(tmp_path)
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: .* Take a whole file"):
        weights.read(copied)


@pytest.mark.parametrize("change", ["cut", "gone"])
def test_a_checkpoint_of_google_that_is_not_whole_is_told(tmp_path, change):
    checkpoint, model = opened("bert")
    arguments = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer, "heads": False}
    written = weights.write(tmp_path / "google", model, to="google", **arguments)
    (data,) = written.glob("bert_model.ckpt.data-*")
    content = data.read_bytes()
    data.unlink()
    if change == "cut":
        data.write_bytes(content[: len(content) // 2])
    result = CliRunner().invoke(main, ["import", str(written), "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert re.search(r"^Error: .*google is damaged: .* Take a whole checkpoint\.$", result.output)
    assert not (tmp_path / "run").exists()


def test_a_missing_shard_is_named(tmp_path):
    copied = a_copy(tmp_path, "bert")
    shard = sorted(copied.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ValueError, match=f"lacks {shard.name}, which model.safetensors.index.json"):
        weights.read(copied)


def test_a_pickle_is_refused(tmp_path):
    copied = a_copy(tmp_path)
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"in pytorch_model\.bin alone, .* a pickle can run code"):
        weights.read(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": None}, "a model of type None"),
        ({"model_type": "t5"}, r"a model of type 't5'; bert, roberta, electra, distilbert can be"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; tfpt's encoder has 'gelu' alone"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"num_hidden_layers": None}, "num_hidden_layers should be a number; it is None"),
        ({"num_hidden_layers": 3}, "lacks encoder.layer.2.attention"),
        ({"num_hidden_layers": 1}, "holds encoder.layer.1.attention"),
    ],
)
def test_a_configuration_that_is_not_followed_is_refused(tmp_path, change, message):
    copied = a_copy(tmp_path)
    file = copied / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        weights.read(copied)


def test_a_folder_without_a_checkpoint_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        weights.read(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="holds no checkpoint that is known"):
        weights.read(tmp_path)


def test_the_encoder_alone_is_not_cut_off(tmp_path):
    """Without heads too, what belongs to the encoder is known."""
    copied = a_copy(tmp_path)
    file = copied / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_hidden_layers": 1}))
    with pytest.raises(ValueError, match=r"holds encoder\.layer\.1"):
        weights.read(copied, heads=False)


def test_weights_of_the_tensorflow_classes_are_told(tmp_path):
    copied = a_copy(tmp_path)
    tensors = safetensors.numpy.load_file(copied / "model.safetensors")
    safetensors.numpy.save_file(tensors, copied / "model.safetensors", metadata={"format": "tf"})
    with pytest.raises(ValueError, match="of a TensorFlow class of transformers"):
        weights.read(copied)
    (copied / "model.safetensors").rename(copied / "tf_model.h5")
    with pytest.raises(ValueError, match=r"in tf_model\.h5 alone"):
        weights.read(copied)


def test_bfloat16_is_read(tmp_path):
    copied = a_copy(tmp_path)
    kind = tf.bfloat16.as_numpy_dtype

    def round_all(tensors):
        tensors.update({name: value.astype(kind) for name, value in tensors.items()})

    rewrite(copied, round_all)
    checkpoint = weights.read(copied)
    model = built(checkpoint)
    assert checkpoint.assign(model) == []
    _, exact = opened("bert_classifier")
    assert 0 < tiny_bert.largest_difference(tiny_bert.values(exact), tiny_bert.values(model)) < 0.01


def test_what_a_format_cannot_tell_is_refused(tmp_path):
    checkpoint, model = opened("bert")
    arguments = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer, "heads": False}
    odd = models.Model(**{**vars(checkpoint.size), "norm_epsilon": 1e-5})
    with pytest.raises(ValueError, match="adds 1e-12 to variances, this model 1e-05"):
        weights.write(tmp_path / "a", model, to="google", **{**arguments, "size": odd})
    bytes_ = weights.read(folder("roberta")).tokenizer
    with pytest.raises(ValueError, match="takes a WordPiece vocabulary; this one is byte pair"):
        weights.write(tmp_path / "a", model, to="google", **{**arguments, "tokenizer": bytes_})
    _, classifier = opened("bert_classifier")
    with pytest.raises(ValueError, match="tells 3 classes apart; received 2"):
        weights.write(
            tmp_path / "a",
            classifier,
            to="hugging-face",
            **{**arguments, "heads": True},
            label_names=("a", "b"),
        )
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_no_family_is_invented(tmp_path):
    checkpoint, model = opened("bert")
    arguments = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer}
    with pytest.raises(FileExistsError, match=r"exists\. Nothing is overwritten"):
        weights.write(tmp_path, model, to="hugging-face", **arguments)
    odd = models.Model(**{**vars(checkpoint.size), "num_segments": 3})
    with pytest.raises(ValueError, match="No family of Hugging Face has num_segments=3"):
        weights.write(tmp_path / "a", model, to="hugging-face", **{**arguments, "size": odd})
    with pytest.raises(ValueError, match="`to` must be one of hugging-face, google, keras-hub"):
        weights.write(tmp_path / "a", model, to="onnx", **arguments)
