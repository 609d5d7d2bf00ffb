"""The batches of BERT's pre-training, as a model sees them."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from drawn import BATCH, LENGTH, assert_equal, take

from tfpt import features
from tfpt.pipelines import (
    Drawing,
    Masking,
    Share,
    mlm_nsp,
    open_store,
    pretraining_batches,
    write_store,
)


def test_batches_keep_the_contract(store):
    dataset = mlm_nsp(store, sequence_length=LENGTH, batch_size=BATCH)
    inputs, labels, weights = dataset.element_spec
    masks = inputs[features.MASK_POSITIONS].shape[1]
    sizes = {"B": BATCH, "T": LENGTH, "P": masks, "S": 1}
    assert set(labels) == set(weights) == {features.MASKED_LM, features.NEXT_SENTENCE}
    for specs, table in ((inputs, features.FEATURES), (labels, features.LABELS)):
        for name, spec in specs.items():
            assert spec.dtype.name == table[name].dtype
            assert spec.shape == [sizes[letter] for letter in table[name].shape]
    for name, spec in weights.items():
        assert spec.dtype == tf.float32
        assert spec.shape == labels[name].shape


def test_any_batch_is_drawn_without_those_before(store):
    first = take(store, 6)
    assert_equal(first[4:], take(store, 2, first_batch=4))
    assert not np.array_equal(first[0][0]["token_ids"], take(store, 1, seed=6)[0][0]["token_ids"])


def test_epochs_have_no_end(store):
    """Far past 2**32 of them."""
    first = take(store, 2, first_batch=10**15)
    assert_equal(first[1:], take(store, 1, first_batch=10**15 + 1))


def test_rows_do_not_depend_on_the_batch_size(store):
    small = take(store, 4, batch_size=8)
    large = take(store, 1, batch_size=32)[0]
    joined = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *small)
    assert_equal(joined, large)


def test_rows_are_cls_a_sep_b_sep(store, tokenizer):
    for inputs, _, _ in take(store, 3):
        ids, segments = inputs["token_ids"], inputs["segment_ids"]
        mask = inputs["padding_mask"]
        lengths = mask.sum(axis=1)
        np.testing.assert_array_equal(mask, np.arange(LENGTH) < lengths[:, None])
        assert (ids[:, 0] == tokenizer.cls_id).all()
        assert (ids[mask == 0] == tokenizer.pad_id).all()
        assert ((ids == tokenizer.sep_id).sum(axis=1) == 2).all()
        for row in range(BATCH):
            first, second = np.flatnonzero(ids[row] == tokenizer.sep_id)
            assert second == lengths[row] - 1
            assert 1 < first < second - 1
            expected = (np.arange(LENGTH) > first) & (np.arange(LENGTH) <= second)
            np.testing.assert_array_equal(segments[row], expected)


def test_restoring_the_masked_tokens_gives_text_of_the_corpus(store, corpus, tokenizer):
    texts = [" ".join(document) for document in corpus]
    for inputs, labels, weights in take(store, 2):
        ids = inputs["token_ids"].copy()
        for row in range(BATCH):
            chosen = weights["masked_lm"][row] > 0
            ids[row, inputs["mask_positions"][row][chosen]] = labels["masked_lm"][row][chosen]
            first, second = np.flatnonzero(ids[row] == tokenizer.sep_id)
            for part in (ids[row, 1:first], ids[row, first + 1 : second]):
                words = " ".join(tokenizer.ids_to_tokens(part))
                assert any(f" {words} " in f" {text} " for text in texts)


def test_statistics_of_100_000_rows(store):
    """The shares that the paper names, on rows as the model gets them."""
    rows = masked = ordinary = following = 0
    for inputs, labels, weights in take(store, 50, batch_size=2000):
        chosen = weights["masked_lm"] > 0
        assert (labels["masked_lm"][chosen] >= 5).all()  # every target is a real token
        positions = inputs["mask_positions"] + np.arange(2000)[:, None] * LENGTH
        assert len(np.unique(positions[chosen])) == chosen.sum()  # no position twice
        real = inputs["padding_mask"].sum(axis=1) - 3
        below = 0.15 * real < chosen.shape[1]
        rows += 2000
        masked += chosen[below].sum()
        ordinary += real[below].sum()
        following += labels["next_sentence"].sum()
    assert rows == 100_000
    assert abs(masked / ordinary - 0.15) < 0.001
    assert abs(following / rows - 0.5) < 0.005


def test_what_cannot_work_is_refused(store, tmp_path, tokenizer):
    for changes, message in (
        ({"sequence_length": 4}, "at least 8"),
        ({"batch_size": 0}, "at least 1 row"),
        ({"first_batch": -1}, "`first_batch` is a number from 0"),
        ({"first_batch": 2**62}, "`first_batch` is a number from 0"),
        ({"batch_size": 6, "share": Share(0, 4)}, "multiple of the 4"),
        ({"drawing": Drawing(weights=(1.0, 2.0))}, "2 numbers for 1"),
    ):
        with pytest.raises(ValueError, match=message):
            take(store, 1, **changes)
    single = write_store([("w1 w2", "w3")], tokenizer, tmp_path / "single")
    with pytest.raises(ValueError, match="at least 2"):
        take(single, 1)
    short = write_store([("w1",), ("w2",)], tokenizer, tmp_path / "short")
    with pytest.raises(ValueError, match="of 2 tokens"):
        take(short, 1)


def test_the_rate_of_masks_follows_its_schedule(store):
    settings = Masking(rate=0.3, final_rate=0.1, rate_steps=10)
    drawing = Drawing(masking=settings)
    shares = [
        batch[2]["masked_lm"].sum() / (batch[0]["padding_mask"].sum() - 3 * 500)
        for batch in take(store, 12, batch_size=500, drawing=drawing)
    ]
    np.testing.assert_allclose(shares[0], 0.3, atol=0.01)
    np.testing.assert_allclose(shares[5], 0.2, atol=0.01)
    np.testing.assert_allclose(shares[-1], 0.1, atol=0.01)


def test_training_and_validation_stores_must_share_the_vocabulary(store, tmp_path):
    from tfpt.pipelines import Tokenizer

    other = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "x", "y"])
    write_store([("x y",), ("y x",)], other, tmp_path / "other")
    with pytest.raises(ValueError, match="another vocabulary"):
        pretraining_batches(
            store.path, tmp_path / "other", sequence_length=16, batch_size=2, validation_steps=1
        )


def test_validation_batches_are_the_same_each_time(store):
    data = pretraining_batches(
        store.path, store.path, sequence_length=16, batch_size=4, validation_steps=3, seed=9
    )
    first, second = (
        [tf.nest.map_structure(np.asarray, batch) for batch in data.validation] for _ in range(2)
    )
    assert len(first) == 3
    assert_equal(first, second)
    assert_equal(
        tf.nest.map_structure(np.asarray, next(iter(data.train_batches(2)))),
        take(open_store(store.path), 1, sequence_length=16, batch_size=4, seed=9, first_batch=2)[0],
    )


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc")
def test_a_large_store_is_mapped_not_read(tmp_path, tokenizer):
    """Drawing from 200 MB of tokens adds little anonymous memory."""
    small = write_store([("w1 w2 w3",) * 10, ("w4 w5",)], tokenizer, tmp_path / "s")
    repeats = 3_000_000
    path = small.path
    ids, offsets = np.array(small.token_ids), np.array(small.sentence_offsets)
    np.tile(ids, repeats).tofile(path / "token_ids.bin")
    sizes = np.tile(np.diff(offsets)[:11], repeats // 100)
    # Few, long sentences: the offsets stay small against the tokens.
    total = len(ids) * repeats
    borders = np.linspace(0, total, len(sizes) // 100, dtype=np.int64)
    borders.tofile(path / "sentence_offsets.bin")
    np.array([0, len(borders) // 2, len(borders) - 1], np.int64).tofile(
        path / "document_offsets.bin"
    )

    description = json.loads((path / "store.json").read_text())
    for name in description["files"]:
        description["files"][name]["bytes"] = (path / name).stat().st_size
    (path / "store.json").write_text(
        json.dumps({**description, "num_tokens": total, "num_sentences": len(borders) - 1})
    )
    script = f"""
import re
from tfpt.pipelines import mlm_nsp, open_store
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
store = open_store({str(path)!r})
import tensorflow as tf
tf.constant(1) + 1
before = anonymous()
for batch in mlm_nsp(store, sequence_length=128, batch_size=64).take(20):
    pass
print("added", anonymous() - before, "of", store.token_ids.nbytes / 2**20)
"""
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    added, size = map(float, re.search(r"added (\S+) of (\S+)", output).groups())
    assert size > 180
    assert added < size / 2
