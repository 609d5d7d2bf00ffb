"""Running text to sentences."""

import io
import itertools
import re
from collections.abc import Iterable, Iterator

import sentencex

# No more of one paragraph than this is held, in characters.
MAX_PARAGRAPH = 1 << 20
# How much of a text, in characters, is looked at to see whether it is hard-wrapped, and between
# which widths that can be.
_WRAP_PROBE = 1 << 18
_MIN_WIDTH, _MAX_WIDTH = 40, 100
# The end of a sentence, also in Chinese and Japanese, and what may close behind it.
_SENTENCE_END = re.compile("[.!?:\u2026\u3002\uff01\uff1f][\"'\u201d\u2019\u00bb)\\]]*$")


def split_text(text: str, language: str = "en") -> list[str]:
    """Split running text into sentences; see `split_lines`."""
    return list(split_lines(io.StringIO(text, newline=None), language))


def split_lines(lines: Iterable[str], language: str = "en") -> Iterator[str]:
    """Split running text, given line by line, into sentences.

    Paragraphs are found first, then split; no sentence spans two of them. A blank line ends a
    paragraph. Any other line break does too, unless the text is hard-wrapped, that is, its lines
    are of about one length, 40 to 100 characters; there a line that stops short does. White space
    within a sentence is folded into single spaces.

    Args:
        lines: With or without their line ends. Read as a stream.
        language: ISO 639 code.

    Source: the `sentencex` library's rules by language, https://github.com/wikimedia/sentencex.
    """
    for paragraph in _paragraphs(iter(lines)):
        for sentence in sentencex.segment(language, paragraph):
            if sentence := sentence.strip():
                yield sentence


def _paragraphs(lines: Iterator[str]) -> Iterator[str]:
    """The paragraphs of running text, each in one line, white space folded."""
    probe: list[str] = []
    size = 0
    for line in lines:
        probe.append(line)
        size += len(line)
        if size >= _WRAP_PROBE:
            break
    width = _wrap_width(probe)

    paragraph: list[str] = []
    size = 0
    for line in itertools.chain(probe, lines):
        words = " ".join(line.split())
        ends = not words or width is None or _stops_short(paragraph, words, width)
        if paragraph and (ends or size >= MAX_PARAGRAPH):
            yield " ".join(paragraph)
            paragraph, size = [], 0
        if words:
            paragraph.append(words)
            size += len(words)
    if paragraph:
        yield " ".join(paragraph)


def _wrap_width(lines: Iterable[str]) -> int | None:
    """The width that text is hard-wrapped at; None for text that is not.

    Hard-wrapped means: 99 of 100 lines have at most 100 characters, and half of them at least three
    quarters of what the longest twentieth has, which is at least 40.
    """
    lengths = sorted(length for line in lines if (length := len(line.strip())))
    if not lengths:
        return None
    median, high, top = (lengths[int(len(lengths) * share)] for share in (0.5, 0.95, 0.99))
    wrapped = top <= _MAX_WIDTH and high >= _MIN_WIDTH and median >= 0.75 * high
    return high if wrapped else None


def _stops_short(paragraph: list[str], following: str, width: int) -> bool:
    """Whether the last line of `paragraph` ends it, in text hard-wrapped at `width`.

    It does if it is shorter than half a line, or ends a sentence and the first word of the
    following line would have fitted well.
    """
    if not paragraph:
        return False
    line = paragraph[-1]
    if len(line) < width / 2:
        return True
    room = 0.9 * width - len(line) - 1
    return room >= len(following.partition(" ")[0]) and bool(_SENTENCE_END.search(line))
