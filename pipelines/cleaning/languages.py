"""The language of a document, by py3langid.

Source of the method: Lui and Baldwin 2012, https://aclanthology.org/P12-3005.
"""

import functools
from typing import Any

# Of a long document, what is looked at: so many characters at its beginning, middle and end.
_STRETCH = 1_000

UNSURE = "unsure"


def document_language(document: tuple[str, ...], min_confidence: float) -> tuple[str, float]:
    """The ISO 639 code of a document's language, and how sure that is, in [0, 1].

    Args:
        document: Sentences; of more than 3,000 characters, the beginning, middle and end count.
        min_confidence: What is less sure is "unsure".
    """
    text = " ".join(document)
    if len(text) > 3 * _STRETCH:
        middle = len(text) // 2 - _STRETCH // 2
        stretches = (text[:_STRETCH], text[middle : middle + _STRETCH], text[-_STRETCH:])
        text = " ".join(stretches)
    code, confidence = _identifier().classify(text)
    # The last digits of a logarithm may differ from machine to machine.
    confidence = round(float(confidence), 4)
    return (str(code) if confidence >= min_confidence else UNSURE), confidence


def known_languages() -> list[str]:
    """The codes of all languages that can be told apart."""
    return sorted(set(_identifier().labels))


def check_languages(codes: tuple[str, ...]) -> None:
    """Raise ValueError for a language that is not known."""
    known = known_languages() if codes else []  # the model takes a second to load
    if unknown := [code for code in codes if code not in known]:
        raise ValueError(
            f"`keep_languages` has {', '.join(unknown)}, which cannot be told apart. Known are "
            f"{', '.join(known)}."
        )


@functools.cache
def _identifier() -> Any:
    import numpy as np
    from py3langid import langid

    class Identifier(langid.LanguageIdentifier):
        """Adds in one order: a product of matrices adds otherwise with other threads."""

        __slots__ = ()

        def _sparse_score(self, visits, table):
            places = np.fromiter(visits.keys(), np.intp, len(visits))
            counts = np.fromiter(visits.values(), np.float32, len(visits))
            return (np.log1p(counts)[:, None] * table[places]).sum(axis=0) + self.nb_pc

    return Identifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
