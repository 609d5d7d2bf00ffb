"""Columns that tell which texts mean the same, or do not."""

import pytest

from tfpt.pipelines import EmbeddingColumns


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": ("a", "b"), "label": "l"}, "grouped by pairs or by a label: .* a, b and the lab"),
        ({"text": tuple("abcd")}, r"`text` is a tuple of one column, .* received \('a', 'b', 'c'"),
        ({"text": ("a", "a")}, "A text cannot be its own partner: received the columns a, a"),
        ({"text": ()}, r"`text` is a tuple of one column, .* received \(\)"),
        ({"text": "text"}, "`text` is a tuple of one column, .* received 'text'"),
        ({"score": "s", "least_score": 1.0}, "A score is of pairs: .* one column of text, text"),
        ({"text": ("a", "b"), "score": "s"}, "`score` and `least_score` go together: .* 's' and N"),
        (
            {"text": ("a", "b"), "least_score": 0},
            "`score` and `least_score` go together: .* '' and",
        ),
    ],
)
def test_columns_that_do_not_go_together_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingColumns(**arguments)


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        (EmbeddingColumns(), "alone"),
        (EmbeddingColumns(label="intent"), "labels"),
        (EmbeddingColumns(text=("a", "b")), "pairs"),
        (EmbeddingColumns(text=("a", "b", "c"), score="s", least_score=4), "pairs"),
    ],
)
def test_columns_tell_the_kind_of_data(columns, kind):
    assert columns.kind == kind
