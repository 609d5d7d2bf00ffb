"""Pairs of texts: which follow each other, which do not, and how long they are."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines import draws, examples, pairing

BUDGET = 61


@pytest.fixture(scope="module")
def pairs(store):
    """100,000 pairs of the small corpus, as NumPy arrays."""
    starts = examples.example_starts(store.sentence_offsets, store.document_offsets, BUDGET)
    rows = np.resize(starts, 100_000)
    bits = draws.row_bits([3, 1], 0, len(rows), pairing.NUM_BITS)
    drawn = pairing.draw_texts(
        tf.constant(rows, tf.int64),
        bits,
        tf.constant(store.sentence_offsets),
        tf.constant(store.document_offsets),
        num_tokens=BUDGET,
        pairing="next_sentence",
    )
    return pairing.Texts(*(tensor.numpy() for tensor in drawn))


def document_of(store, sentence):
    return np.searchsorted(store.document_offsets, sentence, side="right") - 1


def document_of_token(store, token):
    sentence = np.searchsorted(store.sentence_offsets, token, side="right") - 1
    return document_of(store, sentence)


def test_half_of_the_pairs_are_random(pairs):
    assert abs(pairs.follows.mean() - 0.5) < 0.005


def test_random_texts_never_come_from_the_same_document(pairs, store):
    random = ~pairs.follows
    own = document_of(store, pairs.a_sentence[random])
    assert (own != document_of(store, pairs.b_sentence[random])).all()
    assert (own != document_of_token(store, pairs.b_start[random])).all()


def test_random_texts_start_at_every_sentence_equally_often(pairs, store):
    counts = np.bincount(pairs.b_sentence[~pairs.follows], minlength=store.num_sentences)
    assert counts.min() > 0
    # Sentences of long documents are left out more often: by the share of the examples in them.
    documents = document_of(store, np.arange(store.num_sentences))
    share = np.bincount(document_of(store, pairs.a_sentence), minlength=store.num_documents)
    sizes = np.diff(store.document_offsets)
    weight = share / len(pairs.a_sentence) / (store.num_sentences - sizes)
    expected = (weight.sum() - weight[documents]) * (~pairs.follows).sum()
    statistic = (((counts - expected) ** 2) / expected).sum()
    degrees = store.num_sentences - 1
    assert statistic < degrees + 4 * np.sqrt(2 * degrees)


def test_a_text_that_follows_starts_where_the_first_ends(pairs, store):
    following = pairs.follows
    a_text, b_text = pairs.a_start[following], pairs.b_start[following]
    assert (document_of_token(store, a_text) == document_of_token(store, b_text)).all()
    untrimmed = pairs.a_length + pairs.b_length < BUDGET
    both = following & untrimmed
    assert both.sum() > 1000
    gap = pairs.b_start[both] - (pairs.a_start + pairs.a_length)[both]
    assert (gap >= 0).all()
    assert (gap == 0).mean() > 0.5


def test_both_texts_have_tokens_and_stay_within_their_documents(pairs, store):
    assert (pairs.a_length >= 1).all()
    assert (pairs.b_length >= 1).all()
    assert (pairs.a_length + pairs.b_length <= BUDGET).all()
    for start, length in ((pairs.a_start, pairs.a_length), (pairs.b_start, pairs.b_length)):
        last = document_of_token(store, start + length - 1)
        assert (document_of_token(store, start) == last).all()


def test_one_pair_in_ten_has_a_shorter_target():
    bits = draws.row_bits([0, 1], 0, 100_000, 4)
    num_tokens = tf.fill([100_000], tf.constant(BUDGET, tf.int64))
    target = pairing._target_length(bits[:, 0], bits[:, 1], num_tokens).numpy()
    # A short target may be the full length too.
    assert abs((target < BUDGET).mean() - 0.1 * 59 / 60) < 0.003
    short = target[target < BUDGET]
    assert short.min() == 2
    assert short.max() == BUDGET - 1
    assert abs(short.mean() - 31) < 0.6


def test_pairs_fill_their_target_where_the_documents_last(tmp_path, tokenizer):
    """With long documents of short sentences, nine in ten rows are full."""
    from tfpt.pipelines import write_store

    documents = [tuple(["w1 w2 w3 w4 w5"] * 400) for _ in range(4)]
    store = write_store(documents, tokenizer, tmp_path / "long")
    starts = examples.example_starts(store.sentence_offsets, store.document_offsets, BUDGET)
    drawn = pairing.draw_texts(
        tf.constant(np.resize(starts, 20_000)),
        draws.row_bits([3, 1], 0, 20_000, pairing.NUM_BITS),
        tf.constant(store.sentence_offsets),
        tf.constant(store.document_offsets),
        num_tokens=BUDGET,
        pairing="next_sentence",
    )
    total = (drawn.a_length + drawn.b_length).numpy()
    assert abs((total == BUDGET).mean() - 0.9) < 0.03
    # A's end is drawn among the sentence ends of the stretch: from one sentence to all but one.
    assert drawn.a_length.numpy().max() >= 55
    assert np.unique(drawn.a_length.numpy()[total == BUDGET] % 5).size > 1  # trimmed inside too


def test_an_epoch_covers_every_token_of_whole_sentences(store):
    starts = examples.example_starts(store.sentence_offsets, store.document_offsets, BUDGET)
    assert (np.diff(starts) > 0).all()
    borders = np.append(starts, store.num_sentences)
    offsets = store.sentence_offsets
    for first, following in itertools.pairwise(borders):
        document_end = store.document_offsets[document_of(store, first) + 1]
        length = offsets[min(following, document_end)] - offsets[first]
        # At most the budget, but for a sentence that is longer, and a last token that goes along.
        assert length <= BUDGET + 1 or following == first + 1
    lengths = offsets[store.document_offsets[1:]] - offsets[store.document_offsets[:-1]]
    visited = set(document_of(store, starts))
    assert visited == {number for number, length in enumerate(lengths) if length >= 2}


def test_a_document_of_one_sentence_is_cut_inside():
    sentences = tf.constant([0, 10, 20], tf.int64)
    documents = tf.constant([0, 1, 2], tf.int64)
    starts = examples.example_starts(sentences.numpy(), documents.numpy(), BUDGET)
    assert list(starts) == [0, 1]
    drawn = pairing.draw_texts(
        tf.zeros(4000, tf.int64),
        draws.row_bits([0, 1], 0, 4000, pairing.NUM_BITS),
        sentences,
        documents,
        num_tokens=BUDGET,
        pairing="next_sentence",
    )
    following = drawn.follows.numpy()
    assert abs(following.mean() - 0.5) < 0.04
    a_end = (drawn.a_start + drawn.a_length).numpy()
    full = (drawn.a_length + drawn.b_length).numpy() == 10
    both = following & full
    np.testing.assert_array_equal(a_end[both], drawn.b_start.numpy()[both])
    assert set(a_end[both]) == set(range(1, 10))
    assert (drawn.b_start.numpy()[~following] >= 10).all()


def test_documents_of_one_token_give_no_example():
    starts = examples.example_starts(np.array([0, 1, 5]), np.array([0, 1, 2]), BUDGET)
    assert list(starts) == [1]
    assert len(examples.example_starts(np.array([0, 1, 2]), np.array([0, 1, 2]), BUDGET)) == 0


@pytest.mark.parametrize(
    ("a_length", "b_length", "target", "kept"),
    [(10, 10, 30, (10, 10)), (50, 5, 30, (25, 5)), (5, 50, 30, (5, 25)), (50, 50, 31, (16, 15))],
)
def test_the_longer_text_is_cut_first(a_length, b_length, target, kept):
    bits = tf.unstack(draws.row_bits([0, 1], 0, 200, 4), axis=1)
    column = tf.fill([200], tf.constant(1000, tf.int64))
    a_start, a_kept, b_start, b_kept = pairing._trim(
        column,
        column - 1000 + a_length,
        column,
        column - 1000 + b_length,
        column - 1000 + target,
        bits,
    )
    assert set(a_kept.numpy()) == {kept[0]}
    assert set(b_kept.numpy()) == {kept[1]}
    cut = a_start.numpy() - 1000
    assert cut.min() >= 0
    assert cut.max() <= a_length - kept[0]
    if a_length - kept[0] >= 10:
        assert len(set(cut)) > 10  # drawn, not fixed
    assert (b_start.numpy() - 1000).max() <= b_length - kept[1]


def draw(store, pairing_name, num_rows=20_000, num_tokens=BUDGET):
    """Examples of the small corpus, as NumPy arrays."""
    fewest = 1 if pairing_name == "single" else 2
    starts = examples.example_starts(store.sentence_offsets, store.document_offsets, BUDGET, fewest)
    drawn = pairing.draw_texts(
        tf.constant(np.resize(starts, num_rows), tf.int64),
        draws.row_bits([3, 1], 0, num_rows, pairing.NUM_BITS),
        tf.constant(store.sentence_offsets),
        tf.constant(store.document_offsets),
        num_tokens=num_tokens,
        pairing=pairing_name,
    )
    return pairing.Texts(*(tensor.numpy() for tensor in drawn)), starts


def test_texts_in_order_follow_each_other_and_half_of_them_are_swapped(store):
    texts, _ = draw(store, "sentence_order")
    assert abs(texts.follows.mean() - 0.5) < 0.02
    first = np.where(texts.follows, texts.a_start, texts.b_start)
    second = np.where(texts.follows, texts.b_start, texts.a_start)
    assert (first < second).all()
    own = document_of_token(store, texts.a_start)
    np.testing.assert_array_equal(own, document_of_token(store, texts.b_start))
    assert (texts.a_length + texts.b_length <= BUDGET).all()
    assert min(texts.a_length.min(), texts.b_length.min()) >= 1


def test_single_texts_of_an_epoch_are_the_corpus_each_token_once(store):
    _, starts = draw(store, "single", num_rows=1)
    texts, _ = draw(store, "single", num_rows=len(starts))
    assert (texts.b_length == 0).all()
    whole = np.diff(store.sentence_offsets)[texts.a_sentence] <= BUDGET
    tokens = np.concatenate(
        [
            np.arange(start, start + length)
            for start, length in zip(texts.a_start[whole], texts.a_length[whole], strict=True)
        ]
    )
    assert len(np.unique(tokens)) == len(tokens)
    # What is left out lies in sentences that are longer than a row.
    cut = np.diff(store.sentence_offsets)[texts.a_sentence[~whole]].sum()
    assert len(tokens) + cut == store.num_tokens
    assert (texts.a_length[~whole] == BUDGET).all()


def test_lengths_of_examples_are_those_of_the_single_texts(store):
    _, starts = draw(store, "single", num_rows=1)
    texts, _ = draw(store, "single", num_rows=len(starts))
    lengths = examples.example_lengths(
        starts, store.sentence_offsets, store.document_offsets, BUDGET
    )
    np.testing.assert_array_equal(lengths, texts.a_length)


@pytest.mark.parametrize("name", ["next_sentence", "sentence_order"])
def test_each_example_has_a_room_of_its_own(store, name):
    room = np.random.default_rng(0).integers(2, BUDGET + 1, 20_000)
    texts, _ = draw(store, name, num_tokens=room)
    assert (texts.a_length + texts.b_length <= room).all()
    assert ((texts.a_length + texts.b_length) == room).mean() > 0.5
    assert min(texts.a_length.min(), texts.b_length.min()) >= 1
