"""Exact match and F1 of answers, against values worked out by hand."""

import pytest

from tfpt.answer_scores import normalized, score_answer, units_of


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("an  apple, a\tpear\nand THE fig", "apple pear and fig"),
        ("U.S.A.", "usa"),
        ("theme and another", "theme and another"),
        # Without its punctuation an article is one; a sign that is not of ASCII stays.
        ("\u201cthe\u201d a.", "\u201c \u201d"),
        ("the", ""),
    ],
)
def test_capitals_punctuation_articles_and_blanks_make_no_difference(text, left):
    assert normalized(text) == left


@pytest.mark.parametrize(
    ("answer", "true", "exact_match", "f1"),
    [
        ("The Eiffel Tower", ["eiffel tower."], 1, 1),
        # "in paris france" and "paris": 1 word in common; precision 1/3, recall 1; 2/4.
        ("in Paris, France", ["Paris"], 0, 0.5),
        # "to be to" and "to to be be": "to" twice and "be" once, 3 of 3 and 3 of 4; 6/7.
        ("to be to", ["to to be be"], 0, 6 / 7),
        # The best of both: "paris" is exact; against the other it were 2/3.
        ("Paris", ["Paris, France", "Paris"], 1, 1),
        ("Rome", ["Paris"], 0, 0),
        # No answer is right where there is none, and wrong where there is one.
        ("", [], 1, 1),
        ("Paris", [], 0, 0),
        ("", ["Paris"], 0, 0),
        # Of "the" nothing is left: it counts as no answer, in both.
        ("the", [], 1, 1),
        ("", ["the"], 1, 1),
        ("Paris", ["the", "Paris"], 1, 1),
        ("", ["the", "Paris"], 0, 0),
    ],
)
def test_scores_by_words_are_those_of_squad(answer, true, exact_match, f1):
    score = score_answer(answer, true)
    assert score.exact_match == exact_match
    assert score.f1 == pytest.approx(f1)


def test_units_are_chinese_characters_and_words_of_other_letters():
    # Four characters, a word, a number whole, a sign that is not passed over.
    assert units_of("\u5357\u4eac\u5e02\u5728 km39.5 %") == [
        *"\u5357\u4eac\u5e02\u5728",
        "km39.5",
        "%",
    ]


@pytest.mark.parametrize(
    ("answer", "true", "exact_match", "f1"),
    [
        # Signs and capitals make no difference.
        ("\u300a\u6218\u56fd\u300bABC\u3002", ["\u6218\u56fd\uff0cabc"], 1, 1),
        # Of 3 and 4 characters the first 3 in common: 6/7.
        ("\u5357\u4eac\u5e02", ["\u5357\u4eac\u5e02\u957f"], 0, 6 / 7),
        # "abad" and "abcad" in Chinese characters share "ab" and "ad" but the longest stretch is 2:
        # 2*2 / (4+5).
        ("\u4e00\u4e01\u4e00\u4e03", ["\u4e00\u4e01\u4e09\u4e00\u4e03"], 0, 4 / 9),
        # A word is one unit: of 3 and 2 units the first 2 in common, 2*2 / (3+2).
        ("Nexon\u5f00\u53d1", ["nexon\u5f00"], 0, 4 / 5),
        # The best of three.
        ("\u5e02", ["\u5357", "\u5357\u5e02", "\u4eac"], 0, 2 / 3),
        ("\u5357", ["\u4eac"], 0, 0),
        ("", ["\u4eac"], 0, 0),
        ("", [], 1, 1),
        # An article is a word here.
        ("the A", ["A"], 0, 2 / 3),
    ],
)
def test_scores_by_characters_are_those_of_cmrc(answer, true, exact_match, f1):
    score = score_answer(answer, true, by_words=False)
    assert score.exact_match == exact_match
    assert score.f1 == pytest.approx(f1)
