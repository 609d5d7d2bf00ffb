"""The table of the normalizer op says what BERT does, for every code point."""

import pytest
import tensorflow as tf
import tensorflow_text
import tokenizers

from tfpt.pipelines import bert_normalizer

CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


@pytest.mark.parametrize("options", [(True, True), (False, False), (True, False)])
def test_every_code_point_becomes_what_the_reference_makes_of_it(options):
    table = bert_normalizer.normalization(*options)
    op = tensorflow_text.FastBertNormalizer(model_buffer=table.model)
    found = op.normalize(tf.constant([chr(code) for code in CODES])).numpy()
    normalizer = bert_normalizer.reference(*options)
    separated = normalizer.normalize_str("|".join(chr(code) for code in CODES if code != 0x7C))
    expected = separated.split("|")
    expected.insert(0x7C, "|")
    back = {there: code for code, there in table.stand_ins.items() if 0xE000 <= there < 0xF900}
    strange = [
        hex(code)
        for code, one, other in zip(CODES, found, expected, strict=True)
        # Blanks around what is a word of its own anyhow make no difference.
        if one.decode().translate(back).strip(" ") != other.strip(" ") or bool(one) != bool(other)
    ]
    assert strange == []


def test_punctuation_past_ascii_is_set_apart_as_the_reference_cuts_it_off():
    table = bert_normalizer.normalization(True, True)
    op = tensorflow_text.FastBertNormalizer(model_buffer=table.model)
    cutter = tensorflow_text.FastWordpieceTokenizer(["[UNK]", "b"], token_out_type=tf.int32)
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    normalizer = bert_normalizer.reference(True, True)
    codes = [*range(0x3400), *range(0xA000, 0xAC00), *range(0xE000, 0x20000), 0x4E00, 0x2B820]
    texts = [f"b{chr(code)}b" for code in codes]
    words = cutter.tokenize(op.normalize(tf.constant(texts))).row_lengths().numpy().tolist()
    expected = [len(splitter.pre_tokenize_str(normalizer.normalize_str(text))) for text in texts]
    assert [hex(code) for code, a, b in zip(codes, words, expected, strict=True) if a != b] == []


def test_stand_ins_go_both_ways():
    stand_ins = bert_normalizer.normalization(True, True).stand_ins
    assert all(stand_ins[there] == code for code, there in stand_ins.items())
    assert 0x2E43 in stand_ins
    assert len(stand_ins) < 2_000


def test_the_table_is_small():
    # It is a constant in each exported model.
    assert len(bert_normalizer.normalization(True, True).model) < 400_000
    assert len(bert_normalizer.normalization(False, False).model) < 100_000
