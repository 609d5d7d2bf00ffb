"""Files of the `tokenizers` library: what can be followed is, the rest is refused by its name."""

import base64
import json

import pytest
import tokenizers
from hard_texts import reference_strings
from sentencepiece import sentencepiece_model_pb2
from tokenizers import normalizers, pre_tokenizers

from tfpt.pipelines import WordPiece, load_tokenizer, train_byte_pair, train_unigram
from tfpt.pipelines.special_tokens import SPECIAL_TOKENS

DOCUMENTS = [("The low tide is wider.", "A new tide."), ("The lowest river is new.",)] * 4
ENTRIES = [*SPECIAL_TOKENS, *"thelow", "##h", "##e", "the", "\u00e9", "##o", "##w"]
BYTE_PAIR = train_byte_pair(DOCUMENTS, 275)
UNIGRAM = train_unigram(DOCUMENTS, 24)


def wordpiece_json(**options):
    """As the library writes a tokenizer of BERT's kind."""
    ids = {entry: number for number, entry in enumerate(dict.fromkeys(ENTRIES))}
    library = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(**options)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.add_special_tokens(list(SPECIAL_TOKENS))
    return json.loads(library.to_str())


def byte_pair_json():
    return json.loads(json.dumps(BYTE_PAIR._content))


def unigram_json(model):
    """As converters write a SentencePiece model for the library."""
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    vocabulary = [(piece.piece, piece.score) for piece in proto.pieces]
    unknown = next(n for n, piece in enumerate(proto.pieces) if piece.type == 2)
    library = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, unk_id=unknown))
    steps = [normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)]
    steps.append(normalizers.Replace(tokenizers.Regex(" {2,}"), " "))
    library.normalizer = normalizers.Sequence(steps)
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    control = [piece.piece for piece in proto.pieces if piece.type in (2, 3)]
    library.add_special_tokens(control)
    return json.loads(library.to_str())


def load(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return load_tokenizer(path)


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [None, True, False])
def test_a_wordpiece_of_the_library_is_read(tmp_path, lowercase, strip_accents):
    content = wordpiece_json(lowercase=lowercase, strip_accents=strip_accents)
    tokenizer = load(tmp_path, content)
    entries = list(dict.fromkeys(ENTRIES))
    assert tokenizer == WordPiece(entries, lowercase=lowercase, strip_accents=strip_accents)
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("The low \u00e9 \u00c9 tide", "how"):
        assert tokenizer.tokenize([text]).to_list()[0] == library.encode(text).ids


def test_a_byte_pair_of_the_library_is_read(tmp_path):
    content = byte_pair_json()
    assert load(tmp_path, content) == BYTE_PAIR
    # As newer and as older versions write it.
    content["model"]["merges"] = [merge.split(" ") for merge in content["model"]["merges"]]
    del content["model"]["ignore_merges"], content["pre_tokenizer"]["use_regex"]
    assert load(tmp_path, content) == BYTE_PAIR
    del content["model"]["type"]
    assert load(tmp_path, content) == BYTE_PAIR


def test_special_tokens_past_the_vocabulary_are_read(tmp_path):
    content = byte_pair_json()
    token = {"id": BYTE_PAIR.vocabulary_size, "content": "<|user|>", "special": True}
    content["added_tokens"].append(token)
    tokenizer = load(tmp_path, content)
    assert tokenizer.vocabulary == (*BYTE_PAIR.vocabulary, "<|user|>")
    assert tokenizer.special_ids == (0, 1, 2, 3, 4, BYTE_PAIR.vocabulary_size)
    token["id"] += 1
    with pytest.raises(
        ValueError, match=r"tokenizer\.json gives '<\|user\|>' the id 276, where 275"
    ):
        load(tmp_path, content)


def test_a_unigram_becomes_the_model_it_was_converted_from(tmp_path, shared_data):
    foreign = load_tokenizer(shared_data("tok_fixtures") / "sentencepiece" / "test_model.model")
    texts, _ = reference_strings(shared_data, "bert-bge")
    for model in (UNIGRAM, foreign):
        tokenizer = load(tmp_path, unigram_json(model.model))
        assert tokenizer.vocabulary == model.vocabulary
        assert tokenizer.special_ids == model.special_ids
        assert tokenizer.encode(texts) == model.encode(texts)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("normalizer.handle_chinese_chars", False, "normalizer.handle_chinese_chars is false, not"),
        ("normalizer", {"type": "NFKC"}, 'normalizer.type is "NFKC", not "BertNormalizer"'),
        ("pre_tokenizer", {"type": "Whitespace"}, 'pre_tokenizer.type is "Whitespace"'),
        ("pre_tokenizer", None, "pre_tokenizer.type is null"),
        ("model.unk_token", "<unk>", r'model.unk_token is "<unk>", not "\[UNK\]"'),
        ("model.max_input_chars_per_word", 50, "model.max_input_chars_per_word is 50, not 100"),
        ("added_tokens", [{"id": 5, "content": "t", "special": False}], r"not special is \[.t.\]"),
        ("model.vocab", {"a": 1}, "gives 'a' the id 1, where 0"),
        ("model.vocab", {"a": 0}, r"tokenizer\.json: the vocabulary lacks the special tokens"),
        ("model", {"type": "WordPiece"}, r"tokenizer\.json cuts texts in a way"),
    ],
)
def test_a_wordpiece_that_cuts_otherwise_is_refused(tmp_path, field, value, message):
    content = wordpiece_json()
    content["added_tokens"] = []
    with pytest.raises(ValueError, match=message):
        load(tmp_path, changed(content, field, value))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("normalizer", {"type": "NFC"}, r'normalizer is .*"NFC".*, not null'),
        ("pre_tokenizer.add_prefix_space", True, "pre_tokenizer.add_prefix_space is true"),
        ("pre_tokenizer.use_regex", False, "pre_tokenizer.use_regex is false"),
        ("pre_tokenizer", {"type": "Sequence"}, 'pre_tokenizer.type is "Sequence"'),
        ("model.end_of_word_suffix", "</w>", 'model.end_of_word_suffix is "</w>", not null'),
        ("model.ignore_merges", True, "model.ignore_merges is true, not false"),
        ("model.dropout", 0.1, "model.dropout is 0.1"),
        ("model.merges", ["x yz"], r"tokenizer\.json: Merge 0 is of 'x' and 'yz'"),
        ("model.merges", None, r"tokenizer\.json is damaged"),
    ],
)
def test_a_byte_pair_that_cuts_otherwise_is_refused(tmp_path, field, value, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, changed(byte_pair_json(), field, value))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "normalizer",
            {"type": "NFKC"},
            r'Replace and Strip\) is \["NFKC"\], not \["Precompiled"\]',
        ),
        ("normalizer", None, r"Replace and Strip\) is \[\], not"),
        ("pre_tokenizer", {"type": "ByteLevel"}, r'WhitespaceSplit\) is \["ByteLevel"\]'),
        ("pre_tokenizer.prepend_scheme", "never", 'pre_tokenizer.prepend_scheme is "never"'),
        ("pre_tokenizer.replacement", "_", 'pre_tokenizer.replacement is "_"'),
        ("model.unk_id", None, r"tokenizer\.json: These .* are no SentencePiece model"),
    ],
)
def test_a_unigram_that_no_model_was_converted_to_is_refused(tmp_path, field, value, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, changed(unigram_json(UNIGRAM.model), field, value))


def test_a_replacement_of_something_else_is_refused(tmp_path):
    content = unigram_json(UNIGRAM.model)
    content["normalizer"]["normalizers"][1]["pattern"] = {"String": "``"}
    with pytest.raises(ValueError, match=r"normalizer.pattern is .*``"):
        load(tmp_path, content)
    assert base64.b64decode(content["normalizer"]["normalizers"][0]["precompiled_charsmap"])


def changed(content, field, value):
    """The content with another value of a field, named with a point."""
    *parts, last = field.split(".")
    place = content
    for part in parts:
        place = place[part]
    place[last] = value
    return content
