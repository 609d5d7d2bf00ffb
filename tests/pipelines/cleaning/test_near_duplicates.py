"""Signatures estimate the similarity of documents, and bands find the similar ones."""

import numpy as np
import pytest

from tfpt.pipelines.cleaning.near_duplicates import (
    NUM_VALUES,
    band_keys,
    num_bands,
    signature,
    similarity,
)
from tfpt.pipelines.cleaning.words import document_words


def runs(document):
    words = document_words(document)
    return {tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))}


def jaccard(one, other):
    return len(runs(one) & runs(other)) / len(runs(one) | runs(other))


def pairs(count, num_words=300):
    """Pairs of documents of all degrees of similarity."""
    random = np.random.default_rng(1)
    for number in range(count):
        words = [f"w{word}" for word in random.integers(0, 10_000, num_words)]
        changed = list(words)
        for place in random.integers(0, num_words, number % 40):
            changed[place] = "other"
        yield (" ".join(words),), (" ".join(changed),)


def test_the_estimate_is_that_of_the_sets_within_its_deviation():
    errors = []
    for one, other in pairs(300):
        errors.append(similarity(signature(one), signature(other)) - jaccard(one, other))
    # Of one estimate the deviation is at most 0.044; of the mean of 300, a seventeenth of it.
    assert abs(np.mean(errors)) < 0.0077  # three deviations
    assert 0.02 < np.std(errors) < 0.044
    assert np.max(np.abs(errors)) < 0.18  # four of the largest


def test_values_of_unlike_documents_are_spread_evenly():
    values = np.stack([signature((f"{number} " * 5,)) for number in range(400)])
    assert values.dtype == np.uint32
    assert values.shape == (400, NUM_VALUES)
    # One run each: a value is uniform, and no two of the 128 go together.
    assert abs(values.mean() / 2**32 - 0.5) < 0.01
    correlations = np.corrcoef(values.T)[~np.eye(NUM_VALUES, dtype=bool)]
    assert np.abs(correlations).max() < 0.35
    assert abs(correlations.mean()) < 0.01


def test_signatures_are_the_same_on_any_machine():
    assert signature(("Of the same words, the same values.",))[:3].tolist() == [
        *(891943056, 933554128, 2904653502),
    ]


@pytest.mark.parametrize(
    "document", [(), ("",), ("one",), ("one two",), ("\U0001f600\U0001f600",), ("\u5e8a\u524d",)]
)
def test_degenerate_documents_have_signatures_of_their_own(document):
    others = [("another",), ("one two three",), ("\U0001f601",), ("\u5e8a\u540e",)]
    assert similarity(signature(document), signature(document)) == 1
    for other in others:
        assert similarity(signature(document), signature(other)) < 0.5


def test_characters_count_in_chinese():
    poem = "\u5e8a\u524d\u660e\u6708\u5149\u7591\u662f\u5730\u4e0a\u971c" * 2
    assert similarity(signature((poem,)), signature((poem + "\u4e3e",))) > 0.7


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_find_documents_at_the_threshold(threshold):
    count = num_bands(threshold)
    size = NUM_VALUES // count
    assert 1 - (1 - threshold**size) ** count >= 0.99
    random = np.random.default_rng(2)
    one = random.integers(0, 2**32, (3_000, NUM_VALUES), dtype=np.uint32)
    equal = random.random(one.shape) < threshold
    other = np.where(equal, one, one + np.uint32(1))
    share = (band_keys(one, threshold) == band_keys(other, threshold)).any(axis=0).mean()
    assert share > 0.98
    unlike = random.integers(0, 2**32, one.shape, dtype=np.uint32)
    assert not (band_keys(one, threshold) == band_keys(unlike, threshold)).any()


def test_bands_of_no_document_are_none():
    assert band_keys(np.zeros((0, NUM_VALUES), np.uint32), 0.8).shape == (num_bands(0.8), 0)
