"""Pairs with scores: their texts once each, and what is refused."""

import numpy as np
import pytest

from tfpt.pipelines import scored_pairs


def test_scored_pairs_have_the_numbers_of_their_texts(tmp_path, tokenizer):
    (tmp_path / "s.csv").write_text("w3,w1,5\nw1,w2,0.5\nw3,w3,-1\n")
    scored = scored_pairs(tmp_path / "s.csv", tokenizer, sequence_length=8, batch_size=2)
    assert scored.pairs.tolist() == [[0, 1], [1, 2], [0, 0]]
    assert scored.scores.tolist() == [5, 0.5, -1]
    words, numbers, weights = zip(
        *(
            (ids["token_ids"][:, 1].numpy().tolist(), *(one["contrastive"].numpy() for one in rest))
            for ids, *rest in scored.texts
        ),
        strict=True,
    )
    assert words == ([8, 6], [7, 7])
    assert np.concatenate(numbers).tolist()[:3] == [0, 1, 2]
    assert np.concatenate(weights).tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("w1,w2,5\n,w2,1\n", "012", r"s\.csv:2: the first text is empty, or holds no token: ''"),
        ("w1,w2,high\n", "012", r"s\.csv:1: the field `2` must be a finite number; rec.* 'high'"),
        ("w1,w2,1\nw1,w3,1\n", "012", r"s\.csv: every pair has the score 1; no correlation"),
        ("w1,w2\n", "012", r"s\.csv: there is no column 2; the 2 columns of the first line"),
        ("w1,w2,1\n", "01", r"Scored pairs have three columns, .* received 2: 0, 1\."),
    ],
)
def test_scored_pairs_that_are_wrong_are_refused(tmp_path, tokenizer, content, columns, message):
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        scored_pairs(
            tmp_path / "s.csv", tokenizer, sequence_length=8, batch_size=2, columns=[*columns]
        )
