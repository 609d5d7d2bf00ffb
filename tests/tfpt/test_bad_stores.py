"""A store that cannot be trained on is one sentence before training begins; nothing is written."""

import json
import shutil

import pytest
import tiny_bert
from click.testing import CliRunner

from tfpt import pipelines
from tfpt.cli import main

NUMBERS = ("model.num_layers=1", "model.hidden_dim=16", "model.num_heads=1")
NUMBERS += ("model.intermediate_dim=32", "data.sequence_length=16", "training.batch_size=2")
NUMBERS += ("training.total_steps=2", "training.warmup_steps=1", "training.steps_per_epoch=2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    documents = [("word1 word2", "word3"), ("word4 word5",)] * 4
    folder = tmp_path_factory.mktemp("stores") / "whole"
    return pipelines.write_store(documents, tiny_bert.TOKENIZER, folder).path


@pytest.fixture
def pretrain(tmp_path):
    """A function that pre-trains on a store, which must fail, and gives the sentence printed."""

    def run(store, *numbers):
        settings = [f"data.store={store}", *NUMBERS, *numbers]
        sets = [word for one in settings for word in ("--set", one)]
        result = CliRunner().invoke(main, ["pretrain", "bert", *sets, "--out", str(tmp_path / "r")])
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit), result.exception
        assert not (tmp_path / "r").exists()
        (line,) = result.output.splitlines()
        return line

    return run


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("token_ids.bin", "is damaged in block 0"),
        ("sentence_offsets.bin", "is damaged in block 0"),
        ("document_offsets.bin", "is damaged in block 0"),
        ("vocab.txt", "is not the one that the store was written with"),
        ("store.json", "is damaged"),
    ],
)
def test_a_bit_was_flipped(pretrain, whole, tmp_path, name, sentence):
    store = shutil.copytree(whole, tmp_path / "s")
    # The highest byte of an offset, and the first letter of a key or an entry.
    flip(store / name, {"vocab.txt": -2, "store.json": 5}.get(name, 7))
    assert sentence in pretrain(store)


def test_a_file_was_cut_off(pretrain, whole, tmp_path):
    store = shutil.copytree(whole, tmp_path / "s")
    path = store / "token_ids.bin"
    path.write_bytes(path.read_bytes()[:-2])
    assert "bytes were written" in pretrain(store)


def test_a_format_is_newer(pretrain, whole, tmp_path):
    store = shutil.copytree(whole, tmp_path / "s")
    description = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**description, "format": 99}))
    assert "Upgrade tfpt" in pretrain(store)


def test_stores_of_a_mix_have_other_vocabularies(pretrain, whole, tmp_path):
    other = pipelines.Tokenizer([*tiny_bert.TOKENIZER.vocabulary, "another"])
    pipelines.write_store([("another",), ("word1",)], other, tmp_path / "other")
    assert "they cannot be mixed" in pretrain(f"{whole},{tmp_path / 'other'}")


def test_rows_are_too_short_for_a_pair(pretrain, whole):
    assert "at least 8 tokens" in pretrain(whole, "data.sequence_length=4")


def test_a_text_without_a_sentence_end_is_a_document_of_one_sentence(pretrain, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("word1 word2 " * 10_000)
    documents = pipelines.read_documents(texts, layout="text")
    with pytest.warns(UserWarning, match="tokens on average"):
        pipelines.write_store(documents, tiny_bert.TOKENIZER, tmp_path / "s")
    assert "next-sentence pairs need at least 2" in pretrain(tmp_path / "s")


def test_a_vocabulary_has_no_mask(pretrain, tmp_path):
    entries = pipelines.train_byte_pair([("a",)], 261).vocabulary
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = pipelines.BytePair([*special, *entries[5:]], [], special_tokens=special)
    pipelines.write_store([("a b",), ("c d",)], tokenizer, tmp_path / "s")
    assert "[MASK]" in pretrain(tmp_path / "s")
