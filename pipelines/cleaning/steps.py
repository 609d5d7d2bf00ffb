"""The steps that look at one document at a time, in their order."""

from typing import NamedTuple

from tfpt.pipelines.cleaning import counts
from tfpt.pipelines.cleaning.languages import UNSURE, document_language
from tfpt.pipelines.cleaning.length import length_problem
from tfpt.pipelines.cleaning.overlap import EvaluationTexts, texts_found
from tfpt.pipelines.cleaning.personal_data import MASKS, mask_document
from tfpt.pipelines.cleaning.repetition import repetition_problem
from tfpt.pipelines.cleaning.settings import DOCUMENT_STEPS, Cleaning, Repetition
from tfpt.pipelines.cleaning.unicode import first_change, normalize_document

Document = tuple[str, ...]


class Outcome(NamedTuple):
    """What a step makes of a document."""

    document: Document
    reason: str = ""  # why it is dropped; empty: it stays
    detail: str = ""  # of the reason
    found: tuple[tuple[str, int], ...] = ()  # what is counted besides, and how often
    evaluation_texts: tuple[int, ...] = ()  # numbers of those it shares words with


def clean_document(
    document: Document,
    cleaning: Cleaning,
    report: counts.Report,
    evaluation: EvaluationTexts | None = None,
) -> Document | None:
    """The document as the steps leave it; None where one of them drops it.

    Those of duplicates look at several documents and come later.

    Args:
        document: Sentences.
        cleaning: Which steps are on.
        report: As `counts.empty_report(cleaning.steps)` gives it; is added to.
        evaluation: The texts to look for, where the step `overlap` is on.
    """
    counts.count_length(report["lengths_before"], counts.count_document(report["before"], document))
    for name in (step for step in cleaning.steps if step in DOCUMENT_STEPS):
        outcome = _apply(name, document, cleaning, evaluation)
        _count(report, name, document, outcome, cleaning)
        if outcome.reason:
            return None
        document = outcome.document
    counts.count_length(report["lengths_after"], counts.count_document(report["after"], document))
    return document


def _apply(
    name: str, document: Document, cleaning: Cleaning, evaluation: EvaluationTexts | None
) -> Outcome:
    if name == "unicode":
        after = normalize_document(document, cleaning.unicode)
        return Outcome(after, "" if after else "nothing left")
    if name == "length":
        return Outcome(document, *length_problem(document, cleaning.min_words, cleaning.max_words))
    if name == "repetition":
        limits = cleaning.repetition or Repetition()
        return Outcome(document, *repetition_problem(document, limits))
    if name == "languages":
        return _of_language(document, cleaning)
    if name == "overlap":
        return _of_overlap(document, evaluation)
    masked, found = mask_document(document, cleaning.phone_regions)
    return Outcome(masked, found=tuple(found.items()))


def _of_language(document: Document, cleaning: Cleaning) -> Outcome:
    code, confidence = document_language(document, cleaning.min_confidence)
    if not cleaning.keep_languages or code in cleaning.keep_languages:
        return Outcome(document, found=((code, 1),))
    reason = "language unsure" if code == UNSURE else "another language"
    return Outcome(document, reason, f"{code}, {confidence:.0%}", ((code, 1),))


def _of_overlap(document: Document, evaluation: EvaluationTexts | None) -> Outcome:
    if evaluation is None:
        raise ValueError("The step `overlap` needs the evaluation texts to look for.")
    texts = texts_found(document, evaluation)
    if not len(texts):
        return Outcome(document)
    places = set(evaluation.starts.searchsorted(texts, "right") - 1)
    names = [evaluation.sources[place][0] for place in sorted(places)]
    return Outcome(
        document,
        "shares words with evaluation texts",
        ", ".join(names),
        tuple((name, 1) for name in names),
        tuple(texts.tolist()),
    )


def _count(
    report: counts.Report, name: str, before: Document, outcome: Outcome, cleaning: Cleaning
) -> None:
    """Enter what a step did into the report."""
    step = report["steps"][name]
    for what, count in outcome.found:
        counts.add(step["found"], what, count)
    for number in outcome.evaluation_texts:
        counts.add(report["evaluation_texts"], str(number))
    reason = outcome.reason
    if reason:
        counts.add(step["dropped"], reason)
    else:
        counts.count_document(step["after"], outcome.document)
        if outcome.document == before:
            return
        step["changed"] += 1
        reason = "changed"
    counts.add_example(
        step["examples"],
        reason,
        before,
        lambda: _example(name, before, outcome, cleaning),
        cleaning.num_examples,
    )


def _example(name: str, before: Document, outcome: Outcome, cleaning: Cleaning) -> dict[str, str]:
    """What the report shows of a document: where personal data is masked, masked here too."""
    if name == "personal_data":
        text = " ".join(outcome.document)
        first = min(text.find(mask) for mask in MASKS.values() if mask in text)
        return {"text": counts.shortened(text[max(0, first - 60) :]), "detail": ""}
    if outcome.reason:
        return {"text": counts.shortened(_shown(before, cleaning)), "detail": outcome.detail}
    if cleaning.personal_data:  # what was there before may not be found as such
        return {"text": counts.shortened(_shown(outcome.document, cleaning)), "detail": ""}
    return {"text": first_change(before, outcome.document), "detail": ""}


def _shown(document: Document, cleaning: Cleaning) -> str:
    """The beginning of a document, of whole sentences."""
    sentences: list[str] = []
    for sentence in document:
        one: Document = (sentence,)
        if cleaning.personal_data:
            if cleaning.unicode:  # else full width letters would keep an address from being found
                one = normalize_document(one, cleaning.unicode) or ("",)
            one = mask_document(one, cleaning.phone_regions)[0]
        sentences.append(one[0])
        if len(" ".join(sentences)) > 200:
            break
    return " ".join(sentences)
