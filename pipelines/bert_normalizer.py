"""BERT's normalization as a table from code point to text, for tensorflow-text's normalizer op.

The op replaces each code point by what a table says. The table it builds itself folds more than
BERT does (Unicode NFKC_Casefold); the one built here is read off the `tokenizers` library, which
follows BERT, so a text is cut alike inside and outside of the graph:

- What BERT removes, lowercases or strips of accents is mapped so, white space to a blank.
- Punctuation past ASCII gets blanks around it: it is cut off whatever Unicode version the op has.
- What only newer Unicode versions call punctuation, and so the WordPiece op would cut off, is
  replaced by a letter of the private use area, which BERT removes from texts: see `STAND_INS`.

The table is a double array over UTF-8: a unit of 32 bits says where the children of a node are
(in bits 10 to 30, by exclusive or with its own place), which byte leads to it (bits 0 to 7), and
whether a value is below it (bit 8). Values have bit 31 set.

Source: Devlin et al. 2019, https://arxiv.org/abs/1810.04805; the format is the one of
`FastBertNormalizerModel` in tensorflow-text.
"""

import functools
import unicodedata
from typing import Any, NamedTuple

import numpy as np

NUM_CODE_POINTS = 0x110000
# Where characters are, surrogates left out; the planes between hold none.
_RANGES = ((0, 0xD800), (0xE000, 0x40000), (0xE0000, NUM_CODE_POINTS))
_SEPARATOR = ord("|")  # normalized to itself, and no mark before or after it moves past it

_IS_VALUE = 1 << 31
_HAS_VALUE = 1 << 8
_IS_CHANGED = 1 << 30  # of a value: what follows is where the replacement stands
_BLOCK = 64  # a byte that continues a character has 64 values


class Normalization(NamedTuple):
    """How texts become what the WordPiece op cuts."""

    model: bytes  # for FastBertNormalizer(model_buffer=...)
    stand_ins: dict[int, int]  # to be applied to the entries of the vocabulary, both ways


def reference(lowercase: bool, strip_accents: bool) -> Any:
    """BERT's normalizer as the `tokenizers` library has it."""
    import tokenizers

    return tokenizers.normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )


@functools.cache
def normalization(lowercase: bool, strip_accents: bool) -> Normalization:
    """The normalization of BERT, uncased or cased. Takes half a second, once a process."""
    mapping = _mapping(lowercase, strip_accents)
    # Never in a normalized text: BERT removes them.
    free = (code for code in range(0xE000, 0xF900) if mapping.get(code) == "")
    stand_ins = {}
    for code in _cut_by_the_op_only(mapping):
        stand_ins[code] = next(free)
        mapping[code] = chr(stand_ins[code])
    both_ways = stand_ins | {there: code for code, there in stand_ins.items()}
    return Normalization(_model(mapping), both_ways)


def _mapping(lowercase: bool, strip_accents: bool) -> dict[int, str]:
    """The code points that change, and what they become."""
    import tokenizers

    normalizer = reference(lowercase, strip_accents)
    codes = [c for first, end in _RANGES for c in range(first, end) if c != _SEPARATOR]
    separator = chr(_SEPARATOR)
    replaced = normalizer.normalize_str(separator.join(map(chr, codes))).split(separator)
    # The blanks around Chinese characters are left out: the op cuts there by itself.
    mapping = {
        code: text
        for code, text in zip(codes, replaced, strict=True)
        if text != chr(code) and text != f" {chr(code)} "
    }
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    for code in codes:
        # Letters and numbers are punctuation in no version of Unicode; other kinds may be, in the
        # version of the library, whatever they are in the one of Python.
        if 127 < code < 0x20000 and unicodedata.category(chr(code))[0] in "PSMC":
            text = mapping.get(code, chr(code))
            if len(splitter.pre_tokenize_str(f"a{text}a")) == 3:
                mapping[code] = f" {text.strip()} "
    return mapping


def _cut_by_the_op_only(mapping: dict[int, str]) -> list[int]:
    """Code points that the WordPiece op takes for words of their own and the reference does not."""
    import tensorflow as tf
    import tensorflow_text
    import tokenizers

    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    normalizer = reference(lowercase=False, strip_accents=False)
    codes = [c for first, end in _RANGES for c in range(first, end) if c > 127 and c not in mapping]
    with tf.init_scope():
        op = tensorflow_text.FastWordpieceTokenizer(["[UNK]", "a"], token_out_type=tf.int32)
        lengths = op.tokenize([f"a{chr(code)}a" for code in codes]).row_lengths().numpy()
    suspects = [code for code, length in zip(codes, lengths, strict=True) if length == 3]
    return [
        code
        for code in suspects
        if len(splitter.pre_tokenize_str(normalizer.normalize_str(f"a{chr(code)}a"))) == 1
    ]


def _model(mapping: dict[int, str]) -> bytes:
    """The table as the flat buffer that the op takes."""
    import flatbuffers

    pool, values = _values(mapping)
    zero = int(values[0])
    values[0] = 0  # the op looks it up elsewhere
    builder = flatbuffers.Builder(0)
    units = builder.CreateNumpyVector(_double_array(values))
    strings = builder.CreateNumpyVector(np.frombuffer(pool, np.uint8))
    builder.StartObject(4)
    builder.PrependBoolSlot(0, True, False)
    builder.PrependUOffsetTRelativeSlot(1, units, 0)
    builder.PrependInt32Slot(2, zero, 0)
    builder.PrependUOffsetTRelativeSlot(3, strings, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def _values(mapping: dict[int, str]) -> tuple[bytes, np.ndarray]:
    """The replacements one after the other, and for each code point where its own stands.

    uint32 (NUM_CODE_POINTS,): 0 where nothing changes.
    """
    pool = bytearray()
    places: dict[str, int] = {}
    values = np.zeros(NUM_CODE_POINTS, np.uint32)
    for code, text in mapping.items():
        if text not in places:
            replacement = text.encode("utf-8")
            places[text] = _IS_CHANGED | len(pool) << 6 | len(replacement)
            pool += replacement
        values[code] = places[text]
    return bytes(pool), values


def _double_array(values: np.ndarray) -> np.ndarray:
    """The units of the table, uint32 (units,).

    Blocks that are alike are one block: most of Unicode needs a few. The first 256 places hold the
    root, the next 256 its children, by byte; then the values, then blocks of 64.
    """
    found = np.unique(values)
    first_block = -(-(512 + len(found)) // 256) * 256
    units = np.full(first_block, _IS_VALUE, np.uint32)
    units[512 : 512 + len(found)] = found | _IS_VALUE
    blocks: list[np.ndarray] = []

    def node(places, targets, labels):
        """Units whose value or child block is at `targets`."""
        return ((places ^ targets) << 10 | labels).astype(np.uint32)

    def add(labels, targets, present, extra) -> np.ndarray:
        """Add a block for each row of 64 and give where they are; 0 for an empty one."""
        rows = np.where(present, targets, 0)
        kinds, which = np.unique(rows, axis=0, return_inverse=True)
        starts = np.zeros(len(kinds), np.int64)
        for number, row in enumerate(kinds):
            if row.any():
                start = first_block + _BLOCK * len(blocks)
                # A child is found by exclusive or with its byte, which begins at 128.
                starts[number] = start ^ 0x80
                places = start + np.arange(_BLOCK)
                block = node(places, row, labels | extra)
                blocks.append(np.where(row > 0, block, _IS_VALUE).astype(np.uint32))
        return starts[which.reshape(-1)]

    continuing = np.arange(_BLOCK) | 0x80
    places_of_values = 512 + np.searchsorted(found, values)
    # By the last byte: one row for each sequence of bytes before it.
    last = add(
        continuing,
        places_of_values.reshape(-1, _BLOCK),
        (values > 0).reshape(-1, _BLOCK),
        _HAS_VALUE,
    )
    middle = add(continuing, last.reshape(-1, _BLOCK), last.reshape(-1, _BLOCK) > 0, 0)
    padded = np.zeros(-(-len(middle) // _BLOCK) * _BLOCK, np.int64)
    padded[: len(middle)] = middle
    high = add(continuing, padded.reshape(-1, _BLOCK), padded.reshape(-1, _BLOCK) > 0, 0)

    children = np.zeros(256, np.int64)
    children[:128] = np.where(values[:128] > 0, places_of_values[:128], 0)
    children[0xC2:0xE0] = last[2:32]  # two bytes: code points from 0x80, 64 to a lead
    children[0xE0:0xF0] = middle[:16]
    children[0xF0:0xF5] = high[:5]
    bytes_ = np.arange(256)
    leading = node(256 + bytes_, children, bytes_ | np.where(bytes_ < 128, _HAS_VALUE, 0))
    units[256:512] = np.where(children > 0, leading, _IS_VALUE)
    units[0] = 256 << 10
    return np.concatenate([units, *blocks]).astype(np.uint32)
