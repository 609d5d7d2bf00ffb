"""SentencePiece models: op, library and files."""

import subprocess
import sys

import hypothesis
import pytest
import sentencepiece
import tensorflow as tf
from hard_texts import CORPORA, UNICODE, every_line, in_graph, reference_strings
from hypothesis import strategies
from sentencepiece import sentencepiece_model_pb2

from tfpt.pipelines import SentencePiece, load_tokenizer, train_unigram

DOCUMENTS = [
    ("The low lower lowest wide wider widest newer newest 0 00 000.", "A new tide is wider."),
    ("Newest tides widen the lowest rivers, 100 or 1000.", "The river is low, the tide is new!"),
] * 5
SMALL = train_unigram(DOCUMENTS, 40)


def library_ids(tokenizer, texts):
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    return [processor.encode(text, out_type=int) for text in texts]


def tokens(tokenizer, text):
    return tokenizer.ids_to_tokens(tokenizer.tokenize([text]))[0]


@pytest.fixture(scope="module", params=["test_model", "test_ja_model"])
def foreign(shared_data, request):
    return load_tokenizer(shared_data("tok_fixtures") / "sentencepiece" / f"{request.param}.model")


def test_ids_are_int32_and_ragged():
    ids = SMALL.tokenize(tf.constant(["the tide", "", " \t", "x"]))
    assert isinstance(ids, tf.RaggedTensor)
    assert ids.dtype == tf.int32
    assert ids.row_lengths().numpy().tolist()[1:3] == [0, 0]
    assert SMALL.tokenize(tf.constant([], tf.string)).to_list() == []


def test_what_no_piece_stands_for_is_one_unknown():
    assert tokens(SMALL, "\u6211\u60f3") == ["\u2581", "[UNK]"]


def test_special_tokens_in_a_text_are_ordinary_words():
    ids = SMALL.tokenize(["[MASK] [PAD][SEP]"]).flat_values.numpy()
    assert not {SMALL.mask_id, SMALL.pad_id, SMALL.sep_id, SMALL.cls_id} & set(ids)


def test_tokenize_works_in_a_dataset_and_afterwards_outside():
    tokenizer = SentencePiece(SMALL.model)
    dataset = tf.data.Dataset.from_tensor_slices(["the tide", "a"]).batch(2)
    found = next(iter(dataset.map(tokenizer.tokenize))).to_list()
    assert found == tokenizer.tokenize(["the tide", "a"]).to_list()
    _, starts, _ = next(iter(dataset.map(tokenizer.tokenize_with_offsets)))
    assert starts.to_list()[0][0] == 0


def test_a_new_seed_does_not_take_the_model_away():
    tokenizer = SentencePiece(SMALL.model)
    expected = tokenizer.tokenize(["the tide"]).to_list()
    cut = tf.function(lambda texts: tokenizer.tokenize(texts).to_tensor(), autograph=False)
    cut(tf.constant(["a"]))
    dataset = tf.data.Dataset.from_tensor_slices(["the tide"]).batch(1).map(tokenizer.tokenize)
    tf.random.set_seed(1)
    assert tokenizer.tokenize(["the tide"]).to_list() == expected
    assert cut(tf.constant(["the tide"])).numpy().tolist() == expected
    assert next(iter(dataset)).to_list() == expected


def test_one_text_instead_of_a_batch_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"batch of texts.*shape \(\).*\[text\]"):
        SMALL.tokenize(tf.constant("ab"))


# ---- Op and library


def test_op_and_library_agree_on_a_trained_model(shared_data):
    texts, _ = reference_strings(shared_data, "bert-bge")
    texts += ["000 0000 00100 1000000", "lowlowlow newnew widerider"]
    assert SMALL.tokenize(texts).to_list() == library_ids(SMALL, texts)
    assert in_graph(SMALL, texts) == SMALL._encode_by_library(texts)
    assert SMALL.encode(texts) == in_graph(SMALL, texts)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    strategies.lists(
        UNICODE
        | strategies.text(strategies.sampled_from("thelowrid01 .\u00bd\u3000"), max_size=30),
        min_size=1,
        max_size=8,
    )
)
def test_op_and_library_agree_on_any_text(texts):
    assert in_graph(SMALL, texts) == SMALL._encode_by_library(texts)


def test_a_tie_in_a_foreign_model_is_decided_by_the_op_alone(shared_data):
    """Of "00" "0" and "0" "00", equally probable, rounding errors choose; see the class.

    The library has the op's rounding errors in version 0.2.1 and others in 0.2.3.
    """
    path = shared_data("tok_fixtures") / "sentencepiece" / "test_ja_model.model"
    tokenizer = load_tokenizer(path)
    (lines,) = every_line(shared_data, "wikitext")
    lines = [line for line in lines if "000" in line]
    found, by_library = tokenizer.tokenize(lines).to_list(), library_ids(tokenizer, lines)
    differing = [(a, b) for a, b in zip(found, by_library, strict=True) if a != b]
    assert len(differing) < len(lines) / 10
    assert all(sorted(a) == sorted(b) for a, b in differing)
    assert [encoding.ids for encoding in tokenizer.encode(lines)] == found


@pytest.mark.slow
@pytest.mark.parametrize("corpus", CORPORA)
def test_op_and_library_agree_on_every_line(shared_data, corpus):
    documents = list(every_line(shared_data, corpus))
    tokenizer = train_unigram(documents, 9_000, max_megabytes=4)
    for lines in documents:
        assert in_graph(tokenizer, lines) == tokenizer._encode_by_library(lines)


def test_a_foreign_model_is_cut_as_sentencepiece_cuts_it(foreign, shared_data):
    texts, _ = reference_strings(shared_data, "bert-bge")
    assert foreign.tokenize(texts).to_list() == library_ids(foreign, texts)


# ---- Spans


def test_spans_leave_white_space_out_and_cover_what_a_character_became():
    text = "  the  \u2152 tides"  # one tenth becomes "1\u204410"
    ids, starts, ends = SMALL.tokenize_with_offsets([text], unit="character")
    rows = zip(SMALL.ids_to_tokens(ids)[0], starts.to_list()[0], ends.to_list()[0], strict=True)
    found = [(token, text[a:b]) for token, a, b in rows]
    assert "".join(part for _, part in found[:3]).startswith("the")
    assert [found.count((token, "\u2152")) for token in ("1", "[UNK]", "0")] == [2, 1, 1]
    assert not any(part != part.lstrip() and part.strip() for _, part in found)
    assert "".join(part for token, part in found[-3:]).endswith("tides")


def test_the_text_of_a_span_normalizes_to_its_token(shared_data):
    processor = sentencepiece.SentencePieceProcessor(model_proto=SMALL.model)
    for text in reference_strings(shared_data, "bert-bge")[0]:
        (encoding,) = SMALL.encode([text])
        for number, start, end in zip(*encoding, strict=True):
            token = SMALL.vocabulary[number].removeprefix("\u2581")
            if number != SMALL.unknown_id:
                assert token in processor.normalize(text[start:end]), (text, token)


# ---- Entries


def test_special_tokens_have_the_roles_of_their_names(foreign):
    assert SMALL.special_ids == (0, 1, 2, 3, 4)
    assert (SMALL.pad_id, SMALL.unknown_id, SMALL.cls_id, SMALL.sep_id, SMALL.mask_id) == (
        *(0, 1, 2, 3, 4),
    )
    assert foreign.roles == {"unknown": 0, "cls": 1, "sep": 2}
    with pytest.raises(ValueError, match="entries has no pad token"):
        _ = foreign.pad_id


def test_missing_special_tokens_are_appended(foreign):
    whole = foreign.with_special_tokens()
    assert whole.vocabulary == (*foreign.vocabulary, "[PAD]", "[MASK]")
    assert whole.special_ids == (len(foreign.vocabulary), 0, 1, 2, len(foreign.vocabulary) + 1)
    texts = ["Hello [PAD] world", "\u65e5\u672c\u8a9e"]
    assert whole.tokenize(texts).to_list() == foreign.tokenize(texts).to_list()
    assert whole.with_special_tokens() == whole


def test_tokens_are_joined_to_texts():
    texts = ["the wider tide", "", "low, low!"]
    ids = SMALL.tokenize(texts)
    assert SMALL.detokenize(ids).numpy().tolist() == [text.encode() for text in texts]
    row = [SMALL.cls_id, *ids.to_list()[0], SMALL.sep_id]
    assert SMALL.detokenize([row, []]).numpy().tolist() == [b"the wider tide", b""]


def test_entries_that_begin_a_word_begin_with_the_mark():
    starts = dict(zip(SMALL.vocabulary, SMALL.word_starts.tolist(), strict=True))
    assert all(begins == (entry[0] in "\u2581[") for entry, begins in starts.items())


def test_bytes_stand_for_characters_where_the_model_falls_back_to_them():
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(SMALL.model)
    for byte in range(256):
        proto.pieces.add(piece=f"<0x{byte:02X}>", score=-20, type=6)
    proto.trainer_spec.byte_fallback = True
    tokenizer = SentencePiece(proto.SerializeToString())
    text = "the \u6211 tide"
    assert tokens(tokenizer, text).count("[UNK]") == 0
    assert tokenizer.detokenize(tokenizer.tokenize([text])).numpy().tolist() == [text.encode()]
    assert in_graph(tokenizer, [text]) == tokenizer._encode_by_library([text])


# ---- Files


@pytest.mark.parametrize("name", ["folder", "my.model"])
def test_a_saved_model_comes_back_byte_for_byte(tmp_path, name):
    path = SMALL.save(tmp_path / name)
    assert path.read_bytes() == SMALL.model
    for source in (path, tmp_path / name):
        assert load_tokenizer(source) == SMALL


def test_a_broken_or_missing_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No vocabulary at .*a\.model"):
        load_tokenizer(tmp_path / "a.model")
    for content in (b"", b"no model", SMALL.model[: len(SMALL.model) // 2]):
        (tmp_path / "a.model").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.model: These [\d,]+ bytes are no SentencePiece"):
            load_tokenizer(tmp_path / "a.model")


def test_building_and_saving_import_no_tensorflow(tmp_path):
    SMALL.save(tmp_path)
    code = (
        "import sys; from tfpt.pipelines import load_tokenizer; t = load_tokenizer(sys.argv[1]);"
        "t.save(sys.argv[1]); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
