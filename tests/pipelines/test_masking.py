"""Masking: which tokens are chosen, and what becomes of them."""

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines import draws, masking
from tfpt.pipelines.settings import NGRAMS, SPANS, TOKENS, WHOLE_WORDS, Masking

LENGTH, MASKS, SIZE, MASK_ID = 64, 12, 100, 4
ENTRIES = masking.entries(SIZE, special_ids=(0, 1, 2, 3, 4), mask_id=MASK_ID)
# Entries from 60 on continue a word.
WORD_STARTS = np.arange(SIZE) < 60


def mask(rows, first_row=0, seed=0, settings=TOKENS, **changes):
    """The four tensors of `mask_tokens` as arrays."""
    max_masks = changes.pop("max_masks", MASKS)
    num_bits = masking.num_bits(settings, LENGTH, max_masks)
    return [
        tensor.numpy()
        for tensor in masking.mask_tokens(
            tf.constant(rows, tf.int32),
            draws.row_bits([seed, 1], first_row, len(rows), num_bits),
            entries=ENTRIES,
            masking=settings,
            max_masks=max_masks,
            starts=tf.constant(WORD_STARTS[rows]),
            **changes,
        )
    ]


def rows(number, seed=0):
    """[CLS] tokens [SEP] padding."""
    random = np.random.default_rng(seed)
    ids = random.integers(5, SIZE, (number, LENGTH))
    length = random.integers(2, LENGTH + 1, number)
    column = np.arange(LENGTH)
    ids[:, 0] = 2
    ids[column >= length[:, None]] = 0
    ids[np.arange(number), length - 1] = 3
    return ids.astype(np.int32)


def test_masks_are_exact_for_a_seed():
    row = np.array([[2, *range(5, 66), 3, 0]], np.int32)
    corrupted, positions, ids, weights = mask(row, seed=11)
    again = mask(row, seed=11)
    np.testing.assert_array_equal(corrupted, again[0])
    chosen = positions[0][weights[0] > 0]
    assert len(chosen) in (9, 10)  # 15% of 61
    np.testing.assert_array_equal(ids[0][weights[0] > 0], row[0][chosen])
    untouched = np.setdiff1d(np.arange(LENGTH), chosen)
    np.testing.assert_array_equal(corrupted[0][untouched], row[0][untouched])
    assert not np.array_equal(positions, mask(row, seed=12)[1])


def test_shares_over_100_000_rows():
    before = rows(100_000)
    corrupted, positions, ids, weights = mask(before)
    maskable = (before >= 5).sum(axis=1)
    below = maskable * 0.15 < MASKS
    share = weights[below].sum() / maskable[below].sum()
    assert abs(share - 0.15) < 0.001
    chosen = weights > 0
    got = np.take_along_axis(corrupted, positions, axis=1)[chosen]
    original = ids[chosen]
    masked = (got == MASK_ID).mean()
    changed = ((got != MASK_ID) & (got != original)).mean()
    assert abs(masked - 0.8) < 0.01
    # A random token is the original one in 1 of 95 cases.
    assert abs(changed - 0.1 * 94 / 95) < 0.01


def test_specials_are_never_chosen_and_no_position_twice():
    before = rows(2_000, seed=1)
    _, positions, ids, weights = mask(before)
    at_positions = np.take_along_axis(before, positions, axis=1)
    chosen = weights > 0
    assert (ids[chosen] >= 5).all()
    np.testing.assert_array_equal(ids[chosen], at_positions[chosen])
    for row in range(len(before)):
        places = positions[row][chosen[row]]
        assert len(set(places)) == len(places)
    # Slots that are not used hold nothing.
    assert (positions[~chosen] == 0).all()
    assert (ids[~chosen] == 0).all()


def test_every_ordinary_token_is_chosen_equally_often():
    row = np.tile(np.array([[2, *range(5, 66), 3, 0]], np.int32), (20_000, 1))
    _, positions, _, weights = mask(row)
    counts = np.bincount(positions[weights > 0], minlength=LENGTH)
    assert counts[0] == counts[62] == counts[63] == 0
    expected = counts[1:62].mean()
    assert (((counts[1:62] - expected) ** 2) / expected).sum() < 99.6  # 60 degrees, p = 0.001


def test_random_replacements_cover_the_ordinary_entries_evenly():
    row = np.full((50_000, LENGTH), 5, np.int32)
    corrupted, _, _, _ = mask(row)
    replaced = corrupted[(corrupted != 5) & (corrupted != MASK_ID)]
    counts = np.bincount(replaced, minlength=SIZE)
    assert (counts[:5] == 0).all()
    expected = counts[6:].mean()
    assert (((counts[6:] - expected) ** 2) / expected).sum() < 139  # 93 degrees, p = 0.001


@pytest.mark.parametrize(
    "row", [[0] * LENGTH, [2, 3] + [0] * 62, [2] + [3] * 63], ids=["padding", "empty", "specials"]
)
def test_rows_without_ordinary_tokens_have_no_targets(row):
    corrupted, _, _, weights = mask(np.array([row], np.int32))
    np.testing.assert_array_equal(corrupted[0], row)
    assert weights.sum() == 0


def test_one_token_is_chosen_in_15_of_100_rows():
    row = np.zeros((20_000, LENGTH), np.int32)
    row[:, :3] = [2, 50, 3]
    _, positions, ids, weights = mask(row)
    assert abs(weights.sum() / len(row) - 0.15) < 0.01
    assert (positions[weights > 0] == 1).all()
    assert (ids[weights > 0] == 50).all()


def test_masks_are_the_same_eagerly_and_in_a_dataset():
    before = rows(32, seed=3)
    bits = draws.row_bits([0, 1], 0, 32, masking.num_bits(TOKENS, LENGTH, MASKS))
    dataset = tf.data.Dataset.from_tensors((before, bits)).map(
        lambda ids, bits: masking.mask_tokens(
            ids, bits, entries=ENTRIES, masking=TOKENS, max_masks=MASKS
        )
    )
    for got, expected in zip(next(iter(dataset)), mask(before), strict=True):
        np.testing.assert_array_equal(got.numpy(), expected)


def test_a_full_row_fills_every_slot_but_no_more():
    before = np.full((500, LENGTH), 7, np.int32)
    _, _, _, weights = mask(before, rate=0.5)
    assert (weights.sum(axis=1) == MASKS).all()


KINDS = {"words": WHOLE_WORDS, "ngrams": NGRAMS, "spans": SPANS}


@pytest.mark.parametrize("settings", [TOKENS, *KINDS.values()], ids=["tokens", *KINDS])
def test_masks_are_the_same_in_a_program_of_xla(settings):
    before = tf.constant(rows(200, seed=6))
    bits = draws.row_bits([0, 1], 0, 200, masking.num_bits(settings, LENGTH, MASKS))

    def masked(rate):
        return masking.mask_tokens(
            before,
            bits,
            entries=ENTRIES,
            masking=settings,
            max_masks=MASKS,
            rate=rate,
            starts=tf.gather(tf.constant(WORD_STARTS), before),
        )

    rate = tf.constant(0.17)
    for got, expected in zip(
        tf.function(masked, jit_compile=True)(rate), masked(rate), strict=True
    ):
        np.testing.assert_array_equal(got.numpy(), expected.numpy())


def words_of(row):
    """Where the words of a row begin and end; what is not ordinary belongs to none."""
    places = []
    for place, entry in enumerate(row):
        if entry < 5:
            continue
        if WORD_STARTS[entry] or row[place - 1] < 5:
            places.append([place, place + 1])
        else:
            places[-1][1] = place + 1
    return places


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_chosen_whole(kind):
    before = rows(500, seed=2)
    _, positions, _, weights = mask(before, settings=KINDS[kind], max_masks=40)
    for row in range(len(before)):
        chosen = set(positions[row][weights[row] > 0])
        for start, end in words_of(before[row]):
            assert len(chosen & set(range(start, end))) in (0, end - start)


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_is_exact_on_average_for_every_kind(kind):
    before = rows(50_000, seed=3)
    settings = KINDS[kind]
    slots = settings.num_slots(LENGTH - 2)
    _, positions, ids, weights = mask(before, settings=settings, max_masks=slots)
    share = weights.sum() / (before >= 5).sum()
    assert abs(share - 0.15) < 0.001
    chosen = weights > 0
    places = positions + np.arange(len(before))[:, None] * LENGTH
    assert len(np.unique(places[chosen])) == chosen.sum()
    assert (ids[chosen] >= 5).all()


@pytest.mark.parametrize("settings", [NGRAMS, SPANS], ids=["ngrams", "spans"])
def test_spans_have_the_lengths_that_were_asked_for(settings):
    shape = (50_000, LENGTH)
    bits = draws.row_bits([0, 1], 0, *shape)
    everywhere = tf.ones(shape, tf.bool)
    _, spans = masking._groups(everywhere, everywhere, bits, settings)
    counts = np.bincount((spans.numpy() == 0).sum(axis=1))[1:]  # of the first span of each row
    expected = settings.span_chances() * shape[0]
    statistic = (((counts - expected) ** 2) / expected).sum()
    assert statistic < {3: 13.8, 10: 27.9}[settings.max_span]  # chi-squared, p = 0.001


def test_spans_are_chosen_in_one_piece_but_for_the_last():
    row = np.full((2_000, LENGTH), 7, np.int32)
    bits = draws.row_bits([0, 1], 0, 2_000, masking.num_bits(SPANS, LENGTH, MASKS))
    _, positions, _, weights = mask(row, settings=SPANS)
    end = sum(masking._parts(SPANS, LENGTH, MASKS))
    everywhere = tf.ones(row.shape, tf.bool)
    _, spans = masking._groups(everywhere, everywhere, bits[:, end - LENGTH : end], SPANS)
    cut = 0
    for places, used, numbers in zip(positions, weights > 0, spans.numpy(), strict=True):
        chosen = np.isin(np.arange(LENGTH), places[used])
        partly = [0 < chosen[numbers == one].mean() < 1 for one in np.unique(numbers)]
        assert sum(partly) <= 1
        cut += sum(partly)
    assert cut > 100


def test_a_span_is_replaced_together():
    before = rows(4_000, seed=4)
    settings = Masking(
        unit="word", span_lengths="geometric", max_span=10, together=True, random_share=0.0
    )
    corrupted, positions, _, weights = mask(before, settings=settings, max_masks=40)
    # With one piece in a hundred a word's beginning, all neighbours are of one span.
    kept = mixed = 0
    for row in range(len(before)):
        chosen = set(positions[row][weights[row] > 0])
        for start, end in words_of(before[row]):
            if start in chosen and end - start > 1:
                masked = corrupted[row, start:end] == MASK_ID
                kept += not masked.any()
                mixed += masked.any() and not masked.all()
    assert mixed == 0
    assert kept > 100


def test_spans_stay_within_their_text():
    row = np.full((3_000, LENGTH), 70, np.int32)  # one word of 64 pieces, but for the [SEP]
    row[:, 20] = 3
    _, positions, _, weights = mask(row, settings=SPANS, max_masks=LENGTH)
    for places, used in zip(positions, weights > 0, strict=True):
        chosen = set(places[used])
        assert chosen in (set(), set(range(20)), set(range(21, LENGTH)), set(range(LENGTH)) - {20})


def test_shares_of_mask_random_and_kept_can_be_set():
    before = rows(20_000, seed=5)
    settings = Masking(mask_share=0.5, random_share=0.5)
    corrupted, positions, ids, weights = mask(before, settings=settings)
    chosen = weights > 0
    got = np.take_along_axis(corrupted, positions, axis=1)[chosen]
    assert abs((got == MASK_ID).mean() - 0.5) < 0.01
    assert abs((got == ids[chosen]).mean() - 0.5 / 95) < 0.003


def test_the_rate_goes_from_one_value_to_another():
    settings = Masking(rate=0.3, final_rate=0.1, rate_steps=100)
    got = [float(masking.rate_at(settings, tf.constant(n, tf.int64))) for n in (0, 50, 100, 500)]
    np.testing.assert_allclose(got, [0.3, 0.2, 0.1, 0.1], rtol=1e-6)
    assert settings.max_rate == 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 15}, "share of tokens"),
        ({"final_rate": 1.5}, "or none"),
        ({"unit": "letter"}, "token, word"),
        ({"max_span": 3}, "at most 1"),
        ({"mask_share": 0.8, "random_share": 0.3}, "at most 1 - mask_share"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Masking(**changes)


@pytest.mark.parametrize(
    "special", [(0, 1, 2, 3, 4), (0, 100, 101, 102, 103), (1, 3, 5, 7, 9, 11), ()]
)
def test_what_is_special_is_told_wherever_it_stands(special):
    known = masking.entries(200, special, mask_id=4)
    ids = tf.range(200)[None]
    expected = ~np.isin(np.arange(200), special)
    np.testing.assert_array_equal(masking._ordinary(ids, known).numpy()[0], expected)
