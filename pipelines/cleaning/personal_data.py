"""E-mail addresses, phone and card numbers, found by Presidio's recognizers, and masked.

No model and no network: the recognizers of patterns are used alone, and the list of domain endings
is the one that tldextract brings with it.
"""

import bisect
import collections
import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

# By the kind that Presidio names; where two overlap, the first kind stands.
MASKS = {"CREDIT_CARD": "<CARD>", "EMAIL_ADDRESS": "<EMAIL>", "PHONE_NUMBER": "<PHONE>"}
NAMES = {"<CARD>": "card numbers", "<EMAIL>": "e-mail addresses", "<PHONE>": "phone numbers"}

# An address is at most 320 characters: a pattern that looks for its beginning in a million
# characters without a blank would not come to an end.
_BEFORE_AT = re.compile(r"[^\s@]{0,64}\Z")
_BEHIND_AT = re.compile(r"[^\s@]{0,255}")
# Below seven digits, what the phone recognizer takes for a number is a year or a quantity.
_FEWEST_DIGITS = 7
_AROUND_DIGITS = re.compile(r"\d(?:\D{0,4}\d){6,}")
_CONTEXT = 24  # characters on both sides of the digits that the recognizers look at
# A list of numbers is looked at in stretches: the phone recognizer gives up a text in which it
# tried too much. A number, with all that may stand between its digits, is at most so long.
_STRETCH, _LONGEST_NUMBER = 1024, 128
_ITEM, _SLASH = re.compile(r"""[^,;|<>"'\n]+"""), re.compile("/")
_AROUND_SLASH = 24  # characters before and behind it that may have the digits of a whole number
_DIGIT, _DIGITS = re.compile(r"\d"), re.compile(r"\d*")


class _Found(NamedTuple):
    start: int
    end: int
    kind: str


def mask_document(
    document: tuple[str, ...], regions: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The document with masks in the place of personal data, and how many of which kind.

    Args:
        document: Sentences.
        regions: Where phone numbers are written without the code of the country.
    """
    masked, counts = [], collections.Counter[str]()
    for sentence in document:
        text, kinds = _mask(sentence, regions)
        masked.append(text)
        counts.update(kinds)
    return tuple(masked), {NAMES[mask]: count for mask, count in sorted(counts.items())}


def check_regions(regions: tuple[str, ...]) -> None:
    """Raise ValueError for a region of which nobody knows how its phone numbers are written."""
    import phonenumbers

    if unknown := sorted(set(regions) - phonenumbers.SUPPORTED_REGIONS):
        raise ValueError(
            f"`phone_regions` has {', '.join(unknown)}, which is no region with phone numbers. "
            "Name countries by their ISO 3166 codes, such as US,GB."
        )


def _mask(text: str, regions: tuple[str, ...]) -> tuple[str, list[str]]:
    pieces, kinds, place = [], [], 0
    for one in _chosen(_find(text, regions)):
        pieces += [text[place : one.start], MASKS[one.kind]]
        kinds.append(MASKS[one.kind])
        place = one.end
    return "".join([*pieces, text[place:]]), kinds


def _chosen(found: Iterable[_Found]) -> list[_Found]:
    """Of those that overlap, the first by kind, then the longest; in the order of the text."""
    order = list(MASKS)
    chosen: list[_Found] = []
    for one in sorted(found, key=lambda it: (order.index(it.kind), it.start - it.end, it.start)):
        place = bisect.bisect(chosen, one)
        # Those that are chosen do not overlap, so that only the neighbours may overlap this one.
        is_behind = place == 0 or chosen[place - 1].end <= one.start
        if is_behind and (place == len(chosen) or one.end <= chosen[place].start):
            chosen.insert(place, one)
    return chosen


def _find(text: str, regions: tuple[str, ...]) -> Iterator[_Found]:
    cards, mails, phones = _recognizers(regions)
    yield from _find_mails(text, mails)
    for match in _AROUND_DIGITS.finditer(text):
        start, end = max(0, match.start() - _CONTEXT), min(match.end() + _CONTEXT, len(text))
        for piece in _pieces(text, start, end):
            # In the context another number may be cut off, which has a match of its own.
            yield from (
                one
                for one in _find_numbers(text, *piece, (cards, phones))
                if one.start < match.end() and one.end > match.start()
            )


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What of a list can hold a number: else one may be found across two of its items.

    A slash may be in a number, 030/2312500, but not between two that have all of their digits.
    """
    for item in _ITEM.finditer(text, start, end):
        first, last = item.span()
        for slash in _SLASH.finditer(text, first, last):
            place = slash.start()
            before = max(first, place - _AROUND_SLASH), place
            if _has_digits(text, *before) and _has_digits(
                text, place, min(place + _AROUND_SLASH, last)
            ):
                yield first, place
                first = place + 1
        if _has_digits(text, first, last):
            yield first, last


def _has_digits(text: str, start: int, end: int) -> bool:
    return len(_DIGIT.findall(text, start, end)) >= _FEWEST_DIGITS


def _find_mails(text: str, mails: Any) -> Iterator[_Found]:
    """The address around each @; it begins behind the one before.

    Most of what may separate two addresses may also be in one.
    """
    end, at = 0, text.find("@")
    while at >= 0:
        before = _BEFORE_AT.search(text, max(end, at - 64), at)
        behind = _BEHIND_AT.match(text, at + 1)
        if before and behind and before[0] and behind[0]:
            for one in _results(mails, text, before.start(), behind.end()):
                yield one
                end = max(end, one.end)
        at = text.find("@", at + 1)


def _find_numbers(
    text: str, start: int, last: int, recognizers: tuple[Any, ...]
) -> Iterator[_Found]:
    """The numbers in `text[start:last]`, which is looked at in stretches that cut no number."""
    while start < last:
        end = min(start + _STRETCH, last)
        # What begins here, and is a number, is in the stretch as a whole.
        certain = end if end == last else end - _LONGEST_NUMBER
        found = [one for each in recognizers for one in _results(each, text, start, end)]
        whole = [one for one in found if one.start < certain]
        yield from (one for one in whole if _has_digits(text, one.start, one.end))
        behind = max([certain, *(one.end for one in whole)])
        if behind < last and text[behind - 1].isdecimal():
            behind = _DIGITS.match(text, behind).end()  # type: ignore[union-attr]  # also of none
        # Where two regions disagree, one's number may begin before another's ends.
        start = min([behind, *(one.start for one in found if one.start >= certain)])


def _results(recognizer: Any, text: str, start: int, end: int) -> Iterator[_Found]:
    for one in recognizer.analyze(text[start:end], recognizer.supported_entities, None):
        yield _Found(start + one.start, start + one.end, one.entity_type)


@functools.cache
def _recognizers(regions: tuple[str, ...]) -> tuple[Any, Any, Any]:
    """Of cards, e-mail addresses and phone numbers; spaCy, which they import, takes seconds."""
    import tldextract
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        EmailRecognizer,
        PhoneRecognizer,
    )

    # As it comes, tldextract fetches a list from the network, and another list is another result.
    extract = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
    mails: Any = EmailRecognizer()
    # By itself, for a / or ? before the @ would be taken for the end of the domain.
    mails.validate_result = lambda found: extract(found.rpartition("@")[2]).fqdn != ""
    return CreditCardRecognizer(), mails, PhoneRecognizer(supported_regions=regions)
