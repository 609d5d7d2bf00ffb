import json
import os
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
import tokenizers
from hypothesis import strategies

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


def reference_tokenizer(tokenizer):
    """BERT's tokenization as the `tokenizers` library does it."""
    entries = {entry: number for number, entry in enumerate(tokenizer.vocabulary)}
    model = tokenizers.models.WordPiece(entries, unk_token="[UNK]", max_input_chars_per_word=100)
    reference = tokenizers.Tokenizer(model)
    reference.normalizer = tokenizers.normalizers.BertNormalizer(
        strip_accents=tokenizer.lowercase, lowercase=tokenizer.lowercase
    )
    reference.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return reference


def reference_ids(tokenizer, texts):
    encodings = reference_tokenizer(tokenizer).encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def tokens(tokenizer, text):
    return tokenizer.ids_to_tokens(tokenizer.tokenize([text]))[0]


@pytest.fixture(scope="module")
def bert_uncased(shared_data):
    return load_tokenizer(shared_data("tok_fixtures") / "bert" / "vocab_uncased.txt")


@pytest.fixture(scope="module")
def reference_strings(shared_data):
    """(text, ids of BERT's uncased vocabulary) of 44 hard strings."""
    folder = shared_data("tok_fixtures") / "reference"
    with open(folder / "ggml-vocab.inp", encoding="utf-8", newline="") as file:
        texts = file.read().split("\n__ggml_vocab_test__\n")
    lines = (folder / "ggml-vocab-bert-bge.out").read_text().split("\n")
    pairs = list(zip(texts, lines, strict=True))[:44]  # the last separator ends the file
    return [(text, [int(one) for one in line.split()]) for text, line in pairs]


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


# ---- Agreement with other implementations


def test_reference_strings_have_bert_s_ids_but_for_compatibility_forms(
    bert_uncased, reference_strings
):
    texts = [text for text, _ in reference_strings]
    ids = bert_uncased.tokenize(texts).to_list()
    differing = {n for n, (_, expected) in enumerate(reference_strings) if ids[n] != expected}
    # 0 holds the one half sign, 32 and 43 the full-width tilde.
    assert differing == {0, 32, 43}
    assert reference_ids(bert_uncased, texts) == [expected for _, expected in reference_strings]


def test_a_foreign_vocabulary_with_scattered_special_tokens_works(bert_uncased):
    assert bert_uncased.special_ids == (0, 100, 101, 102, 103)
    assert tokens(bert_uncased, "Hello, embeddings") == [
        *("hello", ",", "em", "##bed", "##ding", "##s"),
    ]


def test_what_folding_changes_against_bert(bert_uncased):
    assert tokens(bert_uncased, "4 \u00bd") == ["4", "1", "##\u2044", "##2"]
    assert tokens(bert_uncased, "\uff5e") == ["~"]
    assert tokens(bert_uncased, "gro\u00df") == tokens(bert_uncased, "gross")


def test_cased_text_has_bert_s_ids_but_at_format_characters(bert_uncased, reference_strings):
    cased = Tokenizer(bert_uncased.vocabulary, lowercase=False)
    texts = [text for text, _ in reference_strings]
    ids, expected = cased.tokenize(texts).to_list(), reference_ids(cased, texts)
    # Both hold a zero-width joiner, which BERT drops and the graph reads as the end of a word.
    assert {n for n in range(44) if ids[n] != expected[n]} == {22, 43}


def test_a_word_is_unknown_past_100_bytes():
    tokenizer = Tokenizer([*SPECIAL_TOKENS, "\u0434", "##\u0434", "a", "##a"])
    assert len(tokens(tokenizer, "\u0434" * 50)) == 50
    assert tokens(tokenizer, "\u0434" * 51) == ["[UNK]"]
    assert len(reference_ids(tokenizer, ["\u0434" * 51])[0]) == 51
    assert [len(tokens(tokenizer, "a" * n)) for n in (100, 101)] == [100, 1]


def test_chinese_reviews_and_novels_have_the_reference_s_ids(shared_data):
    reviews = shared_data("cls_zh_chnsenticorp_hotel") / "ChnSentiCorp_htl_all.csv"
    novel = shared_data("lm_novels_en") / "Haggard_Mines_1885.txt"
    texts = reviews.read_text(encoding="utf-8").splitlines()[:1_000]
    texts += novel.read_text(encoding="utf-8").splitlines()[:1_000]
    characters = sorted({character for text in texts for character in text.strip()} - {" "})
    pieces = ["the", "##ing", "with", "##ed", "King", "\u9152\u5e97"]
    entries = [*SPECIAL_TOKENS, *characters, *("##" + one for one in characters), *pieces]
    tokenizer = Tokenizer([entry for entry in entries if entry.strip()], lowercase=False)
    assert tokenizer.tokenize(texts).to_list() == reference_ids(tokenizer, texts)


PRINTABLE = strategies.text(strategies.characters(min_codepoint=32, max_codepoint=126), max_size=60)
WORDY = strategies.text(strategies.sampled_from("abcdABCD !'-[]\t\n"), max_size=60)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    strategies.lists(PRINTABLE | WORDY, min_size=1, max_size=8), strategies.booleans()
)
def test_ascii_text_has_the_reference_s_ids(texts, lowercase):
    tokenizer = SMALL if lowercase else CASED
    assert tokenizer.tokenize(texts).to_list() == reference_ids(tokenizer, texts)


CASED = Tokenizer([*SPECIAL_TOKENS, *PIECES, "A", "##B", "AB"], lowercase=False)


# ---- Ids back to entries


def test_ids_to_tokens_keeps_the_nesting():
    assert SMALL.ids_to_tokens(5) == "a"
    assert SMALL.ids_to_tokens(np.array([[5, 6], [0, 4]])) == [["a", "b"], ["[PAD]", "[MASK]"]]
    assert SMALL.ids_to_tokens(tf.constant([5])) == ["a"]
    assert SMALL.ids_to_tokens(tf.ragged.constant([[5], []])) == [["a"], []]


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
