"""Unicode normalization of a document; characters that nobody sees are removed."""

import re
import unicodedata

# Controls but for white space, which becomes a blank; the soft hyphen, zero-width space, word
# joiner and byte order mark; noncharacters. Joiners and marks of direction stay: scripts need them.
_NONCHARACTERS = [
    plane + last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)
]
_UNSEEN = re.compile(
    "[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\ufdd0-\ufdef"
    f"{''.join(map(chr, _NONCHARACTERS))}]"
)
_SPACES = re.compile(r"[^\S ]+")


def normalize_document(document: tuple[str, ...], form: str) -> tuple[str, ...]:
    """The document in a normal form, without control characters; sentences may vanish.

    Args:
        document: Sentences.
        form: "nfc": the same characters, each written in one way. "nfkc": also ligatures, full
            width, superscripts and the like as plain letters and digits.

    Source: https://www.unicode.org/reports/tr15/.
    """
    return tuple(filter(None, (_normalize(sentence, form.upper()) for sentence in document)))


def _normalize(sentence: str, form: str) -> str:
    # Before the normal form: what is removed may stand between a letter and its accent.
    sentence = _UNSEEN.sub("", sentence)
    sentence = unicodedata.normalize(form, sentence)  # type: ignore[arg-type]
    return _SPACES.sub(" ", sentence).strip()


def first_change(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """The first place where two documents differ, as `before -> after`, escaped."""
    old, new = " ".join(before), " ".join(after)
    size = min(len(old), len(new))
    place = next((at for at in range(size) if old[at] != new[at]), size)
    start = max(0, place - 10)
    return f"{old[start : place + 10]!a} -> {new[start : place + 10]!a}"
