"""The token store: what is written, what is read, what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tfpt.pipelines import (
    Tokenizer,
    causal_lm,
    masked_lm,
    open_store,
    pretraining_batches,
    span_corruption,
    store_parts,
    write_store,
)
from tfpt.pipelines.store import tensor_over, verify_store


def test_a_store_holds_the_tokens_of_every_sentence_in_order(store, corpus, tokenizer):
    sentences = [sentence for document in corpus for sentence in document]
    assert store.num_documents == len(corpus)
    assert store.num_sentences == len(sentences)
    offsets = store.sentence_offsets
    assert offsets[0] == 0
    assert offsets[-1] == store.num_tokens == len(store.token_ids)
    for number in (0, 1, 100, len(sentences) - 1):
        ids = store.token_ids[offsets[number] : offsets[number + 1]]
        assert list(tokenizer.ids_to_tokens(ids)) == sentences[number].split()
    lengths = np.diff(store.document_offsets)
    assert list(lengths) == [len(document) for document in corpus]


def test_tokens_take_two_bytes_and_four_past_65536_entries(tmp_path, store):
    assert store.token_ids.dtype == np.uint16
    words = [f"w{number}" for number in range(70_000)]
    tokenizer = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    large = write_store([("w69999 w0",), ("w1 w2",)], tokenizer, tmp_path / "large")
    assert large.token_ids.dtype == np.uint32
    assert list(large.token_ids) == [70_004, 5, 6, 7]


def test_the_tensor_lies_over_the_file_without_a_copy(store):
    tensor = tensor_over(store.token_ids)
    np.testing.assert_array_equal(tensor.numpy(), store.token_ids)
    capsule = np.from_dlpack(tensor)
    assert capsule.__array_interface__["data"][0] == store.token_ids.__array_interface__["data"][0]


def test_sentences_and_documents_without_tokens_are_left_out(tmp_path, tokenizer):
    documents = [("w1 w2", "\u200e\u0000", "w3"), ("\u0000",), (), ("w4",)]
    store = write_store(documents, tokenizer, tmp_path / "s")
    assert store.num_documents == 2
    assert list(np.diff(store.sentence_offsets)) == [2, 1, 1]
    assert list(store.document_offsets) == [0, 2, 3]


@pytest.mark.parametrize(("characters", "sentences"), [(200, 8192), (1 << 21, 1), (1 << 21, 7)])
def test_where_sentences_are_parted_to_be_tokenized_changes_nothing(
    tmp_path, tokenizer, corpus, store, monkeypatch, characters, sentences
):
    monkeypatch.setattr(store_parts, "_CHARACTERS_AT_ONCE", characters)
    monkeypatch.setattr(store_parts, "_SENTENCES_AT_ONCE", sentences)
    empty = [("\u0000",), (), ("\u0000", "\u200e")]
    again = write_store([*empty, *corpus, *empty], tokenizer, tmp_path / "s")
    for name in ("token_ids", "sentence_offsets", "document_offsets"):
        np.testing.assert_array_equal(getattr(again, name), getattr(store, name))
    assert again.num_documents == store.num_documents


def test_no_more_than_some_long_sentences_are_tokenized_at_once(tmp_path, tokenizer, monkeypatch):
    """A line of 100 MB is a hundred sentences of a million characters: it took 4 GB of memory."""
    sizes = []

    def tokenize(self, texts):
        sizes.append(sum(len(text) for text in texts.numpy()))
        return whole(self, texts)

    whole = Tokenizer.tokenize
    monkeypatch.setattr(Tokenizer, "tokenize", tokenize)
    with pytest.warns(UserWarning, match="200,000 tokens on average"):
        written = write_store([("w1 " * 200_000,) * 10] * 2, tokenizer, tmp_path / "s")
    assert written.num_tokens == 4_000_000
    assert list(written.document_offsets) == [0, 10, 20]
    assert max(sizes) < 3_000_000


def test_an_empty_corpus_is_refused_and_leaves_nothing(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="corpus is empty"):
        write_store([], tokenizer, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_leaves_nothing(tmp_path, tokenizer):
    def documents():
        yield ("w1 w2",)
        raise ValueError("a bad byte in line 7")

    with pytest.raises(ValueError, match="line 7"):
        write_store(documents(), tokenizer, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_never_overwritten(tmp_path, tokenizer):
    write_store([("w1",), ("w2",)], tokenizer, tmp_path / "s")
    before = (tmp_path / "s" / "store.json").read_bytes()
    with pytest.raises(FileExistsError, match="never overwritten"):
        write_store([("w3",)], tokenizer, tmp_path / "s")
    assert (tmp_path / "s" / "store.json").read_bytes() == before


def test_a_store_of_another_vocabulary_is_refused(store):
    other = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "x"])
    with pytest.raises(ValueError, match="another vocabulary"):
        open_store(store.path, other)


def test_a_folder_that_is_no_store_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no token store"):
        open_store(tmp_path)


def test_a_shortened_file_is_noticed_when_opened(tmp_path, tokenizer):
    store = write_store([("w1 w2",), ("w3",)], tokenizer, tmp_path / "s")
    path = store.path / "token_ids.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"token_ids\.bin is damaged"):
        open_store(store.path)


def test_a_changed_byte_is_noticed_when_verified(tmp_path, tokenizer):
    store = write_store([("w1 w2",), ("w3",)], tokenizer, tmp_path / "s")
    verify_store(store)
    path = store.path / "token_ids.bin"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"token_ids\.bin is damaged"):
        verify_store(store)


def test_a_newer_format_and_broken_json_are_refused(tmp_path, tokenizer):
    store = write_store([("w1",), ("w2",)], tokenizer, tmp_path / "s")
    path = store.path / "store.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "format": 99}))
    with pytest.raises(ValueError, match="Upgrade tfpt"):
        open_store(store.path)
    broken = ("{", "[]", "1", json.dumps({**description, "format": "2"}))
    lacking = [json.dumps({**description, "files": {}})]
    for name in description:
        if name != "tfpt":  # which is told, not read
            lacking.append(
                json.dumps({one: description[one] for one in description if one != name})
            )
    for text in (*broken, *lacking):
        path.write_text(text)
        with pytest.raises(ValueError, match="damaged"):
            open_store(store.path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="damaged"):
        open_store(store.path)


def test_another_vocabulary_inside_a_store_is_noticed(tmp_path, tokenizer):
    store = write_store([("w1 w2",), ("w2",)], tokenizer, tmp_path / "s")
    path = store.path / "vocab.txt"
    path.write_text(path.read_text().replace("w17\n", "w71x\n"))
    for refuse in (
        verify_store,
        lambda store: masked_lm(store, sequence_length=16, batch_size=2),
        lambda store: causal_lm(store, sequence_length=16, batch_size=2),
        lambda store: span_corruption(store, sequence_length=16, batch_size=2),
        lambda store: pretraining_batches(
            store.path, None, sequence_length=16, batch_size=2, validation_steps=1
        ),
    ):
        with pytest.raises(ValueError, match="is not the one that the store was written with"):
            refuse(store)


def test_a_full_disk_leaves_nothing_half_written(tmp_path, tokenizer):
    tokenizer.save(tmp_path / "vocab.txt")
    # A limit on the size of files stands in for a full disk: the same call fails in the same place.
    script = f"""
import resource, signal
from tfpt import pipelines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
tokenizer = pipelines.load_tokenizer({str(tmp_path / "vocab.txt")!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    pipelines.write_store([("w1 " * 40,)] * 20_000, tokenizer, {str(tmp_path / "s")!r})
except OSError as error:
    print("OSError", error.strerror)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.startswith("OSError File too large")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vocab.settings.json", "vocab.txt"]
