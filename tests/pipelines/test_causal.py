"""Rows to predict the token that follows, against the documents read by plain Python."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tfpt import features
from tfpt.pipelines import CausalDrawing, Share, Tokenizer, causal_lm, epoch_rows, write_store

LENGTH, SEP = 32, 3
WITHIN = CausalDrawing(within_documents=True)


def take(store, number, **changes):
    arguments = {"sequence_length": LENGTH, "batch_size": 8, "seed": 5, **changes}
    return [
        tf.nest.map_structure(np.asarray, batch)
        for batch in causal_lm(store, **arguments).take(number)
    ]


def epoch(store, number=0, **changes):
    """A whole epoch as one batch."""
    rows = epoch_rows(
        store, sequence_length=LENGTH, drawing=changes.get("drawing", CausalDrawing())
    )
    return take(store, 1, batch_size=rows, first_batch=number, **changes)[0]


def assert_equal(left, right):
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)


def laid_out(corpus, tokenizer, end_id=SEP):
    """All documents, an end token before the first and behind each."""
    tokens = [end_id]
    for document in corpus:
        for sentence in document:
            tokens += [tokenizer.vocabulary.index(word) for word in sentence.split()]
        tokens.append(end_id)
    return tokens


def expected_rows(tokens):
    """The rows of an epoch: tokens, what follows, text and place in it, weight; each of LENGTH."""
    rows = []
    for first in range(0, len(tokens) - 1, LENGTH):
        inputs, following = tokens[first : first + LENGTH], tokens[first + 1 : first + LENGTH + 1]
        inputs = inputs[: len(following)]
        texts, places = [], []
        for column, token in enumerate(inputs):
            begins = column == 0 or token == SEP
            texts.append((texts[-1] if texts else 0) + begins)
            places.append(0 if begins else places[-1] + 1)
        parts = (inputs, following, texts, places, [1] * len(inputs))
        rows.append(tuple(tuple(part + [0] * (LENGTH - len(part))) for part in parts))
    return rows


def as_rows(batch):
    """The same of a batch."""
    inputs, labels, weights = batch
    assert_equal(inputs["padding_mask"], weights["causal_lm"].astype(np.int32))
    parts = [inputs["token_ids"], labels["causal_lm"], inputs["text_ids"], inputs["position_ids"]]
    columns = [*parts, weights["causal_lm"].astype(int)]
    return [tuple(tuple(part[row].tolist()) for part in columns) for row in range(len(parts[0]))]


def test_batches_keep_the_contract(store):
    for drawing, extra in ((None, set()), (WITHIN, {features.TEXT_IDS, features.POSITION_IDS})):
        dataset = causal_lm(store, sequence_length=LENGTH, batch_size=8, drawing=drawing)
        inputs, labels, weights = dataset.element_spec
        assert set(inputs) == {features.TOKEN_IDS, features.PADDING_MASK} | extra
        assert set(labels) == set(weights) == {features.CAUSAL_LM}
        for specs, table in ((inputs, features.FEATURES), (labels, features.LABELS)):
            for name, spec in specs.items():
                assert (spec.dtype.name, spec.shape) == (table[name].dtype, [8, LENGTH])
        assert weights[features.CAUSAL_LM] == tf.TensorSpec([8, LENGTH], tf.float32)


def test_an_epoch_predicts_each_token_of_the_corpus_once(store, corpus, tokenizer):
    expected = expected_rows(laid_out(corpus, tokenizer))
    epochs = [as_rows(epoch(store, number, drawing=WITHIN)) for number in (0, 1)]
    for rows in epochs:
        assert sorted(rows) == sorted(expected)
    assert epochs[0] != epochs[1]
    assert epochs[0] != expected
    # In the order of the corpus the labels are the corpus.
    labels = [token for row in expected for token, used in zip(row[1], row[4], strict=True) if used]
    assert labels == laid_out(corpus, tokenizer)[1:]


def test_one_seed_gives_these_rows(tokenizer, tmp_path):
    store = write_store([("w0 w1", "w2"), ("w3 w4 w5 w6 w7 w8",)], tokenizer, tmp_path / "store")
    (inputs, labels, weights) = take(
        store, 1, sequence_length=8, batch_size=2, seed=0, drawing=WITHIN
    )[0]
    assert inputs["token_ids"].tolist() == [[11, 12, 13, 0, 0, 0, 0, 0], [3, 5, 6, 7, 3, 8, 9, 10]]
    assert labels["causal_lm"].tolist() == [[12, 13, 3, 0, 0, 0, 0, 0], [5, 6, 7, 3, 8, 9, 10, 11]]
    assert weights["causal_lm"].sum(axis=1).tolist() == [3, 8]
    assert inputs["text_ids"].tolist() == [[1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 2, 2, 2, 2]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 0, 0, 0, 0, 0], [0, 1, 2, 3, 0, 1, 2, 3]]


def test_texts_within_a_row_change_nothing_else(store):
    apart, together = take(store, 3, drawing=WITHIN), take(store, 3)
    for left, right in zip(apart, together, strict=True):
        left[0].pop("text_ids"), left[0].pop("position_ids")
        assert_equal(left, right)


def test_another_end_token_stands_between_documents(store, corpus, tokenizer):
    inputs, labels, _ = epoch(store, drawing=CausalDrawing(end_id=4))
    expected = laid_out(corpus, tokenizer, end_id=4)
    assert not (inputs["token_ids"] == SEP).any()
    assert (labels["causal_lm"] == 4).sum() == len(corpus)
    rows = [tuple(expected[at : at + LENGTH]) for at in range(0, len(expected) - LENGTH, LENGTH)]
    assert not Counter(rows) - Counter(map(tuple, inputs["token_ids"].tolist()))


def test_any_batch_is_drawn_without_those_before(store):
    first = take(store, 6)
    assert_equal(first[4:], take(store, 2, first_batch=4))
    late = 10**7
    assert_equal(take(store, 2, first_batch=late)[1:], take(store, 1, first_batch=late + 1))
    assert not np.array_equal(first[0][0]["token_ids"], take(store, 1, seed=6)[0][0]["token_ids"])


def test_rows_do_not_depend_on_the_batch_size(store):
    joined = tf.nest.map_structure(
        lambda *parts: np.concatenate(parts), *take(store, 4, batch_size=2)
    )
    assert_equal(joined, take(store, 1, batch_size=8)[0])


@pytest.fixture(scope="module")
def other_store(tokenizer, tmp_path_factory):
    """20 documents of 36 words that `store` has too."""
    random = np.random.default_rng(1)
    documents = [(" ".join(random.choice(tokenizer.vocabulary[5:], 36)),) for _ in range(20)]
    return write_store(documents, tokenizer, tmp_path_factory.mktemp("stores") / "other")


def test_workers_draw_each_row_of_a_batch_once(store, other_store):
    for stores in (store, [store, other_store]):
        whole = take(stores, 3, drawing=WITHIN)
        parts = [take(stores, 3, drawing=WITHIN, share=Share(n, 4)) for n in range(4)]
        for number, batch in enumerate(whole):
            shares = [part[number] for part in parts]
            joined = tf.nest.map_structure(lambda *rows: np.concatenate(rows), *shares)
            assert_equal(batch, joined)


def test_an_epoch_of_a_mix_has_the_rows_of_all_stores(store, other_store):
    alone = [as_rows(epoch(one, drawing=WITHIN)) for one in (store, other_store)]
    for number in (0, 1):
        mixed = as_rows(epoch([store, other_store], number, drawing=WITHIN))
        assert sorted(mixed) == sorted(alone[0] + alone[1])


def test_the_shares_of_a_mix_are_exact_over_an_epoch(store, other_store):
    drawing = CausalDrawing(within_documents=True, weights=(1.0, 3.0))
    own = set(as_rows(epoch(store, drawing=WITHIN)))
    rows = as_rows(epoch([store, other_store], drawing=drawing))
    assert sum(row in own for row in rows) == round(len(rows) / 4)


def test_a_row_may_hold_many_documents_or_a_part_of_one(tmp_path, tokenizer):
    documents = [("w1",)] * 40 + [(" ".join(["w2 w3"] * 50),)] + [("w4",)] * 3
    store = write_store(documents, tokenizer, tmp_path / "store")
    rows = as_rows(epoch(store, drawing=WITHIN))
    assert sorted(rows) == sorted(expected_rows(laid_out(documents, tokenizer)))


def test_a_store_may_be_shorter_than_a_row(tmp_path, tokenizer):
    store = write_store([("w1",)], tokenizer, tmp_path / "store")
    (inputs, labels, weights) = take(store, 1, batch_size=1)[0]
    assert inputs["token_ids"][0, :3].tolist() == [SEP, 6, 0]
    assert labels["causal_lm"][0, :3].tolist() == [6, SEP, 0]
    assert weights["causal_lm"].sum() == inputs["padding_mask"].sum() == 2


def test_what_cannot_work_is_refused(store, tmp_path, tokenizer):
    for changes, message in (
        ({"sequence_length": 4}, "at least 8"),
        ({"batch_size": 0}, "at least 1 row"),
        ({"batch_size": 6, "share": Share(0, 4)}, "multiple of the 4"),
        ({"drawing": CausalDrawing(end_id=205)}, "from 0 to 204; received end_id=205"),
        ({"drawing": CausalDrawing(weights=(1.0, 2.0))}, "2 numbers for 1"),
    ):
        with pytest.raises(ValueError, match=message):
            take(store, 1, **changes)
    with pytest.raises(ValueError, match="`end_id` of CausalDrawing must be an entry"):
        CausalDrawing(end_id=-1)
    with pytest.raises(ValueError, match="`weights` of CausalDrawing must be positive"):
        CausalDrawing(weights=())
    with pytest.raises(ValueError, match="an empty list"):
        take([], 1)
    other = Tokenizer([*tokenizer.vocabulary, "x"])
    other_store = write_store([("x",)], other, tmp_path / "other")
    with pytest.raises(ValueError, match="different vocabularies"):
        take([store, other_store], 1)
