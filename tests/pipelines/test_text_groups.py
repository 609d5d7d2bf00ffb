"""How pairs are dealt out: what belongs together stays on one side."""

import itertools

import numpy as np
import pytest

from tfpt.pipelines import EmbeddingColumns, text_embedding
from tfpt.pipelines.tables import Table
from tfpt.pipelines.text_groups import divide_pairs

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def table(rows):
    return Table("pairs.csv", rows, [""] * len(rows), list(range(2, len(rows) + 2)))


def random_pairs(num=600, seed=0):
    """Pairs in chains: a question with several answers, of which another one may have one too."""
    random = np.random.default_rng(seed)
    return [
        (f"question {random.integers(400)}", f"answer {random.integers(1500)}") for _ in range(num)
    ]


def texts(part):
    return {text for row in part.rows for text in row[:2]}


def test_a_text_is_of_one_split_however_many_pairs_it_has():
    parts = divide_pairs(table(random_pairs()), SHARES)
    assert list(parts) == list(SHARES)
    assert sum(map(len, parts.values())) == 600
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not texts(parts[one]) & texts(parts[other])
    assert 0.6 < len(parts["train"]) / 600 < 0.95


def test_the_order_of_the_pairs_moves_none():
    rows = random_pairs()
    there = divide_pairs(table(rows), SHARES)
    here = divide_pairs(table(rows[::-1]), SHARES)
    assert {name: sorted(part.rows) for name, part in there.items()} == {
        name: sorted(part.rows) for name, part in here.items()
    }


def test_capitals_and_white_space_make_no_other_text_and_third_texts_join_nothing():
    joined = [("A  cat", f"answer {number}", f"other {number}") for number in range(30)]
    joined += [("a CAT ", f"more {number}", f"other {number}") for number in range(30)]
    alone = [(f"left {number}", f"right {number}", "the same") for number in range(60)]
    parts = divide_pairs(table([*joined, *alone]), SHARES)
    with_cat = [name for name, part in parts.items() if set(part.rows) & set(joined)]
    assert len(with_cat) == 1
    assert all(set(part.rows) & set(alone) for part in parts.values())


def test_a_group_that_is_larger_than_a_share_is_trained_on():
    for name in ("yes", "no", "maybe", "never"):
        large = [(f"question {number}", name) for number in range(300)]
        parts = divide_pairs(table([*large, *random_pairs(300)]), SHARES)
        assert set(large) <= set(parts["train"].rows)


def test_a_split_without_a_pair_is_refused():
    told = r"pairs\.csv: its 40 rows in 1 groups are too few to take"
    with pytest.raises(ValueError, match=told):
        divide_pairs(table([("all", f"answer {number}") for number in range(40)]), SHARES)


def test_pairs_of_one_file_that_share_a_text_are_of_one_split(tmp_path, tokenizer):
    rows = [(f"w{number % 40}", f"w{40 + number}") for number in range(59)]
    (tmp_path / "all.csv").write_text("\n".join(["a,b", *map(",".join, rows)]) + "\n")
    columns = EmbeddingColumns(text=("a", "b"))
    data = text_embedding(
        tmp_path / "all.csv", tokenizer, sequence_length=8, batch_size=4, columns=columns
    )
    texts = [{tuple(one) for one in split.tokens.to_list()} for split in data.splits.values()]
    assert len(texts) == 3
    assert not any(one & other for one, other in itertools.combinations(texts, 2))
