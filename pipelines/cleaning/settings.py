"""What is cleaned: each step is off until it is asked for."""

import functools
import importlib.util
import re
import warnings
from dataclasses import dataclass
from importlib import metadata

from tfpt.config import check, check_choice

# In the order in which they are applied to a document; those of duplicates look at what is left.
DOCUMENT_STEPS = ("unicode", "length", "repetition", "languages", "overlap", "personal_data")
DUPLICATE_STEPS = ("exact_duplicates", "near_duplicates")

# Distributions that decide in a step: another version may give another result.
_DECIDING = {
    "languages": ("py3langid",),
    "personal_data": ("presidio-analyzer", "phonenumbers", "tldextract"),
}
_MODULES = {
    "languages": ("py3langid",),
    "personal_data": ("presidio_analyzer",),
    "report": ("matplotlib", "jinja2"),
}
_DUPLICATES_FROM, _DUPLICATES_TO = 0.1, 1.0


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """How much of a document may be repetition; those of Gopher, for which see `repetition.py`."""

    sentences: float = 0.30  # share of sentences that were there before, in (0, 1]
    sentence_characters: float = 0.20  # share of characters in such sentences
    top_ngrams: tuple[float, ...] = (0.20, 0.18, 0.16)  # of the most frequent 2-, 3- and 4-gram
    # Of 5- to 10-grams that were there before: share of characters in them.
    ngrams: tuple[float, ...] = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)

    def __post_init__(self) -> None:
        for name in ("sentences", "sentence_characters"):
            check(self, name, 0 < getattr(self, name) <= 1, "a share in (0, 1]")
        for name in ("top_ngrams", "ngrams"):
            shares = getattr(self, name)
            check(self, name, all(0 < share <= 1 for share in shares), "shares in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """Which steps clean a corpus, and by what numbers."""

    unicode: str = ""  # "nfc" or "nfkc": normalize, and remove control characters
    min_words: int = 0  # shorter documents are dropped; see `words.py` for what a word is
    max_words: int = 0  # longer documents are dropped; 0: no limit
    repetition: Repetition | None = None  # documents that repeat more than this are dropped
    keep_languages: tuple[str, ...] = ()  # ISO 639-1 codes; documents in others are dropped
    count_languages: bool = False  # tell how many documents are in which language
    min_confidence: float = 0.5  # of a language, in [0, 1]; what is less sure counts as none
    overlap: tuple[str, ...] = ()  # sources of evaluation texts; documents with parts of them go
    overlap_field: str = "text"  # of records in these sources; as `field` of `read_documents`
    overlap_words: int = 13  # words in a row that must be the same
    personal_data: bool = False  # mask e-mail addresses, phone and card numbers
    # Where phone numbers are written without the code of the country: ISO 3166 codes.
    phone_regions: tuple[str, ...] = ("US", "GB", "DE", "FR", "IL", "IN", "CA", "BR")
    exact_duplicates: bool = False  # drop documents that were there before
    near_duplicates: float = 0.0  # drop those at least as similar to an earlier one; 0: off
    num_examples: int = 5  # in the report, for each reason

    def __post_init__(self) -> None:
        check_choice(self, "unicode", ("", "nfc", "nfkc"))
        for name in ("keep_languages", "overlap", "phone_regions"):
            check(self, name, isinstance(getattr(self, name), tuple), "a tuple of strings")
        for name in ("min_words", "max_words", "num_examples"):
            check(self, name, getattr(self, name) >= 0, "zero or a positive number")
        holds = not self.max_words or self.min_words <= self.max_words
        check(self, "min_words", holds, f"at most max_words={self.max_words}")
        check(self, "min_confidence", 0 <= self.min_confidence <= 1, "a share in [0, 1]")
        for name, form in (("keep_languages", "[a-z]{2,3}"), ("phone_regions", "[A-Z]{2}")):
            codes = getattr(self, name)
            check(self, name, all(re.fullmatch(form, code) for code in codes), "a tuple of codes")
        check(self, "overlap_words", 2 <= self.overlap_words <= 100, "from 2 to 100")
        is_similarity = _DUPLICATES_FROM <= self.near_duplicates <= _DUPLICATES_TO
        check(
            self,
            "near_duplicates",
            self.near_duplicates == 0 or is_similarity,
            f"a similarity from {_DUPLICATES_FROM} to {_DUPLICATES_TO:.0f}, or 0",
        )

    @functools.cached_property
    def steps(self) -> tuple[str, ...]:
        """The names of the steps that are on, in the order in which they are applied."""
        on = {
            "unicode": self.unicode,
            "length": self.min_words or self.max_words,
            "repetition": self.repetition,
            "languages": self.keep_languages or self.count_languages,
            "overlap": self.overlap,
            "personal_data": self.personal_data,
            "exact_duplicates": self.exact_duplicates,
            "near_duplicates": self.near_duplicates,
        }
        return tuple(name for name in (*DOCUMENT_STEPS, *DUPLICATE_STEPS) if on[name])

    @property
    def bytes_per_document(self) -> int:
        """The most that the removal of duplicates holds on disk for a document, besides its text.

        Exact: a hash (16), the same with the document's number in files to be looked through (24,
        twice while they are written), and the decision (8). Near: a signature (512); and for each
        band its hash (8), and the same with the document's number (16, twice while they are
        written), of which the document with the one that it repeats is left (16). This holds for
        any number of processes: with fewer than there are bands, each that is not there saves 16.
        """
        from tfpt.pipelines.cleaning.near_duplicates import NUM_VALUES, num_bands

        exact = 16 + 2 * 24 + 8 if self.exact_duplicates else 0
        if not self.near_duplicates:
            return exact
        return exact + 4 * NUM_VALUES + (8 + 2 * 16) * num_bands(self.near_duplicates)


def check_cleaning(cleaning: Cleaning) -> None:
    """Raise ValueError where nothing is to be done, or a library is missing.

    Warns where something was set that has no effect.
    """
    if not cleaning.steps:
        raise ValueError(
            "Nothing is to be cleaned: no step is on. Choose one or more of `unicode`, "
            "`min_words`, `max_words`, `repetition`, `keep_languages`, `count_languages`, "
            "`overlap`, `personal_data`, `exact_duplicates`, `near_duplicates`."
        )
    for step in (*cleaning.steps, "report"):
        for module in _MODULES.get(step, ()):
            if importlib.util.find_spec(module) is None:
                what = "The report" if step == "report" else f"The step `{step}`"
                raise ValueError(
                    f"{what} needs {module}, which is not installed. Run "
                    "pip install 'tfpt[cleaning]'."
                )
    _warn_without_effect(cleaning)


def _warn_without_effect(cleaning: Cleaning) -> None:
    """Warn of fields that another step's field must turn on, and that are not as they come."""
    needed = {
        "min_confidence": ("languages", "`keep_languages` or `count_languages`"),
        "overlap_field": ("overlap", "`overlap`"),
        "overlap_words": ("overlap", "`overlap`"),
        "phone_regions": ("personal_data", "`personal_data`"),
    }
    as_it_comes = Cleaning()
    for name, (step, fields) in needed.items():
        if step not in cleaning.steps and getattr(cleaning, name) != getattr(as_it_comes, name):
            warnings.warn(f"`{name}` has no effect without {fields}.", stacklevel=3)


def library_versions(cleaning: Cleaning) -> dict[str, str]:
    """The versions of what decides what is dropped and changed."""
    import platform
    import unicodedata

    import numpy as np

    names = [name for step in cleaning.steps for name in _DECIDING.get(step, ())]
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "unicode": unicodedata.unidata_version,
        "numpy": np.__version__,
        **{name: metadata.version(name) for name in names},
    }
