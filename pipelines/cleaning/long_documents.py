"""Documents too long to be read again once they are written, in parts."""

import json
from collections.abc import Iterator

from tfpt.pipelines import records
from tfpt.pipelines.cleaning.unicode import normalize_document

Document = tuple[str, ...]

# One character becomes at most so many: 18 by NFKC, 6 where JSON writes it by its number.
# https://unicode.org/faq/normalization.html#12
_MOST_GROWTH = 18
_AROUND_SENTENCE = len('"", ')


def document_parts(document: Document, unicode: str) -> Iterator[Document]:
    """The document, or parts of one whose line of JSON would have more than 16 million characters.

    That is half of what a record may have, which leaves room for masks that are longer than what
    they stand for. Parts end between sentences; only a sentence that is too long by itself is cut,
    at white space where there is some.

    Args:
        document: Sentences.
        unicode: As of `Cleaning`; counts where the text grows by it.
    """
    longest = records.MAX_RECORD // 2
    num_characters = sum(map(len, document))
    if _MOST_GROWTH * num_characters + _AROUND_SENTENCE * len(document) <= longest - 20:
        yield document
        return
    longest -= len('{"text": []}\n')
    sizes = [_written_size(sentence, unicode) for sentence in document]
    if sum(sizes) <= longest:
        yield document
        return
    # Of about the same length: else the last would often be a few sentences.
    wanted = sum(sizes) / -(-sum(sizes) // longest)
    part: list[str] = []
    size = 0
    for sentence, written in _cut(document, sizes, longest, unicode):
        if part and (size >= wanted or size + written > longest):
            yield tuple(part)
            part, size = [], 0
        part.append(sentence)
        size += written
    if part:
        yield tuple(part)


def _written_size(sentence: str, unicode: str) -> int:
    """Characters of a sentence in a line of JSON, before or after normalization, if more."""
    size = len(json.dumps(sentence, ensure_ascii=False))
    if unicode:
        for normal in normalize_document((sentence,), unicode):
            size = max(size, len(json.dumps(normal, ensure_ascii=False)))
    return size + len(", ")


def _cut(
    document: Document, sizes: list[int], longest: int, unicode: str
) -> Iterator[tuple[str, int]]:
    """Sentences with their sizes; those that are too long in pieces that are not."""
    most = max(1, (longest - _AROUND_SENTENCE) // _MOST_GROWTH)
    for sentence, size in zip(document, sizes, strict=True):
        if size <= longest:
            yield sentence, size
            continue
        while sentence:
            end = most if len(sentence) > most else len(sentence)
            if end < len(sentence):
                end = sentence.rfind(" ", 0, end) + 1 or end
            if piece := sentence[:end].strip():
                yield piece, _written_size(piece, unicode)
            sentence = sentence[end:]
