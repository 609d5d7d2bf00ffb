"""Running text to sentences.

The stops of Chinese are looked for here; elsewhere sentencex decides, which knows the abbreviations
of many languages, and a few of its answers are mended. The hand-made cases of
`tests/pipelines/test_sentences.py`, and 6 MB of novels on one core:

    splitter      English    Chinese    sentences/s    MB/s    sentences of over 100 words
    this module    49 / 50    14 / 16        190,000    21      0.4%
    sentencex      46 / 50    12 / 16        940,000   133      1.8%: quotations are not split
    pysbd          45 / 50     8 / 16          2,500     0.3    1.5%
    blingfire      44 / 50     8 / 16        190,000    21      0.4%
    syntok         41 / 50     1 / 16         14,000     1.5    0.4%
"""

import io
import re
from collections.abc import Iterable, Iterator

import sentencex

from tfpt.pipelines.decoding import pieces
from tfpt.pipelines.paragraphs import paragraphs

# A sentence of more characters than this is cut. The library is given no more at once: its time
# grows with the square of the length where there are characters past ASCII.
MAX_SENTENCE = 4_000

_CLOSING_QUOTES = "\"'\u201d\u2019\u201f\u201b\u00bb\u203a\u300d\u300f"
_QUOTES = _CLOSING_QUOTES + "\u201c\u2018\u201e\u201a\u00ab\u2039\u300c\u300e"
_QUOTE = re.compile(f"[{_QUOTES}]")
_WITHOUT_QUOTES = dict.fromkeys(map(ord, _QUOTES))
_CLOSING = _CLOSING_QUOTES + "\u300b\u3009\u3011)\\]\uff09\uff3d"

# A sentence of Chinese or Japanese, and what closes behind its stop.
_CHINESE_END = re.compile(
    rf"[\u3002\uff01\uff1f\uff61][.!?\u2026\u3002\uff01\uff1f\uff61]*([{_CLOSING}]*)"
)
# The stops of other scripts than these are known to sentencex alone.
_OTHER_STOP = re.compile(r"[.!?\u2026]")
_INNER_STOP = re.compile(rf"[.!?\u2026][{_CLOSING}]*\s+\S")
# A sentence in brackets, and what follows it.
_BRACKETED = re.compile(
    r"(\s*[(\[\uff08][^()\[\]\uff08\uff09]*[.!?\u2026\u3002\uff01\uff1f][)\]\uff09]\s*)"
    r"([^\s.,;:!?\u3002\uff0c\uff1b\uff1a\uff01\uff1f].*)",
    re.DOTALL,
)
_ENUMERATOR = re.compile(r"[(\[]?(\d{1,3}|[A-Za-z]|[ivxlc]{1,5}|[IVXLC]{1,5})[.)\]]+")
_LETTER = re.compile(r"\w")
_CLAUSE_ENDS = ("\uff0c", "\uff1b", "\u3001", "\uff1a")


def split_text(text: str, language: str = "en") -> list[str]:
    """Split running text into sentences; see `split_lines`."""
    return list(split_lines(pieces(io.StringIO(text, newline=None)), language))


def split_lines(lines: Iterable[str], language: str = "en") -> Iterator[str]:
    """Split running text, given line by line, into sentences.

    Paragraphs are found first (`tfpt.pipelines.paragraphs` says how), then split; no sentence spans
    two of them. White space within a sentence is folded into single spaces. Several sentences in
    one quotation are several; what stands in brackets stays with its sentence.

    Memory is bounded: a sentence that has no end within 4,000 characters is cut there, at white
    space, or else behind a Chinese comma, or else between any two characters.

    Args:
        lines: With their line ends. One without is gone on with by the next.
        language: ISO 639 code. Chinese is split in any language.
    """
    rest = ""
    for text, is_end in paragraphs(lines):
        rest += text
        start = 0
        while len(rest) - start > MAX_SENTENCE:
            window = rest[start : start + MAX_SENTENCE]
            # The last one may go on behind the window.
            whole = _segments(window, language)[:-1] or [window[: _cut(window)]]
            yield from filter(None, map(str.strip, whole))
            start += sum(map(len, whole))
        rest = rest[start:]
        if is_end:
            yield from filter(None, map(str.strip, _segments(rest, language)))
            rest = ""


def _cut(window: str) -> int:
    """Where to cut text that has no end."""
    return window.rfind(" ") + 1 or max(map(window.rfind, _CLAUSE_ENDS)) + 1 or len(window)


def _segments(text: str, language: str) -> list[str]:
    """The sentences of a text with the white space around them; joined, they are the text."""
    segments: list[str] = []
    for stretch, is_whole in _chinese_sentences(text):
        for segment in [stretch] if is_whole else _other_sentences(stretch, language):
            if segments and _belong_together(segments[-1], segment):
                segments[-1] += segment
            elif bracketed := _BRACKETED.fullmatch(segment):
                segments += bracketed.groups()
            else:
                segments.append(segment)
    return segments


def _chinese_sentences(text: str) -> Iterator[tuple[str, bool]]:
    """The text, cut behind Chinese stops; and whether it is known to be one sentence."""
    start = 0
    for match in _CHINESE_END.finditer(text):
        end = match.end()
        # A straight quotation mark closes what one before it opened; else it opens the next.
        mark = match[1].find('"')
        if mark >= 0 and text.count('"', start, match.start(1)) % 2 == 0:
            end = match.start(1) + mark
        stretch = text[start:end]
        yield stretch, not _OTHER_STOP.search(stretch)
        start = end
    if start < len(text):
        yield text[start:], False


def _other_sentences(text: str, language: str) -> Iterator[str]:
    """The sentences by sentencex, those with quotations split within them."""
    for sentence in sentencex.segment(language, text):
        if _INNER_STOP.search(sentence) and _QUOTE.search(sentence):
            yield from _split_quotation(sentence, language)
        else:
            yield sentence


def _split_quotation(sentence: str, language: str) -> Iterator[str]:
    """Split where sentencex would without quotation marks, except beside one."""
    marks = [match.start() for match in _QUOTE.finditer(sentence)]
    bare = sentence.translate(_WITHOUT_QUOTES)
    start = end = num_marks = 0
    for part in sentencex.segment(language, bare):
        end += len(part)
        while num_marks < len(marks) and marks[num_marks] <= end + num_marks:
            num_marks += 1
        place = end + num_marks  # of bare[end] in the sentence
        space = place - (len(part) - len(part.rstrip()))
        if sentence[space:place].isspace() and sentence[space - 1] not in _QUOTES:
            yield sentence[start:place]
            start = place
    yield sentence[start:]


def _belong_together(before: str, following: str) -> bool:
    """Whether two segments are one sentence after all."""
    before, following = before.strip(), following.strip()
    if not _LETTER.search(before) or not _LETTER.search(following):
        return True  # quotation marks, dots
    if _ENUMERATOR.fullmatch(before):
        return True  # "1." of a list
    # "Ah! my boy." An uncased text has no sentences that begin in upper case: it is left alone.
    is_exclamation = before.rstrip(_CLOSING).endswith(("!", "?", "\u2026"))
    return is_exclamation and following[0].islower() and not _first_letter(before).islower()


def _first_letter(text: str) -> str:
    return next(filter(str.isalpha, text), "")
