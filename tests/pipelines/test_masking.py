"""Masking: which tokens are chosen, and what becomes of them."""

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines import draws, masking

LENGTH, MASKS, SIZE, MASK_ID = 64, 12, 100, 4
ORDINARY = masking.ordinary_tokens(SIZE, special_ids=(0, 1, 2, 3, 4))


def mask(rows, first_row=0, seed=0, **changes):
    bits = draws.row_bits([seed, 1], first_row, len(rows), masking.num_bits(LENGTH, MASKS))
    arguments = {"ordinary": ORDINARY, "mask_id": MASK_ID, "max_masks": MASKS, **changes}
    return [t.numpy() for t in masking.mask_tokens(tf.constant(rows, tf.int32), bits, **arguments)]


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
    bits = draws.row_bits([0, 1], 0, 32, masking.num_bits(LENGTH, MASKS))
    dataset = tf.data.Dataset.from_tensors((before, bits)).map(
        lambda ids, bits: masking.mask_tokens(
            ids, bits, ordinary=ORDINARY, mask_id=MASK_ID, max_masks=MASKS
        )
    )
    for got, expected in zip(next(iter(dataset)), mask(before), strict=True):
        np.testing.assert_array_equal(got.numpy(), expected)


def test_a_full_row_fills_every_slot_but_no_more():
    before = np.full((500, LENGTH), 7, np.int32)
    _, _, _, weights = mask(before, rate=0.5)
    assert (weights.sum(axis=1) == MASKS).all()
