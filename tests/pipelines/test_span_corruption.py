"""T5's objective: what is taken out of a row can be put back, and is drawn as the paper says."""

import itertools
from collections import Counter

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfpt import features
from tfpt.pipelines import (
    Share,
    SpanDrawing,
    draws,
    epoch_rows,
    num_sentinels,
    span_corruption,
    write_store,
)
from tfpt.pipelines.span_corruption import corrupt_spans, num_bits, row_sizes

LENGTH, SEP, FIRST_SENTINEL = 48, 3, 205


def take(store, number, **changes):
    arguments = {"sequence_length": LENGTH, "batch_size": 8, "seed": 5, **changes}
    return [
        tf.nest.map_structure(np.asarray, batch)
        for batch in span_corruption(store, **arguments).take(number)
    ]


def epoch(store, number=0, **changes):
    """A whole epoch as one batch."""
    drawing = changes.get("drawing", SpanDrawing())
    rows = epoch_rows(store, sequence_length=LENGTH, drawing=drawing)
    return take(store, 1, batch_size=rows, first_batch=number, **changes)[0]


def assert_equal(left, right):
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)


def restored(batch, sentinels=range(FIRST_SENTINEL, FIRST_SENTINEL + 100)):
    """The text of each row, its spans put back in; checks what stands where on the way."""
    sentinels, (inputs, labels, weights) = list(sentinels), batch
    found = []
    for row, mask in enumerate(inputs["padding_mask"]):
        kept = inputs["token_ids"][row][mask > 0].tolist()
        targets = labels["span_corruption"][row][weights["span_corruption"][row] > 0].tolist()
        assert not (mask[1:] > mask[:-1]).any()
        own = [token for token in targets if token in sentinels]
        assert own == sentinels[: len(own)]
        assert [token for token in kept if token in sentinels] == own[:-1]
        assert targets[0] == own[0]
        assert targets[-1] == own[-1]
        spans = {}
        for token in targets:
            if token in sentinels:
                current = spans.setdefault(token, [])
            else:
                current.append(token)
        assert all(spans[token] for token in own[:-1])
        text = [spans.get(token, [token]) for token in kept]
        found.append(tuple(itertools.chain(*text)))
    return found


def windows(corpus, tokenizer, length, end_id=SEP):
    """The documents, an end behind each, cut into rows."""
    tokens = []
    for document in corpus:
        for sentence in document:
            tokens += [tokenizer.vocabulary.index(word) for word in sentence.split()]
        tokens.append(end_id)
    return [tuple(tokens[first : first + length]) for first in range(0, len(tokens), length)]


def test_batches_keep_the_contract(store):
    inputs, labels, weights = span_corruption(
        store, sequence_length=LENGTH, batch_size=8
    ).element_spec
    sizes = {"B": 8, "T": LENGTH, "U": row_sizes(LENGTH, SpanDrawing()).num_targets}
    assert set(labels) == set(weights) == {features.SPAN_CORRUPTION}
    for specs, table in ((inputs, features.FEATURES), (labels, features.LABELS)):
        for name, spec in specs.items():
            assert spec.dtype.name == table[name].dtype
            assert spec.shape == [sizes[letter] for letter in table[name].shape]
    assert weights[features.SPAN_CORRUPTION] == tf.TensorSpec([8, sizes["U"]], tf.float32)


@pytest.mark.parametrize(
    "drawing",
    [
        SpanDrawing(),
        SpanDrawing(rate=0.5, mean_span=2.0, end_id=4),
        SpanDrawing(rate=0.5, mean_span=1.0),
        SpanDrawing(rate=0.8, mean_span=3.0),
        SpanDrawing(rate=0.02, mean_span=20.0),
    ],
)
def test_putting_the_spans_back_gives_the_text_of_an_epoch(store, corpus, tokenizer, drawing):
    length = row_sizes(LENGTH, drawing).num_tokens
    expected = windows(corpus, tokenizer, length, end_id=drawing.end_id or SEP)
    epochs = [restored(epoch(store, number, drawing=drawing)) for number in (0, 1)]
    for texts in epochs:
        assert sorted(texts) == sorted(expected)
    assert epochs[0] != epochs[1]


def test_one_seed_gives_these_rows(tokenizer, tmp_path):
    store = write_store([("w0 w1 w2 w3 w4 w5 w6 w7 w8",)], tokenizer, tmp_path / "store")
    drawing = SpanDrawing(rate=0.3, mean_span=1.5, start_id=2)
    (inputs, labels, weights) = take(store, 1, sequence_length=9, batch_size=1, drawing=drawing)[0]
    assert restored((inputs, labels, weights)) == [(5, 6, 7, 8, 9, 10, 11, 12, 13, SEP)]
    assert inputs["token_ids"].tolist() == [[5, 6, 7, 8, 9, 205, 12, 206, SEP]]
    assert labels["span_corruption"].tolist() == [[205, 10, 11, 206, 13, 207]]
    assert inputs["decoder_token_ids"].tolist() == [[2, 205, 10, 11, 206, 13]]
    assert weights["span_corruption"].tolist() == [[1.0] * 6]


def test_lengths_are_those_of_t5():
    """T5 reads 568 tokens for 512 with the end of its input, and has 114 targets."""
    sizes = row_sizes(511, SpanDrawing())
    assert (sizes.num_tokens, sizes.num_targets) == (568, 114)
    assert (sizes.taken[-1], sizes.spans[-1]) == (85, 28)
    assert num_sentinels(511) == 29


@pytest.mark.parametrize("rate", [0.02, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("mean_span", [1.0, 3.0, 30.0])
def test_no_more_tokens_would_fit_and_all_shorter_rows_do(rate, mean_span):
    drawing = SpanDrawing(rate=rate, mean_span=mean_span)
    for length in (8, 64, 129):
        sizes = row_sizes(length, drawing)
        numbers = np.arange(sizes.num_tokens + 1)
        left = numbers - sizes.taken + sizes.spans
        assert left.max() <= length
        assert (sizes.taken + sizes.spans + 1).max() == sizes.num_targets
        longer = row_sizes(length + 1, drawing).num_tokens
        assert longer >= sizes.num_tokens
        # With a longer row allowed, the next length would not have fitted into this one.
        more = row_sizes(2 * length, drawing)
        following = sizes.num_tokens + 1
        assert following - more.taken[following] + more.spans[following] > length
        assert (sizes.spans >= (numbers > 1)).all()
        assert (sizes.spans <= sizes.taken).all()
        assert (sizes.spans <= numbers - sizes.taken + 1).all()


def drawn(num_rows, num_tokens, drawing, *, sequence_length):
    """Which tokens of rows are taken out, bool (N, W), and the first of each span."""
    sizes = row_sizes(sequence_length, drawing)
    tokens = np.tile(np.arange(1, sizes.num_tokens + 1, dtype=np.int32), (num_rows, 1))
    lengths = np.broadcast_to(np.asarray(num_tokens, np.int32), num_rows)
    bits = draws.row_bits([7, 8], 0, num_rows, num_bits(sizes))
    corrupted = corrupt_spans(
        tf.constant(tokens),
        tf.constant(lengths),
        bits,
        sizes=sizes,
        sentinel_ids=np.arange(1000, 1000 + sizes.spans.max() + 1),
        sequence_length=sequence_length,
        pad_id=0,
    )
    targets = corrupted.targets.numpy()
    taken, first = (np.zeros(tokens.shape, bool) for _ in range(2))
    for row, values in enumerate(targets):
        values = values[: corrupted.target_lengths[row]]
        taken[row, values[values < 1000] - 1] = True
        starts = np.flatnonzero(values[:-1] >= 1000) + 1
        first[row, values[starts] - 1] = True
    np.testing.assert_array_equal(taken.sum(axis=1), sizes.taken[lengths])
    np.testing.assert_array_equal(first.sum(axis=1), sizes.spans[lengths])
    # Two spans never touch: each begins behind a token that stays.
    assert not (first[:, 1:] & taken[:, :-1]).any()
    return taken, first


def test_every_choice_of_spans_is_equally_likely():
    """3 of 8 tokens in 2 spans: 2 ways to cut them, 15 to place them."""
    drawing = SpanDrawing(rate=0.375, mean_span=1.5)
    taken, _ = drawn(30_000, 8, drawing, sequence_length=7)
    counts = Counter(map(tuple, taken.tolist()))
    assert len(counts) == 2 * 15
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_statistics_of_long_rows():
    """15% of the tokens, wherever they stand; 3 tokens in a span on average, from 1 up."""
    taken, first = drawn(4_000, 569, SpanDrawing(), sequence_length=512)
    assert taken.mean() == pytest.approx(85 / 569)
    by_place, tolerance = taken.mean(axis=0), 5 * np.sqrt(0.15 * 0.85 / 4_000)
    assert abs(by_place[20:-20] - 85 / 569).max() < tolerance
    # Only a span that begins with the row holds its first token: 28 of 485 gaps are chosen.
    np.testing.assert_allclose(by_place[[0, -1]], 28 / 485, atol=tolerance)
    numbers = np.cumsum(first[0])[taken[0]]
    assert np.bincount(numbers)[1:].mean() == pytest.approx(85 / 28)
    lengths = Counter()
    for row in range(500):
        lengths.update(np.bincount(np.cumsum(first[row])[taken[row]])[1:].tolist())
    # The first of 28 parts of 85: C(85 - 1 - k, 26) / C(84, 27).
    total = sum(lengths.values())
    for length in range(1, 8):
        expected = scipy.special.comb(84 - length, 26) / scipy.special.comb(84, 27)
        assert lengths[length] / total == pytest.approx(expected, abs=0.012)


def test_short_rows_are_corrupted_too():
    lengths = np.arange(1, 41)
    taken, _ = drawn(40, lengths, SpanDrawing(), sequence_length=40)
    assert taken[0].sum() == 0
    assert (taken[1:].sum(axis=1) > 0).all()
    assert not (taken & (np.arange(taken.shape[1]) >= lengths[:, None])).any()


def test_the_decoder_reads_the_targets_one_later(store):
    for drawing, start in ((None, 0), (SpanDrawing(start_id=2), 2)):
        for inputs, labels, weights in take(store, 3, drawing=drawing):
            read, mask = inputs["decoder_token_ids"], inputs["decoder_padding_mask"]
            assert (read[:, 0] == start).all()
            shifted = labels["span_corruption"][:, :-1] * mask[:, 1:]
            np.testing.assert_array_equal(read[:, 1:], shifted)
            np.testing.assert_array_equal(mask, weights["span_corruption"])


def test_sentinels_are_those_that_are_named(store):
    sentinels = tuple(range(300, 340, 2))
    drawing = SpanDrawing(sentinel_ids=sentinels)
    named, plain = epoch(store, drawing=drawing), epoch(store)
    assert restored(named, sentinels) == restored(plain)
    assert not np.isin(named[0]["token_ids"], np.arange(205, 300)).any()


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


def test_workers_draw_each_row_of_a_batch_once(store):
    whole = take(store, 3)
    parts = [take(store, 3, share=Share(n, 4)) for n in range(4)]
    for number, batch in enumerate(whole):
        shares = [part[number] for part in parts]
        assert_equal(batch, tf.nest.map_structure(lambda *rows: np.concatenate(rows), *shares))


def test_an_epoch_of_a_mix_has_the_texts_of_all_stores(store, tokenizer, tmp_path):
    random = np.random.default_rng(1)
    documents = [(" ".join(random.choice(tokenizer.vocabulary[5:], 36)),) for _ in range(20)]
    other = write_store(documents, tokenizer, tmp_path / "other")
    mixed = restored(epoch([store, other]))
    assert sorted(mixed) == sorted(restored(epoch(store)) + restored(epoch(other)))
    drawing = SpanDrawing(weights=(1.0, 3.0))
    own = set(restored(epoch(store)))
    rows = restored(epoch([store, other], drawing=drawing))
    assert sum(row in own for row in rows) == round(len(rows) / 4)


def test_spans_are_drawn_anew_in_every_epoch(store):
    texts = []
    for number in (0, 1):
        batch = epoch(store, number)
        kept = [tuple(row) for row in batch[0]["token_ids"].tolist()]
        texts.append(dict(zip(restored(batch), kept, strict=True)))
    same = sum(texts[0][text] == texts[1][text] for text in texts[0])
    assert same < 0.05 * len(texts[0])


def test_what_cannot_work_is_refused(store):
    for drawing, message in (
        (SpanDrawing(sentinel_ids=(300, 301)), r"has 2 ids; .* up to 3 spans and need 4"),
        (SpanDrawing(sentinel_ids=(4, *range(300, 320))), "names 4, which stands for something"),
        (SpanDrawing(sentinel_ids=(7, *range(300, 320)), end_id=7), "names 7, which stands"),
        (SpanDrawing(end_id=205), "from 0 to 204; received end_id=205"),
        (SpanDrawing(start_id=205), "from 0 to 204; received start_id=205"),
        (SpanDrawing(weights=(1.0, 2.0)), "2 numbers for 1"),
    ):
        with pytest.raises(ValueError, match=message):
            take(store, 1, drawing=drawing)
    for field, value in (
        ("rate", 0.0),
        ("rate", 1.0),
        ("mean_span", 0.5),
        ("sentinel_ids", (300, 300)),
        ("sentinel_ids", (-1,)),
        ("start_id", -1),
        ("end_id", -1),
        ("weights", (0.0,)),
    ):
        with pytest.raises(ValueError, match=f"`{field}` of SpanDrawing must be"):
            SpanDrawing(**{field: value})
    with pytest.raises(ValueError, match="at least 8"):
        take(store, 1, sequence_length=7)
