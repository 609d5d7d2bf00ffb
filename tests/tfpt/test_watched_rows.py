"""What TensorBoard shows of a few rows: predictions as Markdown, attention as images."""

import html
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from tfpt import models, pipelines, tensorboard_parts, training, watched_rows
from tfpt.models.layers import TransformerLayer
from tfpt.pipelines.tokenizer import SPECIAL_TOKENS

WORDS = ["the", "cat", "sat", "*", "|", "<b>"]
TOKENIZER = pipelines.Tokenizer([*SPECIAL_TOKENS, *WORDS])
IDS = {entry: number for number, entry in enumerate(TOKENIZER.vocabulary)}


def test_predictions_are_told_with_the_answer_and_the_most_probable_words():
    row = ["[CLS]", "the", "[MASK]", "cat", "[SEP]", "[PAD]"]
    rows = (
        {
            "token_ids": np.array([[IDS[entry] for entry in row]]),
            "padding_mask": np.array([[1, 1, 1, 1, 1, 0]]),
            # In another order than in the text, and one slot is not used.
            "mask_positions": np.array([[3, 2, 0]]),
        },
        {"masked_lm": np.array([[IDS["sat"], IDS["cat"], 0]])},
        {"masked_lm": np.array([[1.0, 1.0, 0.0]])},
    )
    words = np.zeros((1, 3, len(IDS)))
    words[0, 0, [IDS["sat"], IDS["*"], IDS["the"]]] = 0.75, 0.2, 0.05
    words[0, 1, [IDS["|"], IDS["<b>"], IDS["cat"]]] = 0.5, 0.3, 0.1
    (text,) = watched_rows.predictions(rows, words, TOKENIZER)
    _, _, context, _, *table = text.splitlines()
    assert html.unescape(context) == "[CLS] the **{[MASK]|cat}** **{cat|sat}** [SEP]"
    assert [html.unescape(line) for line in table] == [
        "| right | first | second | third |",
        "|---|---|---|---|",
        "| cat | | 50% | <b> 30% | **cat 10%** |",
        "| sat | **sat 75%** | * 20% | the 5% |",
    ]
    # In the Markdown itself the signs of the words are entities.
    assert table[2].count("|") == 5
    assert "<" not in text.replace("&#60;", "")


@pytest.mark.parametrize("text", ["a*b_c|d<e>`f`", "# one", "caf\u00e9 [x](y) \\ & 5."])
def test_what_is_escaped_has_no_sign_that_markdown_reads(text):
    written = tensorboard_parts.escaped(text)
    assert html.unescape(written) == text
    assert re.fullmatch(r"(?:&#\d+;|[^\W_]|\s)*", written)


def test_an_image_has_a_map_for_each_head_of_each_layer():
    maps = [np.zeros((2, 12, 12)), np.ones((2, 12, 12))]
    maps[0][1, 3, 5] = 1.0
    image = watched_rows.attention_image(maps)
    scale, gap = 256 // 12, 8
    side = 12 * scale + gap
    assert image.shape == (2 * side, 2 * side, 3)
    assert (image[gap:side, gap:side] == 255).all()  # nobody looks
    dark = image[side + gap :, gap:side]
    assert (dark == dark[0, 0]).all()
    assert dark.max() < 60
    # One token, the third, looks at one other.
    one = np.argwhere((image[gap:side, side + gap :] < 60).all(axis=-1))
    assert one.min(axis=0).tolist() == [3 * scale, 5 * scale]
    assert one.max(axis=0).tolist() == [4 * scale - 1, 6 * scale - 1]
    # Notches for the tokens 1 and 11, above and to the left of each map.
    notches = np.flatnonzero((image[gap:side, gap - 1] == 0).all(axis=-1))
    assert notches.tolist() == [scale // 2, 10 * scale + scale // 2]


def test_an_encoder_whose_layers_do_not_tell_has_no_maps():
    inputs = keras.Input((3,), name="x")
    encoder = keras.Model({"x": inputs}, keras.layers.Dense(2)(inputs))
    assert watched_rows.attention_inputs(encoder) is None


def test_the_first_the_middle_and_the_last_layer_are_shown(monkeypatch):
    monkeypatch.setattr(
        TransformerLayer,
        "attention_weights",
        lambda layer, x, text_ids: (layer.name, x, text_ids),
    )
    encoder = models.encoder(tiny_bert.size(num_layers=6), tiny_bert.V)
    layers, inputs = watched_rows.attention_inputs(encoder)
    assert [layer.name for layer in layers] == ["layer_0", "layer_2", "layer_5"]
    row = {name: value[:1] for name, value in tiny_bert.rows()[0].items()}
    told = watched_rows.attention(layers, inputs, row)
    assert [name for name, _, _ in told] == ["layer_0", "layer_2", "layer_5"]
    expected = encoder({name: row[name] for name in encoder.input})["sequence_output"]
    last = layers[-1](told[-1][1], told[-1][2])
    np.testing.assert_allclose(last, expected, atol=1e-6)
    assert all((text_ids == row["padding_mask"]).numpy().all() for _, _, text_ids in told)


def summaries(folder):
    for path in folder.glob("events.out.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            yield from ((event.step, value) for value in event.summary.value)


def test_rows_of_the_validation_are_written_after_each_validation(tmp_path, monkeypatch):
    def even(layer, x, text_ids):
        (rows, length), heads = text_ids.shape, layer.num_heads
        return tf.fill([rows, heads, length, length], 1.0 / length)

    monkeypatch.setattr(TransformerLayer, "attention_weights", even)
    model = tiny_bert.compiled()
    run = training.Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER)
    rows = watched_rows.WatchRows(run, tiny_bert.stream().take(2))
    rows.set_model(model)
    rows.on_train_begin()
    for step in (5, 7):
        model.steps.assign(step)
        rows.on_epoch_end(0, {})
    rows.on_train_end()
    found = {(step, value.tag): value for step, value in summaries(run.path / "logs" / "rows")}
    tags = ("row_1", "row_2", "row_3", "attention", "attention_tokens")
    assert set(found) == {(step, tag) for step in (5, 7) for tag in tags}
    entries = tf.make_ndarray(found[7, "attention_tokens"].tensor).item().decode()
    length = int(tiny_bert.rows(4 * tiny_bert.B)[0]["padding_mask"][0].sum())
    assert entries.count("&nbsp;") == length
    picture = tf.io.decode_png(tf.make_ndarray(found[7, "attention"].tensor)[2])
    side = length * (256 // length) + 8
    assert picture.shape == (side, 2 * side, 3)
