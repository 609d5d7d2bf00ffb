"""Running text to paragraphs: blank lines, line breaks and hard-wrapped lines."""

import itertools
import re
from collections.abc import Iterable, Iterator

# A paragraph of more characters than this comes in pieces.
_MAX_PIECE = 1 << 16
# How much of a text, in characters, is looked at to see whether it is hard-wrapped, and between
# which widths, in columns, that can be.
_WRAP_PROBE = 1 << 18
_MIN_WIDTH, _MAX_WIDTH = 40, 100
# The end of a sentence, also in Chinese and Japanese, and what may close behind it.
_SENTENCE_END = re.compile(
    "[.!?:\u2026\u3002\uff01\uff1f\uff1a][\"'\u201d\u2019\u00bb\u300d\u300f)\\]\uff09]*$"
)
# Characters of two columns, between which no space is written.
_WIDE = re.compile("[\u2e80-\ua4cf\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\U00020000-\U0003ffff]")


def paragraphs(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """The paragraphs of running text, each in one line, white space folded into single spaces.

    A blank line ends a paragraph. Any other line break does too, unless the text is hard-wrapped,
    that is, its lines are of about one length, 40 to 100 columns; there a line that stops short
    does. Between Chinese or Japanese characters, a line break leaves no space.

    Args:
        lines: With their line ends. One without is gone on with by the next.

    Yields:
        Text, and whether the paragraph ends with it: one of more than 65,536 characters comes in
        pieces, which follow upon each other without a space of their own.
    """
    probe, rest = _probe(iter(lines))
    width = _wrap_width(probe)
    gathered = _Paragraph()
    last = ""  # the line before
    in_line = False
    for line in itertools.chain(probe, rest):
        words = " ".join(line.split())
        if not in_line:
            if not words or width is None or _stops_short(last, words, width):
                if gathered.begun:
                    yield gathered.take(), True
                gathered = _Paragraph()
            gathered.break_line(words)
        gathered.add(words, line)
        last = words
        in_line = not line.endswith("\n")
        if gathered.size >= _MAX_PIECE:
            yield gathered.take(), False
    if gathered.begun:
        yield gathered.take(), True


class _Paragraph:
    """The words of a paragraph, gathered."""

    def __init__(self) -> None:
        self.begun = False
        self.size = 0  # characters
        self._parts: list[str] = []
        self._last = ""  # the character before
        self._space = False  # whether white space follows it

    def break_line(self, following: str) -> None:
        """Begin a new line with the words `following`."""
        self._space = not (_WIDE.match(self._last) and _WIDE.match(following))

    def add(self, words: str, raw: str) -> None:
        """Add the words of `raw`, which is a line or a piece of one."""
        if not words:
            self._space |= bool(raw)
            return
        if self.begun and (self._space or raw[0].isspace()):
            self._parts.append(" ")
        self._parts.append(words)
        self.size += len(words)
        self.begun = True
        self._last = words[-1]
        self._space = raw[-1] != "\n" and raw[-1].isspace()

    def take(self) -> str:
        """What was gathered since the last time."""
        text = "".join(self._parts)
        self._parts.clear()
        self.size = 0
        return text


def _probe(lines: Iterator[str]) -> tuple[list[str], Iterator[str]]:
    """The lines at the beginning, and those that follow."""
    probe: list[str] = []
    size = 0
    for line in lines:
        probe.append(line)
        size += len(line)
        if size >= _WRAP_PROBE:
            break
    return probe, lines


def _columns(text: str) -> int:
    """The width of a text; a Chinese character takes two columns."""
    return len(text) if text.isascii() else 2 * len(text) - len(_WIDE.sub("", text))


def _wrap_width(lines: Iterable[str]) -> int | None:
    """The width that text is hard-wrapped at; None for text that is not.

    Hard-wrapped means: 99 of 100 lines have at most 100 columns, and half of them at least three
    quarters of what the longest twentieth has, which is at least 40.
    """
    widths = sorted(width for line in lines if (width := _columns(line.strip())))
    if not widths:
        return None
    median, high, top = (widths[int(len(widths) * share)] for share in (0.5, 0.95, 0.99))
    wrapped = top <= _MAX_WIDTH and high >= _MIN_WIDTH and median >= 0.75 * high
    return high if wrapped else None


def _stops_short(line: str, following: str, width: int) -> bool:
    """Whether `line` ends a paragraph, in text hard-wrapped at `width`.

    It does if it is shorter than half a line, or ends a sentence and the first word of the
    following line would have fitted well.
    """
    if not line:
        return False
    columns = _columns(line)
    if columns < width / 2:
        return True
    # Chinese breaks between any two characters.
    word = following[:1] if _WIDE.match(following) else following.partition(" ")[0]
    room = 0.9 * width - columns - 1
    return room >= _columns(word) and bool(_SENTENCE_END.search(line))
