"""Features of texts: which states, in which order, in which files."""

import json

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf
import tiny_bert
from click.testing import CliRunner
from test_weights import folder
from test_weights import opened as weights_of

from tfpt import config, extraction, models, peft
from tfpt.cli import main
from tfpt.pipelines import read_texts

TOKENIZER = tiny_bert.TOKENIZER
# Of several lengths, not sorted; the fourth is cut.
WORDS = ((3, 4, 5), (1,), (7, 8), tuple(range(20)), (6,), (9, 2, 9, 2))
TEXTS = [(" ".join(f"word{number}" for number in words),) for words in WORDS]
LENGTH = 12


@pytest.fixture(scope="module")
def encoder():
    tf.keras.utils.set_random_seed(3)
    return models.encoder(tiny_bert.size(num_layers=2), tiny_bert.V)


def alone(encoder, number):
    """Inputs of one text without padding."""
    words = WORDS[number][: LENGTH - 2]
    ids = [TOKENIZER.cls_id, *(5 + word for word in words), TOKENIZER.sep_id]
    ones = np.ones((1, len(ids)), "int32")
    return {"token_ids": np.array([ids], "int32"), "padding_mask": ones, "segment_ids": 0 * ones}


def extracted(encoder, texts=TEXTS, **changes):
    found = extraction.extract(
        encoder, TOKENIZER, texts, sequence_length=LENGTH, batch_size=2, **changes
    )
    return [value for some in found for value in some]


@pytest.mark.parametrize("pooling", config.POOLINGS)
def test_features_are_those_of_each_text_alone(encoder, pooling):
    found = extracted(encoder, pooling=pooling)
    assert len(found) == len(TEXTS)
    for number, value in enumerate(found):
        outputs = encoder(alone(encoder, number))
        states = outputs["sequence_output"].numpy()[0]
        expected = {
            "mean": states.mean(axis=0),
            "first": states[0],
            "tokens": states,
            "pooled": outputs["pooled_output"].numpy()[0],
        }[pooling]
        np.testing.assert_allclose(value, expected, atol=1e-5)


def test_the_order_is_that_of_the_texts_over_several_sorted_stretches(encoder, monkeypatch):
    expected = extracted(encoder)
    monkeypatch.setattr(extraction, "_BATCHES_SORTED", 2)
    for one, other in zip(extracted(encoder), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_states_are_those_after_a_layer(encoder, layer):
    found = extracted(encoder, layer=layer, pooling="tokens")
    given = alone(encoder, 0)
    x = encoder.get_layer("position_embedding")(
        encoder.get_layer("token_embedding")(given["token_ids"]),
        encoder.get_layer("segment_embedding")(given["segment_ids"]),
    )
    for number in range(layer):
        x = encoder.get_layer(f"layer_{number}")(x, given["padding_mask"])
    np.testing.assert_allclose(found[0], x[0], atol=1e-5)


def test_pairs_are_packed_as_in_training(encoder):
    (found,) = extracted(encoder, [("word1 word2", "word3")], pooling="tokens")
    ids = [TOKENIZER.cls_id, 6, 7, TOKENIZER.sep_id, 8, TOKENIZER.sep_id]
    ones = np.ones((1, 6), "int32")
    segments = np.array([[0, 0, 0, 0, 1, 1]], "int32")
    given = {"token_ids": np.array([ids], "int32"), "padding_mask": ones, "segment_ids": segments}
    np.testing.assert_allclose(found, encoder(given)["sequence_output"][0], atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "max"}, "`pooling` must be one of mean, first, pooled, tokens"),
        ({"layer": 3}, "`layer` must be from 0 to 2; received 3"),
        ({"layer": 1, "pooling": "pooled"}, "is of the last layer; received layer=1"),
        ({"sequence_length": 17}, "is 17, but the encoder has positions for 16 tokens"),
        ({"texts": []}, "There is no text"),
    ],
)
def test_what_cannot_be_extracted_is_told_at_once(encoder, changes, message):
    with pytest.raises(ValueError, match=message):
        extraction.extract(encoder, TOKENIZER, **{"texts": TEXTS, **changes})


def test_an_empty_text_is_told_before_the_work_and_what_is_cut_once_after_it(encoder):
    with pytest.raises(ValueError, match=r"Text 3 is empty: \('word1', ' '\)"):
        extraction.extract(encoder, TOKENIZER, [("a", "b"), ("a", "b"), ("word1", " ")])
    with pytest.warns(UserWarning, match="and cut") as told:
        extracted(encoder)
    assert [str(one.message) for one in told] == [
        "1 of 6 texts are longer than 12 tokens, and cut."
    ]


def test_inner_states_of_prompts_are_left_out(encoder):
    texts = TEXTS[:3]
    before = extracted(encoder, texts, layer=1, pooling="tokens")
    adapted = peft.prompt_tuning(
        models.encoder(tiny_bert.size(num_layers=2), tiny_bert.V), num_tokens=4
    )
    found = extracted(adapted, texts, layer=1, pooling="tokens")
    assert [one.shape for one in found] == [one.shape for one in before]
    for value, mean in zip(found, extracted(adapted, texts, layer=1), strict=True):
        np.testing.assert_allclose(mean, value.mean(axis=0), atol=1e-5)


def test_a_parquet_without_pyarrow_is_told_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"by pyarrow, which is not installed\. Install it"):
        extraction.check_file(tmp_path / "x.parquet")


def test_arrays_and_parquet_hold_the_same(encoder, tmp_path):
    for name in ("a.npy", "a.parquet"):
        found = extraction.extract(encoder, TOKENIZER, TEXTS, batch_size=2)
        extraction.write(tmp_path / name, found, len(TEXTS))
    array = np.load(tmp_path / "a.npy")
    column = pyarrow.parquet.read_table(tmp_path / "a.parquet")["features"].to_pylist()
    assert (array.shape, array.dtype) == ((6, 16), np.float32)
    np.testing.assert_array_equal(array, np.array(column, np.float32))
    found = extraction.extract(encoder, TOKENIZER, TEXTS, pooling="tokens", batch_size=2)
    extraction.write(tmp_path / "tokens.parquet", found, len(TEXTS))
    rows = pyarrow.parquet.read_table(tmp_path / "tokens.parquet")["features"].to_pylist()
    assert [len(row) for row in rows] == [min(16, len(words) + 2) for words in WORDS]


def test_a_file_that_cannot_be_written_leaves_nothing(encoder, tmp_path):
    def found(**changes):
        return extraction.extract(encoder, TOKENIZER, TEXTS, **changes)

    with pytest.raises(ValueError, match=r"must end in \.npy or \.parquet"):
        extraction.write(tmp_path / "a.csv", found(), 6)
    with pytest.raises(ValueError, match="rows of several lengths"):
        extraction.write(tmp_path / "a.npy", found(pooling="tokens"), 6)
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.npy").touch()
    with pytest.raises(FileExistsError, match="Nothing is overwritten"):
        extraction.write(tmp_path / "a.npy", found(), 6)


def test_texts_without_labels_are_read_from_every_kind_of_file(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo,\u2028too\n")
    assert read_texts(tmp_path / "a.txt") == [("one",), ("",), ("two,\u2028too",)]
    (tmp_path / "a.csv").write_text('text,more\none,1\n"two, too",2\n')
    assert read_texts(tmp_path / "a.csv") == [("one",), ("two, too",)]
    assert read_texts(tmp_path / "a.csv", text=("text", "more"))[1] == ("two, too", "2")
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "one"}) + "\n")
    assert read_texts(tmp_path / "a.jsonl") == [("one",)]
    with pytest.raises(ValueError, match=r"column|field"):
        read_texts(tmp_path / "a.csv", text=("body",))
    with pytest.raises(ValueError, match=r"a line of a \.txt is one text"):
        read_texts(tmp_path / "a.txt", text=("a", "b"))
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_texts(tmp_path / "b.txt")


def test_the_command_writes_the_features_of_a_run(tmp_path):
    (tmp_path / "texts.txt").write_text("a cat sat\nthe dog lay by the door\n")
    for words in (
        ("import", folder("bert"), "--out", tmp_path / "run"),
        (
            *("features", tmp_path / "run", tmp_path / "texts.txt", "--out", tmp_path / "a.npy"),
            *("--sequence-length", 24, "--layer", 1),
        ),
    ):
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.output
    checkpoint, model = weights_of("bert")
    texts = [("a cat sat",), ("the dog lay by the door",)]
    (found,) = extraction.extract(model.encoder, checkpoint.tokenizer, texts, layer=1)
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), np.stack(found), atol=1e-6)
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 1
    assert "Nothing is overwritten" in result.output


def test_features_of_a_packed_run_are_those_of_texts_alone(tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat on the mat\nit sat\n\na dog ran\nit ran\n\n" * 9)
    sizes = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    chosen = [f"model.{name}={value}" for name, value in sizes.items()]
    chosen += ["drawing.layout=packed", "drawing.max_texts=3", "data.sequence_length=24"]
    chosen += [f"data.store={tmp_path / 'store'}", "training.batch_size=4"]
    chosen += ["training.total_steps=1", "training.steps_per_epoch=1", "training.warmup_steps=0"]
    settings = [word for one in chosen for word in ("--set", one)]
    vocabulary = tmp_path / "vocab.txt"
    lines = (tmp_path / "a.txt").read_text().replace("\n\n", "\n")
    (tmp_path / "b.txt").write_text(lines)
    for words in (
        ("vocabulary", tmp_path / "a.txt", "--size", 37, "--out", vocabulary),
        ("store", tmp_path / "a.txt", "--vocabulary", vocabulary, "--out", tmp_path / "store"),
        ("pretrain", "bert", *settings, "--out", tmp_path / "run"),
        ("features", tmp_path / "run", tmp_path / "b.txt", "--out", tmp_path / "a.npy"),
    ):
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "a.npy").shape == (9 * 4, 16)
