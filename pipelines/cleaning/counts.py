"""What is counted while a part is cleaned, and how the counts of parts become those of a corpus.

A report of a part, all of it ready for JSON:

    before, after       documents, sentences and characters
    lengths_before, lengths_after       documents by length; see `length_bin`
    steps               by name: documents `dropped` by reason, `changed`; what was `found`; what
                        is there `after` it; `examples` by reason
    evaluation_texts    by number, the documents that share words with it
"""

import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# Characters of an example.
_LONGEST = 200

Report = dict[str, Any]

# Why a duplicate is dropped.
REPEATS = "repeats an earlier document"


def empty_report(steps: Iterable[str]) -> Report:
    """The report of no document."""
    return {
        "before": _nothing(),
        "after": _nothing(),
        "lengths_before": {},
        "lengths_after": {},
        "steps": {
            name: {"dropped": {}, "changed": 0, "found": {}, "after": _nothing(), "examples": {}}
            for name in steps
        },
        "evaluation_texts": {},
    }


def _nothing() -> dict[str, int]:
    return {"documents": 0, "sentences": 0, "characters": 0}


def length_bin(num_characters: int) -> int:
    """The number of the bin of a length; two to each doubling. See `bin_start`."""
    bits = num_characters.bit_length()
    return 2 * bits + (num_characters >> max(bits - 2, 0) & 1 if bits > 1 else 0)


def bin_start(number: int) -> int:
    """The least length in a bin, in characters."""
    bits, upper = divmod(number, 2)
    return (2 + upper << bits - 2) if bits > 1 else bits


def count_document(totals: dict[str, int], document: tuple[str, ...], sign: int = 1) -> int:
    """Add a document to totals, or take it away; gives its number of characters."""
    num_characters = sum(map(len, document))
    totals["documents"] += sign
    totals["sentences"] += sign * len(document)
    totals["characters"] += sign * num_characters
    return num_characters


def count_length(lengths: dict[str, int], num_characters: int, sign: int = 1) -> None:
    """Add a document to the bin of its length, or take it away."""
    add(lengths, str(length_bin(num_characters)), sign)


def add(counts: dict[str, int], name: str, count: int = 1) -> None:
    """Add to a count that may not be there yet."""
    counts[name] = counts.get(name, 0) + count


def add_example(
    examples: dict[str, list[dict[str, Any]]],
    reason: str,
    document: tuple[str, ...],
    make: Callable[[], dict[str, Any]],
    most: int,
) -> None:
    """Add an example where its hash is among the lowest: the choice depends on no order.

    Args:
        examples: By reason, sorted by `key`.
        reason: What it is an example of.
        document: Whose hash counts.
        make: Called if it is taken; gives what is shown.
        most: Examples of a reason.
    """
    if not most:
        return
    text = "\n".join(document).encode("utf-8", "surrogatepass")
    key = hashlib.blake2b(text, digest_size=8).hexdigest()
    there = examples.get(reason, [])
    is_among = len(there) < most or key < there[-1]["key"]
    if is_among and all(one["key"] != key for one in there):
        examples[reason] = _lowest([*there, {"key": key, **make()}], most)


def begin_duplicates(report: Report, steps: Iterable[str]) -> None:
    """Enter what is left before the steps of duplicates, from which they take out."""
    for name in steps:
        report["steps"][name]["after"] = dict(report["after"])


def take_out_duplicate(
    report: Report,
    steps: Sequence[str],
    document: tuple[str, ...],
    *,
    earlier: int,
    num_examples: int,
) -> None:
    """Take a duplicate out of what the report counts.

    Args:
        report: Where `begin_duplicates` was called.
        steps: The step that dropped it, and those of duplicates that come later.
        document: As it was written by the steps before.
        earlier: The number of the document that it repeats.
        num_examples: Of a reason.
    """
    step = report["steps"][steps[0]]
    for totals in (report["after"], *(report["steps"][name]["after"] for name in steps)):
        num_characters = count_document(totals, document, -1)
    count_length(report["lengths_after"], num_characters, -1)
    add(step["dropped"], REPEATS)
    add_example(
        step["examples"],
        REPEATS,
        document,
        lambda: {"text": shortened(" ".join(document)), "detail": "", "document": earlier},
        num_examples,
    )


def _lowest(examples: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    by_key: dict[str, dict[str, Any]] = {}
    # Equal documents: the first in the corpus, where that is known.
    for one in sorted(examples, key=lambda it: (it["key"], it.get("document", 0))):
        by_key.setdefault(one["key"], one)
    return list(by_key.values())[:most]


def shortened(text: str) -> str:
    """The beginning of a text, for an example."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\u2026"


def merge_reports(reports: Iterable[Report], num_examples: int) -> Report:
    """The report of all documents together; in any order, also of reports that were merged."""
    merged: Report = {}
    for report in reports:
        merged = _merge(merged, report, num_examples) if merged else copy.deepcopy(report)
    return merged


def _merge(one: Any, other: Any, most: int) -> Any:
    if isinstance(one, Mapping):
        names = [*one, *(name for name in other if name not in one)]
        return {
            name: _merge(one[name], other[name], most)
            if name in one and name in other
            else copy.deepcopy(one.get(name, other.get(name)))
            for name in names
        }
    return one + other if isinstance(one, int) else _lowest([*one, *other], most)
