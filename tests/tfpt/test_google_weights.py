"""Checkpoints of google-research's BERT: read, calculated with, and written."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from plain_bert import encode, gelu, norm
from test_weights import built, opened

from tfpt import weights

LAYERS, HEADS, WIDTH, INNER, POSITIONS = 2, 2, 16, 32, 20
ENTRIES = tiny_bert.TOKENIZER.vocabulary_size
BOUND = 1e-5


def variables():
    """What google-research's `modeling.py` and `run_pretraining.py` make, by names and shapes.

    Source: https://github.com/google-research/bert.
    """

    def dense(scope, width, units):
        return {f"{scope}/kernel": (width, units), f"{scope}/bias": (units,)}

    def layer_norm(scope):
        return {f"{scope}/LayerNorm/gamma": (WIDTH,), f"{scope}/LayerNorm/beta": (WIDTH,)}

    shapes = {
        "bert/embeddings/word_embeddings": (ENTRIES, WIDTH),
        "bert/embeddings/token_type_embeddings": (2, WIDTH),
        "bert/embeddings/position_embeddings": (POSITIONS, WIDTH),
        **layer_norm("bert/embeddings"),
    }
    for number in range(LAYERS):
        layer = f"bert/encoder/layer_{number}"
        for role in ("query", "key", "value"):
            shapes |= dense(f"{layer}/attention/self/{role}", WIDTH, WIDTH)
        shapes |= dense(f"{layer}/attention/output/dense", WIDTH, WIDTH)
        shapes |= layer_norm(f"{layer}/attention/output")
        shapes |= dense(f"{layer}/intermediate/dense", WIDTH, INNER)
        shapes |= dense(f"{layer}/output/dense", INNER, WIDTH) | layer_norm(f"{layer}/output")
    return {
        **shapes,
        **dense("bert/pooler/dense", WIDTH, WIDTH),
        **dense("cls/predictions/transform/dense", WIDTH, WIDTH),
        **layer_norm("cls/predictions/transform"),
        "cls/predictions/output_bias": (ENTRIES,),
        "cls/seq_relationship/output_weights": (2, WIDTH),
        "cls/seq_relationship/output_bias": (2,),
    }


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    """A folder as it was published, saved as TensorFlow 1 saves, and its tensors."""
    folder = tmp_path_factory.mktemp("google")
    random = np.random.default_rng(0)
    tensors = {
        name: random.normal(scale=0.3, size=shape).astype("float32")
        for name, shape in variables().items()
    }
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in tensors.items():
            tf.compat.v1.get_variable(name, initializer=value)
        tf.compat.v1.get_variable("global_step", initializer=np.int64(7))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(folder / "bert_model.ckpt"))
    config = {
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": WIDTH,
        "initializer_range": 0.02,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "type_vocab_size": 2,
        "vocab_size": ENTRIES,
    }
    (folder / "bert_config.json").write_text(json.dumps(config))
    entries = "".join(f"{entry}\n" for entry in tiny_bert.TOKENIZER.vocabulary)
    (folder / "vocab.txt").write_text(entries)
    return folder, tensors


RENAMED = (
    ("bert/embeddings/word_embeddings", "token_embedding"),
    ("bert/embeddings/token_type_embeddings", "segment_embedding"),
    ("bert/embeddings/position_embeddings", "position_embedding"),
    ("bert/embeddings/LayerNorm", "embedding_norm"),
    ("bert/encoder/", ""),
    ("attention/self/", ""),
    ("attention/output/dense", "attention_output"),
    ("attention/output/LayerNorm", "attention_norm"),
    ("output/LayerNorm", "output_norm"),
    ("/dense", ""),
    ("/gamma", "/scale"),
    ("/beta", "/offset"),
)


def of_google(tensors):
    """The tensors as `plain_bert.encode` takes them."""
    found = {}
    for name, value in tensors.items():
        for theirs, ours in RENAMED:
            name = name.replace(theirs, ours)
        found[name] = value.astype("float64")
    return found


def test_outputs_are_those_of_the_paper(google):
    """Calculated in NumPy from the tensors by their names there."""
    folder, tensors = google
    checkpoint = weights.read(folder)
    assert checkpoint.groups == {"segments", "pooler", "masked_lm", "next_sentence"}
    model = built(checkpoint)
    assert checkpoint.assign(model) == []
    inputs = tiny_bert.rows()[0]
    outputs = model(inputs)
    plain = of_google(tensors)
    states = encode(inputs, plain, num_layers=LAYERS, num_heads=HEADS)
    is_token = inputs["padding_mask"] > 0
    found = model.encoder({name: inputs[name] for name in model.encoder.input})
    np.testing.assert_allclose(
        found["sequence_output"].numpy()[is_token], states[is_token], atol=BOUND
    )
    pooled = np.tanh(states[:, 0] @ plain["bert/pooler/kernel"] + plain["bert/pooler/bias"])
    np.testing.assert_allclose(found["pooled_output"], pooled, atol=BOUND)
    follows = pooled @ plain["cls/seq_relationship/output_weights"].T
    follows += plain["cls/seq_relationship/output_bias"]
    # There 0 is a pair that follows, here 1 is.
    np.testing.assert_allclose(outputs["next_sentence"][:, 0, ::-1], follows, atol=BOUND)
    places = inputs["mask_positions"]
    masked = np.take_along_axis(states, places[:, :, None], axis=1)
    head = "cls/predictions/transform"
    masked = gelu(masked @ plain[f"{head}/kernel"] + plain[f"{head}/bias"])
    masked = norm(masked, plain, f"{head}/LayerNorm")
    logits = masked @ plain["token_embedding"].T + plain["cls/predictions/output_bias"]
    is_real = np.take_along_axis(is_token, places, axis=1)
    np.testing.assert_allclose(outputs["masked_lm"].numpy()[is_real], logits[is_real], atol=BOUND)


def test_what_is_written_has_the_names_and_values_it_came_with(google, tmp_path):
    folder, tensors = google
    checkpoint = weights.read(folder)
    model = built(checkpoint)
    checkpoint.assign(model)
    written = weights.write(
        tmp_path / "google",
        model,
        to="google",
        size=checkpoint.size,
        tokenizer=checkpoint.tokenizer,
    )
    reader = tf.train.load_checkpoint(str(written / "bert_model.ckpt"))
    assert reader.get_variable_to_shape_map().keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(reader.get_tensor(name), value, err_msg=name)
    there, here = (
        json.loads((path / "bert_config.json").read_text()) for path in (folder, written)
    )
    assert here == there
    assert (written / "vocab.txt").read_text() == (folder / "vocab.txt").read_text()


@pytest.mark.parametrize(("entry", "lowercase"), [("mat", True), ("Mat", False)])
def test_a_vocabulary_that_does_not_tell_its_case_is_looked_at(tmp_path, entry, lowercase):
    """google-research's vocab.txt has no settings; an entry with a capital is of a cased one."""
    checkpoint, model = opened("bert")
    arguments = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer}
    written = weights.write(tmp_path / "google", model, to="google", **arguments)
    (written / "vocab.settings.json").unlink()
    vocabulary = written / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text().replace("\nmat\n", f"\n{entry}\n"))
    assert weights.read(written).tokenizer.lowercase == lowercase
    assert weights.read(written, lowercase=not lowercase).tokenizer.lowercase != lowercase


def test_states_of_an_optimizer_in_a_checkpoint_of_google_are_left_out(tmp_path):
    checkpoint, model = opened("bert")
    arguments = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer}
    written = weights.write(tmp_path / "google", model, to="google", **arguments)
    reader = tf.train.load_checkpoint(str(written / "bert_model.ckpt"))
    tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    tensors |= {f"{name}/adam_m": value for name, value in tensors.items()}
    tensors["global_step"] = np.int64(3)
    tf.raw_ops.SaveV2(
        prefix=str(written / "bert_model.ckpt"),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    assert weights.read(written).groups >= {"masked_lm", "next_sentence"}
