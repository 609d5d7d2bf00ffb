"""The report of a cleaned corpus, from what was counted in its parts."""

import json
from collections.abc import Callable
from typing import Any

from tfpt import __version__, config
from tfpt.pipelines.cleaning import counts
from tfpt.pipelines.cleaning.overlap import EvaluationTexts
from tfpt.pipelines.cleaning.settings import Cleaning, library_versions

FORMAT = 1


def corpus_report(
    merged: counts.Report,
    cleaning: Cleaning,
    evaluation: EvaluationTexts | None,
    text_of: Callable[[int], str],
) -> dict[str, Any]:
    """The report: what report.json holds.

    Args:
        merged: Of all parts, duplicates included.
        cleaning: Which steps were on.
        evaluation: The texts that were looked for, where the step `overlap` was on.
        text_of: Gives the text of a document by its number, for examples of duplicates.

    Raises:
        ValueError: The corpus was empty, or no document is left.
    """
    _check(merged, cleaning)
    return {
        "format": FORMAT,
        "tfpt": __version__,
        "decided_by": library_versions(cleaning),
        "cleaning": config.to_dict(cleaning),
        "bytes_per_document": cleaning.bytes_per_document,
        "before": merged["before"],
        "after": merged["after"],
        "steps": [
            {"name": name, **_step(merged["steps"][name], text_of)} for name in cleaning.steps
        ],
        "lengths": _lengths(merged["lengths_before"], merged["lengths_after"]),
        "evaluation": _evaluation(merged["evaluation_texts"], evaluation),
    }


def report_text(report: dict[str, Any]) -> str:
    """What report.json holds."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def _check(merged: counts.Report, cleaning: Cleaning) -> None:
    before = merged["before"]["documents"] if merged else 0
    if not before:
        raise ValueError("The corpus is empty: there is no document. Check the sources.")
    if not merged["after"]["documents"]:
        steps = merged["steps"]
        dropped = {name: sum(steps[name]["dropped"].values()) for name in cleaning.steps}
        told = ", ".join(f"{name} {count:,}" for name, count in dropped.items() if count)
        raise ValueError(
            f"Of {before:,} documents none is left. Dropped by {told}. Loosen these steps."
        )


def _step(step: dict[str, Any], text_of: Callable[[int], str]) -> dict[str, Any]:
    examples = {
        reason: [_example(one, text_of) for one in found]
        for reason, found in sorted(step["examples"].items())
    }
    return {
        "dropped": _by_count(step["dropped"]),
        "changed": step["changed"],
        "found": _by_count(step["found"]),
        "after": step["after"],
        "examples": examples,
    }


def _by_count(found: dict[str, int]) -> dict[str, int]:
    """The most frequent first."""
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _example(one: dict[str, Any], text_of: Callable[[int], str]) -> dict[str, str]:
    shown = {"text": one["text"]}
    if one["detail"]:
        shown["detail"] = one["detail"]
    if "document" in one:
        shown["repeats"] = text_of(one["document"])
    return shown


def _lengths(before: dict[str, int], after: dict[str, int]) -> list[list[int]]:
    """For each bin of lengths: its least, in characters, and the documents before and after."""
    numbers = [int(name) for name in before] + [int(name) for name, count in after.items() if count]
    return [
        [counts.bin_start(number), before.get(str(number), 0), after.get(str(number), 0)]
        for number in (range(min(numbers), max(numbers) + 1) if numbers else ())
    ]


def _evaluation(
    found: dict[str, int], evaluation: EvaluationTexts | None
) -> list[dict[str, str | int]]:
    """For each source: its texts, those too short to be looked for, and those that were found."""
    if evaluation is None:
        return []
    starts = evaluation.starts.tolist()
    numbers = [int(number) for number in found]
    return [
        {
            "source": name,
            "texts": num_texts,
            "too_short": num_short,
            "found": sum(start <= number < start + num_texts for number in numbers),
        }
        for start, (name, num_texts, num_short) in zip(starts, evaluation.sources, strict=False)
    ]
