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

# A stretch around each @: an address is at most 320 characters, and a pattern that looks for its
# beginning in a million characters without a blank would not come to an end.
_AROUND_AT = re.compile(r"[^\s@]{0,64}@[^\s@]{1,255}")
# Below seven digits, what the phone recognizer takes for a number is a year or a quantity.
_FEWEST_DIGITS = 7
_AROUND_DIGITS = re.compile(r"\d(?:\D{0,4}\d){6,}")
_CONTEXT = 24  # characters on both sides of the digits that the recognizers look at
_DIGIT = re.compile(r"\d")


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
    if "@" in text:
        for match in _AROUND_AT.finditer(text):
            yield from _results(mails, text, match.start(), match.end())
    for match in _AROUND_DIGITS.finditer(text):
        start, end = max(0, match.start() - _CONTEXT), match.end() + _CONTEXT
        for one in (*_results(cards, text, start, end), *_results(phones, text, start, end)):
            # At the end of the stretch another number may be cut off, which has a match of its own.
            is_here = one.start < match.end() and one.end > match.start()
            if is_here and len(_DIGIT.findall(text, one.start, one.end)) >= _FEWEST_DIGITS:
                yield one


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
    mails.validate_result = lambda found: extract(found).fqdn != ""
    return CreditCardRecognizer(), mails, PhoneRecognizer(supported_regions=regions)
