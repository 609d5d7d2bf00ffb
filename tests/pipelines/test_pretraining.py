"""The batches of BERT's pre-training, as a model sees them."""

import json
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tfpt import features
from tfpt.pipelines import (
    Drawing,
    Masking,
    Share,
    epoch_rows,
    masked_lm,
    mlm_nsp,
    open_store,
    pairing,
    pretraining_batches,
    write_store,
)

LENGTH, BATCH = 64, 32


def take(store, number, **changes):
    arguments = {"sequence_length": LENGTH, "batch_size": BATCH, "seed": 5, **changes}
    return [
        tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)
        for batch in masked_lm(store, **arguments).take(number)
    ]


def assert_equal(left, right):
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)


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


def texts_of(batches):
    """The texts of all rows, masks undone, as a list of tuples of ids; specials left out."""
    found = []
    for inputs, labels, weights in batches:
        ids = inputs["token_ids"].copy()
        for row, (places, chosen) in enumerate(
            zip(inputs["mask_positions"], weights["masked_lm"] > 0, strict=True)
        ):
            ids[row, places[chosen]] = labels["masked_lm"][row][chosen]
        texts = inputs.get("text_ids", inputs["padding_mask"])
        for row, numbers in zip(ids, texts, strict=True):
            for number in range(1, numbers.max() + 1):
                text = row[numbers == number]
                found.append(tuple(text[text >= 5]))
    return found


def examples_of(store):
    """The same of the stretches that an epoch visits, from the store itself."""
    starts = pairing.example_starts(
        store.sentence_offsets, store.document_offsets, LENGTH - 2, min_tokens=1
    )
    lengths = pairing.example_lengths(
        starts, store.sentence_offsets, store.document_offsets, LENGTH - 2
    )
    begins = store.sentence_offsets[starts]
    return [
        tuple(store.token_ids[first : first + length])
        for first, length in zip(begins, lengths, strict=True)
    ]


SINGLE = Drawing(pairing="single")


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_an_epoch_visits_every_example_once_in_a_new_order(store, layout):
    drawing = Drawing(pairing="single", layout=layout)
    rows = epoch_rows(store, sequence_length=LENGTH, drawing=drawing)
    epochs = [
        texts_of(take(store, 1, drawing=drawing, batch_size=rows, first_batch=n)) for n in (0, 1)
    ]
    for epoch in epochs:
        assert sorted(epoch) == sorted(examples_of(store))
    assert epochs[0] != epochs[1]


def test_what_cannot_work_is_refused(store, tmp_path, tokenizer):
    for changes, message in (
        ({"sequence_length": 4}, "at least 8"),
        ({"batch_size": 0}, "at least 1 row"),
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


def test_bucketed_epochs_visit_every_example_and_rows_fit_their_length(store):
    drawing = Drawing(pairing="single", layout="bucketed", num_buckets=3)
    drawn = take(store, 400, drawing=drawing, batch_size=4)
    lengths = {batch[0]["token_ids"].shape for batch in drawn}
    assert lengths == {(16, 16), (8, 32), (4, 64)}
    for inputs, _, _ in drawn:
        filled = inputs["padding_mask"].sum(axis=1)
        longest = inputs["token_ids"].shape[1]
        assert ((filled <= longest) & ((filled > longest // 2) | (longest == 16))).all()
    # Each length goes through epochs of its own: none is visited twice before all were once.
    for _, longest in lengths:
        of_length = [text for text in examples_of(store) if longest // 2 < len(text) + 2 <= longest]
        if longest == 16:
            of_length += [text for text in examples_of(store) if len(text) + 2 <= 8]
        size = len(of_length)
        batches = [batch for batch in drawn if batch[0]["token_ids"].shape[1] == longest]
        seen = Counter(texts_of(batches))
        assert set(seen) <= set(of_length)
        assert sum(seen.values()) > size
        whole = max(seen.values()) - min(seen[text] for text in of_length)
        assert whole <= 2, (longest, size)


def test_workers_draw_each_row_of_a_batch_once(store):
    for drawing in (Drawing(), Drawing(layout="packed"), Drawing(layout="bucketed")):
        whole = take(store, 6, drawing=drawing)
        parts = [take(store, 6, drawing=drawing, share=Share(n, 4)) for n in range(4)]
        for number, batch in enumerate(whole):
            shares = [part[number] for part in parts]
            joined = tf.nest.map_structure(lambda *rows: np.concatenate(rows), *shares)
            assert_equal(batch, joined)


@pytest.fixture(scope="module")
def other_store(tokenizer, tmp_path_factory):
    """20 documents of words that `store` has too."""
    random = np.random.default_rng(1)
    documents = [
        tuple(" ".join(random.choice(list(tokenizer.vocabulary[5:]), 30)) for _ in range(12))
        for _ in range(20)
    ]
    return write_store(documents, tokenizer, tmp_path_factory.mktemp("stores") / "other")


def test_a_mix_without_weights_visits_every_example_of_all_stores_once(store, other_store):
    both = [store, other_store]
    rows = epoch_rows(both, sequence_length=LENGTH, drawing=SINGLE)
    for number in (0, 1):
        got = texts_of(take(both, 1, drawing=SINGLE, batch_size=rows, first_batch=number))
        assert sorted(got) == sorted(examples_of(store) + examples_of(other_store))


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_the_shares_of_a_mix_are_exact_over_an_epoch(store, other_store, layout):
    drawing = Drawing(pairing="single", layout=layout, weights=(3.0, 1.0))
    both = [store, other_store]
    rows = epoch_rows(both, sequence_length=LENGTH, drawing=drawing)
    first = Counter(examples_of(store))
    for number in (0, 1, 2):
        batch = take(both, 1, drawing=drawing, batch_size=rows, first_batch=number)
        owners = [row_text in first for row_text in first_texts(batch)]
        assert len(owners) == rows
        assert sum(owners) == round(0.75 * rows)


def first_texts(batches):
    """The first text of each row."""
    found = []
    for inputs, labels, weights in batches:
        for row in range(len(inputs["token_ids"])):
            one = tf.nest.map_structure(
                lambda part, row=row: part[row : row + 1], (inputs, labels, weights)
            )
            found.append(texts_of([one])[0])
    return found


def test_rows_of_a_store_are_those_it_has_alone(store, other_store):
    """Of a mix, each store goes through its own epochs, none of its examples twice in one."""
    drawing = Drawing(pairing="single", weights=(1.0, 1.0))
    both = [store, other_store]
    size = len(examples_of(other_store))
    rows = epoch_rows(both, sequence_length=LENGTH, drawing=drawing)
    got = texts_of(take(both, 4, drawing=drawing, batch_size=rows))
    seen = Counter(text for text in got if text in set(examples_of(other_store)))
    assert sum(seen.values()) == 4 * (rows // 2)
    assert max(seen.values()) - min(seen.values()) <= 1
    assert len(seen) == size


def test_duplicates_come_again_in_another_order(store):
    drawing = Drawing(duplicates=2)
    rows = epoch_rows(store, sequence_length=LENGTH, drawing=drawing)
    first, second, third = (
        take(store, 1, drawing=drawing, batch_size=rows, first_batch=n)[0] for n in range(3)
    )

    def as_set(batch):
        inputs, labels, _ = batch
        parts = (inputs["token_ids"], labels["masked_lm"], labels["next_sentence"])
        return Counter(map(tuple, np.concatenate(parts, axis=1).tolist()))

    assert as_set(first) == as_set(third)
    assert not np.array_equal(first[0]["token_ids"], third[0]["token_ids"])
    assert sum((as_set(first) & as_set(second)).values()) < 0.05 * rows


def test_statistics_of_duplicates_are_those_of_fresh_draws(store):
    masked = ordinary = following = rows = 0
    for inputs, labels, weights in take(
        store, 20, batch_size=1000, drawing=Drawing(duplicates=10_000)
    ):
        chosen = weights["masked_lm"] > 0
        real = inputs["padding_mask"].sum(axis=1) - 3
        below = 0.15 * real < chosen.shape[1]
        masked += chosen[below].sum()
        ordinary += real[below].sum()
        following += labels["next_sentence"].sum()
        rows += len(real)
    assert abs(masked / ordinary - 0.15) < 0.002
    assert abs(following / rows - 0.5) < 0.015


def test_packed_rows_hold_whole_pairs(store, tokenizer):
    drawing = Drawing(layout="packed", max_texts=4)
    for inputs, labels, weights in take(store, 4, drawing=drawing):
        ids, texts = inputs["token_ids"], inputs["text_ids"]
        used = weights["next_sentence"]
        np.testing.assert_array_equal(texts.max(axis=1), used.sum(axis=1))
        np.testing.assert_array_equal(texts > 0, inputs["padding_mask"] > 0)
        assert (labels["next_sentence"][used == 0] == 0).all()
        for row in range(BATCH):
            for number in range(1, texts[row].max() + 1):
                where = np.flatnonzero(texts[row] == number)
                np.testing.assert_array_equal(where, np.arange(where[0], where[-1] + 1))
                np.testing.assert_array_equal(
                    inputs["position_ids"][row, where], np.arange(len(where))
                )
                assert inputs["text_positions"][row, number - 1] == where[0]
                assert ids[row, where[0]] == tokenizer.cls_id
                assert ids[row, where[-1]] == tokenizer.sep_id
                assert (ids[row, where] == tokenizer.sep_id).sum() == 2
                segments = inputs["segment_ids"][row, where]
                first = np.flatnonzero(ids[row, where] == tokenizer.sep_id)[0]
                np.testing.assert_array_equal(segments, np.arange(len(where)) > first)


def test_masks_per_token_are_the_same_in_packed_rows(store):
    shares = []
    for layout in ("padded", "packed"):
        masked = ordinary = 0
        for inputs, _, weights in take(store, 20, batch_size=500, drawing=Drawing(layout=layout)):
            chosen = weights["masked_lm"] > 0
            specials = np.isin(inputs["token_ids"], (0, 2, 3)).sum(axis=1)
            real = LENGTH - specials
            below = 0.15 * real < chosen.shape[1]
            masked += chosen[below].sum()
            ordinary += real[below].sum()
        shares.append(masked / ordinary)
    np.testing.assert_allclose(shares, 0.15, atol=0.002)


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
