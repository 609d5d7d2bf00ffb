"""What `load_tokenizer` recognizes, and what all kinds of tokenizers have in common."""

import inspect
import json

import pytest
import tensorflow as tf

from tfpt.pipelines import (
    BytePair,
    SentencePiece,
    TextTokenizer,
    Tokenizer,
    WordPiece,
    load_tokenizer,
    mlm_nsp,
    train_byte_pair,
    train_unigram,
    train_wordpiece,
    write_store,
)
from tfpt.pipelines.store import open_store

DOCUMENTS = [("The low tide is wider.", "A new tide."), ("The lowest river is new.",)] * 4
TOKENIZERS = {
    "wordpiece": train_wordpiece(DOCUMENTS, 45),
    "byte pair": train_byte_pair(DOCUMENTS, 275),
    "sentencepiece": train_unigram(DOCUMENTS, 24),
}
KINDS = pytest.mark.parametrize("kind", TOKENIZERS)
NAMES = {
    "wordpiece": "vocab.txt",
    "byte pair": "tokenizer.json",
    "sentencepiece": "tokenizer.model",
}


def test_tokenizer_is_a_name_of_wordpiece():
    assert Tokenizer is WordPiece
    assert [type(one) for one in TOKENIZERS.values()] == [WordPiece, BytePair, SentencePiece]


@KINDS
def test_every_kind_has_what_the_protocol_says(kind):
    tokenizer = TOKENIZERS[kind]
    names = [name for name in vars(TextTokenizer) if not name.startswith("_")]
    assert len(names) > 15
    for name in names:
        promised, there = vars(TextTokenizer)[name], getattr(tokenizer, name)
        assert callable(there) == inspect.isfunction(promised), name
        if callable(there):
            parameters = list(inspect.signature(promised).parameters.values())[1:]
            own = list(inspect.signature(there).parameters.values())
            assert [(p.name, p.kind, p.default) for p in own] == [
                (p.name, p.kind, p.default) for p in parameters
            ]
    assert tokenizer.kind == kind
    assert tokenizer.word_starts.shape == (tokenizer.vocabulary_size,)


@KINDS
@pytest.mark.parametrize("as_file", [True, False])
def test_every_kind_is_recognized_by_what_lies_there(kind, as_file, tmp_path):
    path = TOKENIZERS[kind].save(tmp_path / "saved")
    assert path.name == NAMES[kind]
    loaded = load_tokenizer(path if as_file else tmp_path / "saved")
    assert loaded == TOKENIZERS[kind]
    assert hash(loaded) == hash(TOKENIZERS[kind])


@KINDS
def test_every_kind_is_kept_inside_a_store(kind, tmp_path):
    tokenizer = TOKENIZERS[kind]
    store = write_store(DOCUMENTS, tokenizer, tmp_path / "store")
    assert load_tokenizer(store.path) == tokenizer
    assert open_store(store.path, tokenizer).num_documents == 8
    first = tokenizer.tokenize([DOCUMENTS[0][0]]).to_list()[0]
    assert store.token_ids[: len(first)].tolist() == first
    other = next(one for one in TOKENIZERS.values() if one is not tokenizer)
    with pytest.raises(ValueError, match="another vocabulary"):
        open_store(store.path, other)


@KINDS
def test_every_kind_gives_masked_words_and_next_sentences(kind, tmp_path):
    tokenizer = TOKENIZERS[kind]
    store = write_store(DOCUMENTS, tokenizer, tmp_path / "store")
    batches = mlm_nsp(store, sequence_length=16, batch_size=4)
    features, labels, weights = next(iter(batches))
    rows, masks = features["token_ids"].numpy(), features["padding_mask"].numpy()
    assert (rows[:, 0] == tokenizer.cls_id).all()
    assert ((rows == tokenizer.sep_id).sum(axis=1) == 2).all()
    assert (rows[masks == 0] == tokenizer.pad_id).all()
    chosen = labels["masked_lm"].numpy()[weights["masked_lm"].numpy() > 0]
    assert len(chosen)
    assert not set(chosen) & set(tokenizer.special_ids)


def test_a_vocabulary_without_a_mask_is_refused_for_masked_words_before_they_are_drawn(tmp_path):
    tokenizer = TOKENIZERS["byte pair"]
    bare = BytePair(tokenizer.vocabulary[5:], tokenizer.merges)
    store = write_store(DOCUMENTS, bare, tmp_path / "store")
    with pytest.raises(ValueError, match=r"^This vocabulary of 270 entries has no pad token"):
        mlm_nsp(store, sequence_length=16, batch_size=4)
    whole = bare.with_special_tokens()
    store = write_store(DOCUMENTS, whole, tmp_path / "whole")
    features, _, _ = next(iter(mlm_nsp(store, sequence_length=16, batch_size=4)))
    assert (features["token_ids"].numpy()[:, 0] == 272).all()


@KINDS
def test_encode_gives_what_the_graph_gives(kind):
    tokenizer = TOKENIZERS[kind]
    texts = ["The lowest  tide!", "", "caf\u00e9 \u6211"]
    ids, starts, ends = tokenizer.tokenize_with_offsets(texts, unit="character")
    assert ids.to_list() == tokenizer.tokenize(texts).to_list()
    encodings = tokenizer.encode(texts)
    assert [one.ids for one in encodings] == ids.to_list()
    assert [one.starts for one in encodings] == starts.to_list()
    assert [one.ends for one in encodings] == ends.to_list()


@KINDS
def test_a_unit_that_is_none_is_refused(kind):
    with pytest.raises(ValueError, match=r"`unit` is .byte. or .character."):
        TOKENIZERS[kind].tokenize_with_offsets(["a"], unit="token")


@KINDS
def test_a_file_of_another_kind_is_refused_before_it_is_written(kind, tmp_path):
    for name in {"a.txt", "a.json", "a.model"} - {f"a.{NAMES[kind].rpartition('.')[2]}"}:
        with pytest.raises(
            ValueError, match=rf"{name}: a vocabulary of this kind is a file ending"
        ):
            TOKENIZERS[kind].save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@KINDS
def test_tracing_twice_gives_the_same(kind):
    tokenizer = TOKENIZERS[kind]
    cut = tf.function(lambda texts: tokenizer.tokenize(texts).to_tensor(), autograph=False)
    texts = tf.constant(["a new tide", "low"])
    assert cut(texts).numpy().tolist() == tokenizer.tokenize(texts).to_tensor().numpy().tolist()


def test_a_vocabulary_without_settings_gives_way_to_a_tokenizer_json(tmp_path):
    TOKENIZERS["wordpiece"].save(tmp_path)
    TOKENIZERS["byte pair"].save(tmp_path)
    assert load_tokenizer(tmp_path) == TOKENIZERS["wordpiece"]
    (tmp_path / "vocab.settings.json").unlink()
    assert load_tokenizer(tmp_path) == TOKENIZERS["byte pair"]
    assert load_tokenizer(tmp_path / "vocab.txt") == TOKENIZERS["wordpiece"]


def test_what_is_no_vocabulary_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No vocabulary at .*vocab\.txt"):
        load_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"No vocabulary at .*none\.txt"):
        load_tokenizer(tmp_path / "none.txt")
    (tmp_path / "vocab.bin").write_text("a")
    with pytest.raises(ValueError, match=r"vocab\.bin is no vocabulary by its name: \.txt, \.json"):
        load_tokenizer(tmp_path / "vocab.bin")
    (tmp_path / "other.json").write_text(json.dumps({"model": {"type": "WordLevel"}}))
    with pytest.raises(ValueError, match=r"a model of type 'WordLevel'; WordPiece, BPE, Unigram"):
        load_tokenizer(tmp_path / "other.json")


def test_lowercase_is_asked_only_of_what_does_not_tell(tmp_path):
    path = TOKENIZERS["byte pair"].save(tmp_path)
    with pytest.raises(ValueError, match=r"are for a vocab\.txt.*tokenizer\.json says how"):
        load_tokenizer(path, lowercase=True)


def test_accents_are_kept_in_lowercase_where_the_settings_say_so(tmp_path):
    entries = [*TOKENIZERS["wordpiece"].vocabulary, "\u00e9"]
    tokenizer = WordPiece(entries, strip_accents=False)
    assert tokenizer.tokenize(["\u00c9"]).to_list() == [[len(entries) - 1]]
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path) == tokenizer
    assert tokenizer != WordPiece(entries)
    settings = json.loads((tmp_path / "vocab.settings.json").read_text())
    assert settings == {"lowercase": True, "strip_accents": False}
    with pytest.raises(ValueError, match="says strip_accents=False, the argument says"):
        load_tokenizer(tmp_path, strip_accents=True)
