"""Epochs, mixes, shares of workers, and rows that hold several texts: whole streams compared."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from drawn import BATCH, LENGTH, assert_equal, examples_of, first_texts, take, texts_of

from tfpt.pipelines import Drawing, Share, epoch_rows, write_store

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
        # An epoch, and a batch that lies in two.
        number = epoch_rows(store, sequence_length=LENGTH, drawing=drawing) // BATCH + 1
        whole = take(store, number, drawing=drawing)
        parts = [take(store, number, drawing=drawing, share=Share(n, 2)) for n in range(2)]
        for place, batch in enumerate(whole):
            shares = [part[place] for part in parts]
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
