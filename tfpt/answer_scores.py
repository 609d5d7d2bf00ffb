"""How right an answer is: exact match and F1 of texts.

By words: as the evaluation of SQuAD 2.0. Capitals, punctuation of ASCII, articles and the width of
white space make no difference; F1 is that of the words two texts share, as often as both have them.
Sources: Rajpurkar et al. 2016, section 6.1, https://arxiv.org/abs/1606.05250; Rajpurkar et al.
2018, https://arxiv.org/abs/1806.03822; the script of https://rajpurkar.github.io/SQuAD-explorer.

By characters: as the evaluation of CMRC 2018. Capitals and certain signs make no difference; a
Chinese character is a unit, and so is a word of other letters; F1 is that of the longest stretch of
units two texts share. Words are told here by blanks and signs, where the script asks NLTK. Source:
Cui et al. 2019, section 3, https://arxiv.org/abs/1810.07366; the script of
https://github.com/ymcui/cmrc2018.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Those that the evaluation of CMRC 2018 passes over. An ellipsis is not among them: the script
# looks for two at once in single characters.
_SIGNS = str.maketrans(
    "",
    "",
    "-:_*^/\\~`+="
    "\uff0c\u3002\uff1a\uff1f\uff01\u201c\u201d\uff1b\u2019\u300a\u300b\u00b7\u3001"
    "\u300c\u300d\uff08\uff09\uff0d\uff5e\u300e\u300f",
)
# A Chinese character; a word of other letters or a number, such as 3.5; any other sign.
_UNITS = re.compile(r"[\u4e00-\u9fa5]|(?:(?![\u4e00-\u9fa5])\w)+(?:[.,']\d+)*|\S")


class Score(NamedTuple):
    """How right an answer is, or the mean of many; shares in [0, 1]."""

    exact_match: float
    f1: float


def score_answer(answer: str, true: Sequence[str], *, by_words: bool = True) -> Score:
    """The best score of an answer, compared with each of the right ones.

    Args:
        answer: "" says that there is none.
        true: The right answers; without any the question has no answer, and "" is right.
        by_words: Whether as SQuAD does; else as CMRC 2018 does.
    """
    compare = _by_words if by_words else _by_characters
    scores = [compare(answer, one) for one in _said(true, by_words)]
    return Score(max(one.exact_match for one in scores), max(one.f1 for one in scores))


def _said(true: Sequence[str], by_words: bool) -> Sequence[str]:
    """The right answers of which something is left; "" where there is none."""
    return [one for one in true if not by_words or normalized(one)] or [""]


def normalized(text: str) -> str:
    """A text as it is compared by words: without capitals, punctuation, articles, wide blanks."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def _by_words(answer: str, true: str) -> Score:
    answer, true = normalized(answer), normalized(true)
    exact = float(answer == true)
    words, true_words = answer.split(), true.split()
    if not words or not true_words:
        return Score(exact, exact)
    common = sum((Counter(words) & Counter(true_words)).values())
    return Score(exact, _f1(common, len(words), len(true_words)))


def _by_characters(answer: str, true: str) -> Score:
    answer, true = (one.lower().strip().translate(_SIGNS) for one in (answer, true))
    exact = float(answer == true)
    units, true_units = units_of(answer), units_of(true)
    if not units or not true_units:
        return Score(exact, exact)
    return Score(exact, _f1(_longest_common(units, true_units), len(units), len(true_units)))


def units_of(text: str) -> list[str]:
    """The units of a text that are compared by characters."""
    return _UNITS.findall(text)


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest stretch that both have."""
    longest, lengths = 0, [0] * (len(other) + 1)
    for unit in one:
        # From the right, so that what is to the left is still that of the unit before.
        for place in range(len(other), 0, -1):
            lengths[place] = lengths[place - 1] + 1 if other[place - 1] == unit else 0
        longest = max(longest, *lengths)
    return longest


def _f1(common: int, num_answer: int, num_true: int) -> float:
    return 2 * common / (num_answer + num_true)
