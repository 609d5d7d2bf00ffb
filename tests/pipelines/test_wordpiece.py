import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines.tokenizer import SPECIAL_TOKENS, Tokenizer, load_tokenizer

PIECES = [
    "a",
    "b",
    "c",
    "d",
    "##a",
    "##b",
    "##c",
    "##d",
    "ab",
    "##cd",
    "abc",
    "!",
    "[",
    "]",
    "mask",
]
SMALL = Tokenizer([*SPECIAL_TOKENS, *PIECES])


def tokens(tokenizer, text):
    return tokenizer.ids_to_tokens(tokenizer.tokenize([text]))[0]


def test_longest_pieces_are_taken_from_the_left():
    assert tokens(SMALL, "abcd abd!") == ["abc", "##d", "ab", "##d", "!"]


def test_ids_are_int32_and_ragged():
    ids = SMALL.tokenize(tf.constant(["ab", "", " \t\n", "a b"]))
    assert isinstance(ids, tf.RaggedTensor)
    assert ids.dtype == tf.int32
    assert ids.row_lengths().numpy().tolist() == [1, 0, 0, 2]


def test_an_empty_batch_gives_no_rows():
    assert SMALL.tokenize(tf.constant([], tf.string)).to_list() == []


def test_a_word_that_cannot_be_cut_is_one_unknown():
    assert tokens(SMALL, "abz a") == ["[UNK]", "a"]


@pytest.mark.parametrize("tokenizer", [SMALL, Tokenizer(SMALL.vocabulary, lowercase=False)])
def test_bytes_that_are_no_utf_8_make_their_word_unknown(tokenizer):
    ids = tokenizer.tokenize(tf.constant([b"a b\xff\xfea b", b"\xc3"]))
    assert tokenizer.ids_to_tokens(ids) == [["a", "[UNK]", "b"], ["[UNK]"]]


def test_special_tokens_in_a_text_are_ordinary_words():
    assert tokens(SMALL, "[MASK] a[MASK]") == ["[", "mask", "]", "a", "[", "mask", "]"]


def test_lowercase_strips_accents_and_cased_keeps_them():
    assert tokens(SMALL, "\u00c1B") == ["ab"]
    assert tokens(Tokenizer(SMALL.vocabulary, lowercase=False), "\u00c1b ab") == ["[UNK]", "ab"]


def test_chinese_characters_are_words_of_their_own():
    tokenizer = Tokenizer([*SPECIAL_TOKENS, "\u6211", "\u60f3", "ab", "##\u60f3"], lowercase=False)
    assert tokens(tokenizer, "\u6211\u60f3ab\u6211") == ["\u6211", "\u60f3", "ab", "\u6211"]


def test_tokenize_works_in_a_dataset_and_afterwards_outside():
    # The first use is inside a graph: what is built there must not be bound to that graph.
    tokenizer = Tokenizer(SMALL.vocabulary)
    dataset = tf.data.Dataset.from_tensor_slices(["ab cd", "a"]).batch(2).map(tokenizer.tokenize)
    in_graph = next(iter(dataset)).to_list()
    assert in_graph == tokenizer.tokenize(["ab cd", "a"]).to_list()


def test_one_text_instead_of_a_batch_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"batch of texts.*shape \(\).*\[text\]"):
        SMALL.tokenize(tf.constant("ab"))
    with pytest.raises(ValueError, match="Batch the dataset"):
        tf.data.Dataset.from_tensor_slices(["ab"]).map(SMALL.tokenize)


def test_building_and_saving_import_no_tensorflow(tmp_path):
    code = (
        "import sys; from tfpt.pipelines import Tokenizer, load_tokenizer;"
        f"t = Tokenizer({list(SMALL.vocabulary)!r}); t.save(sys.argv[1]);"
        "assert load_tokenizer(sys.argv[1]) == t; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


# ---- Ids back to entries


def test_ids_to_tokens_keeps_the_nesting():
    assert SMALL.ids_to_tokens(5) == "a"
    assert SMALL.ids_to_tokens(np.array([[5, 6], [0, 4]])) == [["a", "b"], ["[PAD]", "[MASK]"]]
    assert SMALL.ids_to_tokens(tf.constant([5])) == ["a"]
    assert SMALL.ids_to_tokens(tf.ragged.constant([[5], []])) == [["a"], []]


def test_tokens_are_joined_to_words_and_special_tokens_are_left_out():
    ids = SMALL.tokenize(["abcd  a!", "", "[mask]"])
    assert SMALL.detokenize(ids).numpy().tolist() == [b"abcd a !", b"", b"[ mask ]"]
    with_special = [[SMALL.cls_id, SMALL.vocabulary.index("abc"), 5, SMALL.sep_id], []]
    assert SMALL.detokenize(with_special).numpy().tolist() == [b"abc a", b""]


def test_entries_that_begin_a_word_are_those_without_a_prefix():
    starts = dict(zip(SMALL.vocabulary, SMALL.word_starts.tolist(), strict=True))
    assert {entry for entry, begins in starts.items() if not begins} == {
        *("##a", "##b", "##c", "##d", "##cd"),
    }


@pytest.mark.parametrize("wrong", [-1, len(SMALL.vocabulary)])
def test_an_id_outside_of_the_vocabulary_is_refused(wrong):
    with pytest.raises(ValueError, match=f"between 0 and 19 .*received {wrong}"):
        SMALL.ids_to_tokens([0, wrong])


# ---- Files


@pytest.mark.parametrize(("name", "settings"), [("v", "v/vocab"), ("my.txt", "my")])
def test_a_saved_tokenizer_comes_back(tmp_path, name, settings):
    tokenizer = Tokenizer(
        [*SPECIAL_TOKENS, "a", "\u2028", "\u00e9\u4e2d", "##\x85"], lowercase=False
    )
    path = tokenizer.save(tmp_path / "new" / name)
    assert json.loads((tmp_path / "new" / f"{settings}.settings.json").read_text()) == {
        "lowercase": False
    }
    for source in (path, tmp_path / "new" / name):
        loaded = load_tokenizer(source)
        assert loaded.vocabulary == tokenizer.vocabulary
        assert loaded == tokenizer
        assert loaded.sha256 == tokenizer.sha256


def test_the_line_number_is_the_id(tmp_path):
    lines = SMALL.save(tmp_path).read_text(encoding="utf-8").split("\n")
    assert lines[SMALL.mask_id] == "[MASK]"
    assert lines == [*SMALL.vocabulary, ""]


def test_sha256_depends_on_entries_order_and_lowercase():
    other_order = [*SPECIAL_TOKENS, *reversed(PIECES)]
    variants = [SMALL, Tokenizer(SMALL.vocabulary, lowercase=False), Tokenizer(other_order)]
    assert len({tokenizer.sha256 for tokenizer in variants}) == 3
    assert Tokenizer(list(SMALL.vocabulary)).sha256 == SMALL.sha256


def test_a_vocabulary_without_settings_is_lowercase_unless_said_otherwise(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join([*SMALL.vocabulary, ""]).encode())  # as Windows writes it
    assert load_tokenizer(path) == SMALL
    assert load_tokenizer(tmp_path, lowercase=False).lowercase is False


def test_settings_that_contradict_the_argument_are_refused(tmp_path):
    SMALL.save(tmp_path)
    assert load_tokenizer(tmp_path, lowercase=True) == SMALL
    with pytest.raises(ValueError, match=r"vocab.settings.json says lowercase=True, the argument"):
        load_tokenizer(tmp_path, lowercase=False)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"lowercase": 1}'])
def test_a_broken_settings_file_is_named(tmp_path, text):
    SMALL.save(tmp_path)
    (tmp_path / "vocab.settings.json").write_text(text)
    with pytest.raises(ValueError, match=r"vocab\.settings\.json"):
        load_tokenizer(tmp_path)


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.vocab\.txt.*tfpt vocabulary"):
        load_tokenizer(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[PAD]\n[UNK]\na\n", r"vocab\.txt lacks .* \[CLS\] \[SEP\] \[MASK\] among its 3"),
        (b"[PAD]\n\n[UNK]\n", r"line 2 of .*vocab\.txt is empty"),
        (b"[PAD]\na\nb\na\n", r"vocab\.txt holds 'a' twice, at line 2 and line 4"),
        (b"[PAD]\na\nb\xff\n", r"vocab\.txt, line 3 is not UTF-8"),
        (b"", r"lacks the special tokens .* among its 0 entries"),
    ],
)
def test_a_broken_vocabulary_is_refused_with_file_and_line(tmp_path, content, message):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_tokenizer(tmp_path)


def test_duplicates_and_line_breaks_in_a_given_vocabulary_are_refused():
    with pytest.raises(ValueError, match="'a' twice, at entry 5 and entry 6"):
        Tokenizer([*SPECIAL_TOKENS, "a", "a"])
    with pytest.raises(ValueError, match="entry 5 of the vocabulary holds a line break"):
        Tokenizer([*SPECIAL_TOKENS, "a\nb"])


def test_a_failing_write_leaves_the_old_files_and_nothing_else(tmp_path, monkeypatch):
    SMALL.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        Tokenizer([*SPECIAL_TOKENS, "a"], lowercase=False).save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
