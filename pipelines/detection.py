"""The encoding of a text file, told by its bytes: the same bytes always give the same."""

import codecs
from collections.abc import Iterator

from tfpt.pipelines.streams import open_stream, whole_file

_CHUNK = 1 << 16
# A file is looked at until it has shown so many bytes past ASCII.
_EVIDENCE = 1 << 18
# Text of whose characters past ASCII at most this share is damaged is UTF-8. Text in another
# encoding, read as UTF-8, is damaged in most of them.
_DAMAGE_RATE = 0.2
# In UTF-16 without a mark, at least so many characters are white space or a common stop.
_STOP_RATE = 0.01
_STOPS = " \n.,\u3000\u3001\u3002\uff0c"

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Where Python has another name than the web for a table, or a narrower table of the name.
_PYTHON_NAMES = {
    "Big5": "big5hkscs",
    "EUC-KR": "cp949",
    "GBK": "gb18030",
    "ISO-8859-8-I": "iso8859-8",
    "Shift_JIS": "cp932",
    "windows-874": "cp874",
}
_PAST_ASCII = bytes(range(128, 256))


def detect_encoding(path: str) -> str:
    """The encoding of a text file.

    A byte order mark decides. Then UTF-8, if the text is UTF-8 but for single damaged places: they
    become errors when it is read, with their place. Then UTF-16, if there are NUL bytes and the
    first 65,536 bytes make sense in it. Then the guess of Firefox' detector, always one of the
    web's encodings. The file is looked at until it has shown 262,144 bytes past ASCII.

    Raises:
        ValueError: There are NUL bytes, but it is neither UTF-8 nor UTF-16.

    Source: chardetng, https://hsivonen.fi/chardetng/.
    """
    if encoding := marked_encoding(path):
        return encoding
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    num_characters = num_damaged = 0  # past ASCII, and those of them that are not UTF-8
    head, has_nul = b"", False
    for chunk in _chunks(path):
        head = head or chunk
        has_nul |= b"\0" in chunk
        text = utf8.decode(chunk)
        num_characters += len(text) - len(text.encode("ascii", "ignore"))
        num_damaged += text.count("\ufffd")
    if has_nul and (encoding := _utf16(head)):
        return encoding
    if num_damaged <= _DAMAGE_RATE * num_characters:
        return "utf-8"
    if has_nul:
        raise ValueError(
            f"{path} holds NUL bytes, but is neither UTF-8 nor UTF-16: it is a binary file, or "
            "damaged. Leave it out, or convert it."
        )
    return _guessed(path)


def marked_encoding(path: str) -> str | None:
    """The encoding that a file's byte order mark tells; None without one."""
    with open_stream(whole_file(path)) as file:
        head = file.peek(4)[:4]
    return next((name for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), None)


def _guessed(path: str) -> str:
    """What the detector takes a file for."""
    from chardetng_py.detector import EncodingDetector

    detector = EncodingDetector()
    for chunk in _chunks(path):
        detector.feed(chunk, last=False)
    name = detector.guess(tld=None, allow_utf8=False)
    return codecs.lookup(_PYTHON_NAMES.get(name, name)).name


def _chunks(path: str) -> Iterator[bytes]:
    """The bytes of a file that are looked at: the first ones, then those with others than ASCII."""
    num_past_ascii = 0
    with open_stream(whole_file(path)) as file:
        first = True
        while num_past_ascii < _EVIDENCE and (chunk := file.read(_CHUNK)):
            if first or not chunk.isascii() or b"\0" in chunk:
                num_past_ascii += len(chunk) - len(chunk.translate(None, _PAST_ASCII))
                yield chunk
            first = False


def _utf16(head: bytes) -> str | None:
    """The order of bytes in which the beginning of a file makes sense as UTF-16."""
    rates = {}
    for encoding in ("utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(head)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            rates[encoding] = sum(map(text.count, _STOPS)) / max(len(text), 1)
    best = max(rates, key=rates.__getitem__, default=None)
    return best if best and rates[best] >= _STOP_RATE else None
