"""The rows that a model is most wrong about."""

import numpy as np
import pytest

from tfpt.worst_rows import LONGEST_TEXT, NUM_WORST, excerpt, with_texts, worst_rows


def test_the_highest_losses_come_first_and_there_are_never_too_many():
    losses = np.random.default_rng(0).random(100)
    found = worst_rows(losses, lambda row: (f"right {row}", f"predicted {row}", 0.5))
    order = sorted(range(100), key=lambda row: -losses[row])[:NUM_WORST]
    assert [one.row for one in found] == order
    assert [one.loss for one in found] == [losses[row] for row in order]
    assert found[0].right == f"right {order[0]}"
    assert len(found) == NUM_WORST == 20


def test_of_equal_losses_the_first_rows_come_first_and_few_rows_are_all():
    found = worst_rows(np.array([1.0, 2.0, 1.0, 2.0]), lambda row: ("", "", None))
    assert [one.row for one in found] == [1, 3, 0, 2]
    assert "probability" not in found[0].to_dict()
    assert "text" not in found[0].to_dict()


def test_texts_are_those_of_the_rows_and_long_ones_are_cut():
    found = worst_rows(np.array([0.0, 1.0, 0.5]), lambda row: ("a", "b", 0.25))
    rows = [("first", "one"), ("x" * LONGEST_TEXT, "y" * (LONGEST_TEXT + 1)), ("third", "")]
    told = [one.to_dict() for one in with_texts(found, rows)]
    assert [one["row"] for one in told] == [1, 2, 0]
    assert told[0]["text"] == ["x" * LONGEST_TEXT, "y" * (LONGEST_TEXT - 1) + "\u2026"]
    assert told[1] == {
        "row": 2,
        "loss": 0.5,
        "text": ["third", ""],
        "right": "a",
        "predicted": "b",
        "probability": 0.25,
    }


@pytest.mark.parametrize("start", [0, 3, 249, 251, 700, 1249, 1252, 1498])
def test_an_excerpt_holds_what_it_is_for(start):
    text = "".join(chr(0x4E00 + number) for number in range(1_500))
    found = excerpt(text, start, start + 2)
    assert len(found) == LONGEST_TEXT
    assert text[start : start + 2] in found
    assert found.strip("\u2026") in text
    assert found.startswith("\u2026") == (start > 249)
    assert found.endswith("\u2026") == (start < 1_249)
    assert excerpt(text[:LONGEST_TEXT], start, start + 2) == text[:LONGEST_TEXT]
