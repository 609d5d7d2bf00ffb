"""The exported classifier answers what the Keras model does, and needs nothing of tfpt or Keras."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text
from tensorflow.core.protobuf import saved_model_pb2

from tfpt import export
from tfpt.pipelines import load_tokenizer

TOLERANCE = 1e-5
TEXTS = [
    "a good film",
    "",
    "   \n\t ",
    "the plot is thin , the film is bad !",
    "a gripping film . " * 9,
    "unknown zzz words",
    "Größe GRÖSSE größe",
    "goodness films",
    "一部 film 🎬 [MASK]",
    "good",
]

# Reads a SavedModel where neither tfpt nor Keras can be imported: not tensorflow-text's Python
# package, which needs Keras, but the libraries of its two ops.
CLEAN_READER = """
import importlib.util, json, os, sys
blocked = ("tfpt", "keras", "tf_keras", "keras_hub", "tensorflow_text")
folder = os.path.dirname(importlib.util.find_spec("tensorflow_text").origin)
sys.modules.update(dict.fromkeys(blocked))
import tensorflow as tf
for name in ("_fast_bert_normalizer.so", "_fast_wordpiece_tokenizer.so"):
    tf.load_op_library(os.path.join(folder, "python", "ops", name))
path, texts = sys.argv[1], json.loads(sys.argv[2])
outputs = tf.saved_model.load(path).signatures["serving_default"](text=tf.constant(texts))
assert all(sys.modules[name] is None for name in blocked)
scores = outputs["scores"].numpy().tolist()
labels = [label.decode() for label in outputs["label"].numpy()]
print(json.dumps({"scores": scores, "labels": labels}))
"""


@pytest.fixture(scope="module")
def exported(classifier, tokenizer, labels, sequence_length, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "films"
    return export.saved_model(
        classifier, tokenizer, path, labels=labels, sequence_length=sequence_length
    )


@pytest.fixture(scope="module")
def signature(exported):
    # The signature holds its variables, but not the object that owns them.
    loaded = tf.saved_model.load(str(exported))
    signature = loaded.signatures["serving_default"]
    signature.owner = loaded
    return signature


@pytest.fixture(scope="module")
def graph(exported):
    """The one graph of the SavedModel, and the text of the whole file."""
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((exported / "saved_model.pb").read_bytes())
    assert len(proto.meta_graphs) == 1
    return proto.meta_graphs[0]


def operations(graph):
    """The names of all operations, inside functions too."""
    nodes = list(graph.graph_def.node)
    for function in graph.graph_def.library.function:
        nodes += function.node_def
    return {node.op for node in nodes}


def check(outputs, scores, labels):
    np.testing.assert_allclose(outputs["scores"], scores, atol=TOLERANCE)
    np.testing.assert_allclose(outputs["score"], scores.max(axis=1), atol=TOLERANCE)
    expected = [labels[best] for best in scores.argmax(axis=1)]
    assert [label.decode() for label in outputs["label"].numpy()] == expected


def test_the_signature_takes_strings_and_names_what_it_gives(signature):
    (inputs,) = signature.structured_input_signature[1].values()
    assert (inputs.name, inputs.dtype, inputs.shape.as_list()) == ("text", tf.string, [None])
    outputs = signature.structured_outputs
    assert {name: (x.dtype, x.shape.as_list()) for name, x in outputs.items()} == {
        "label": (tf.string, [None]),
        "score": (tf.float32, [None]),
        "scores": (tf.float32, [None, 3]),
    }


def test_answers_equal_those_of_keras(signature, classifier, labels, keras_scores):
    scores = keras_scores(classifier, TEXTS)
    # Otherwise equal answers would show nothing.
    assert len(set(scores.argmax(axis=1))) > 1
    check(signature(text=tf.constant(TEXTS)), scores, labels)


@pytest.mark.parametrize("num_texts", range(4))
def test_a_batch_may_have_any_size(signature, classifier, labels, keras_scores, num_texts):
    texts = TEXTS[3 : 3 + num_texts]
    outputs = signature(text=tf.constant(texts, tf.string))
    assert outputs["scores"].shape == (num_texts, 3)
    check(outputs, keras_scores(classifier, texts), labels)


def test_the_answer_for_a_text_does_not_depend_on_the_rest_of_the_batch(signature):
    together = signature(text=tf.constant(TEXTS))["scores"]
    for number, text in enumerate(TEXTS):
        alone = signature(text=tf.constant([text]))["scores"]
        np.testing.assert_allclose(alone[0], together[number], atol=TOLERANCE)


def test_bytes_that_are_not_utf8_are_answered_too(signature):
    scores = signature(text=tf.constant([b"\xff\xfe film", b"\x00"]))["scores"].numpy()
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_pairs_have_two_inputs(
    classifier, tokenizer, labels, sequence_length, keras_scores, tmp_path
):
    path = export.saved_model(
        classifier,
        tokenizer,
        tmp_path / "pairs",
        labels=labels,
        sequence_length=sequence_length,
        num_texts=2,
    )
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]
    assert sorted(signature.structured_input_signature[1]) == ["text_a", "text_b"]
    others = TEXTS[::-1]
    outputs = signature(text_a=tf.constant(TEXTS), text_b=tf.constant(others))
    check(outputs, keras_scores(classifier, TEXTS, others), labels)
    swapped = signature(text_a=tf.constant(others), text_b=tf.constant(TEXTS))
    assert np.abs(swapped["scores"] - outputs["scores"]).max() > 0.01


def test_a_process_without_tfpt_and_keras_reads_it(exported, classifier, keras_scores, labels):
    result = subprocess.run(
        [sys.executable, "-c", CLEAN_READER, exported, json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    scores = keras_scores(classifier, TEXTS)
    np.testing.assert_allclose(answer["scores"], scores, atol=TOLERANCE)
    assert answer["labels"] == [labels[best] for best in scores.argmax(axis=1)]


def test_the_folder_can_be_moved(exported, classifier, labels, keras_scores, tmp_path):
    moved = shutil.copytree(exported, tmp_path / "elsewhere" / "7")
    loaded = tf.saved_model.load(str(moved))
    outputs = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    check(outputs, keras_scores(classifier, TEXTS), labels)


def test_vocabulary_and_labels_are_assets(exported, tokenizer, labels):
    assets = {path.name: path.read_text(encoding="utf-8") for path in exported.glob("assets/*")}
    assert {name: text.splitlines() for name, text in assets.items()} == {
        "vocab.txt": list(tokenizer.vocabulary),
        "vocab.settings.json": ['{"lowercase": true}'],
        "labels.txt": list(labels),
    }
    assert load_tokenizer(exported / "assets") == tokenizer
    loaded = tf.saved_model.load(str(exported))
    assert len(loaded.assets) == 3
    for asset in loaded.assets:
        assert Path(asset.asset_path.numpy().decode()).parent == exported / "assets"


def test_of_tensorflow_text_only_the_ops_of_its_bert_tokenizer_are_used(graph):
    """TF Serving up to 2.19 ships a TF-Text without some later ones."""
    found = {name for name in operations(graph) if not hasattr(tf.raw_ops, name)}
    tokenizer = tensorflow_text.FastBertTokenizer(
        vocab=["[UNK]", "a"], token_out_type=tf.int32, lower_case_nfd_strip_accents=True
    )
    traced = tf.function(tokenizer.tokenize).get_concrete_function(tf.TensorSpec([None], tf.string))
    allowed = {node.op for node in traced.graph.as_graph_def().node if ">" in node.op}
    assert found
    assert {name for name in found if ">" in name} <= allowed


def test_nothing_asks_for_xla_or_keras(exported, graph):
    """Stock TF Serving has no XLA."""
    for function in graph.graph_def.library.function:
        assert not function.attr["_XlaMustCompile"].b, function.signature.name
        assert not {name for name in function.attr if name.startswith("_XlaCompile")}
    assert not (exported / "keras_metadata.pb").exists()
    objects = graph.object_graph_def.nodes
    kinds = {node.user_object.identifier for node in objects if node.HasField("user_object")}
    assert kinds <= {"_generic_user_object", "signature_map", "trackable_list_wrapper"}


def test_no_path_of_the_machine_is_written(exported):
    content = (exported / "saved_model.pb").read_bytes()
    assert not re.findall(rb"/(?:tmp|home|root|usr|var)/[\w./-]*", content)
