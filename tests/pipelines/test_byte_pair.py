"""Byte-level byte pairs: the graph gives the ids and spans of the `tokenizers` library."""

import json
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
import tokenizers
from hard_texts import CORPORA, UNICODE, every_line, in_graph, reference_strings
from hypothesis import strategies

from tfpt.pipelines import BytePair, load_tokenizer
from tfpt.pipelines.byte_pair import byte_alphabet
from tfpt.pipelines.byte_pair_graph import character_kinds
from tfpt.pipelines.special_tokens import SPECIAL_TOKENS

ALPHABET = sorted(byte_alphabet())
MERGES = [
    *(("\u0120", "t"), ("h", "e"), ("\u0120t", "he"), ("a", "a"), ("aa", "a"), ("'", "s")),
    *(("\u00c3", "\u00a9"), ("\u010a", "\u010a"), ("\u0120", "\u0120")),
]
SMALL = BytePair([*SPECIAL_TOKENS, *ALPHABET, *(a + b for a, b in MERGES)], MERGES)
# What GPT-2's rule tells apart, side by side.
RULE = strategies.text(
    strategies.sampled_from("aA1!'stmdrevl \t\n\r\u3000\u00e9\u00bd"), max_size=30
)


def tokens(tokenizer, text):
    return tokenizer.ids_to_tokens(tokenizer.tokenize([text]))[0]


def offline_ids(tokenizer, texts):
    return [encoding.ids for encoding in tokenizer.encode(texts)]


@pytest.fixture(scope="module")
def gpt2(shared_data):
    return load_tokenizer(shared_data("tok_fixtures") / "gpt2")


def test_the_pair_learned_first_is_merged_first():
    assert tokens(SMALL, "the the's") == ["t", "he", "\u0120the", "'s"]


def test_overlapping_pairs_are_merged_from_the_left():
    assert [tokens(SMALL, "a" * length) for length in (2, 3, 4, 5, 6)] == [
        ["aa"],
        ["aaa"],
        ["aa", "aa"],
        ["aa", "aaa"],
        ["aa", "aa", "aa"],
    ]


def test_any_byte_has_a_token_also_where_it_is_no_utf_8():
    texts = [b"\xff\xfe a", b"\xc3", bytes(range(256)), b"", b"\xe6\x88", b"a\xf0\x9f\x99"]
    ids = SMALL.tokenize(tf.constant(texts))
    assert ids.dtype == tf.int32
    assert SMALL.detokenize(ids).numpy().tolist() == texts
    _, starts, ends = SMALL.tokenize_with_offsets(tf.constant(texts))
    assert (ends.flat_values > starts.flat_values).numpy().all()


def test_special_tokens_in_a_text_are_ordinary_words():
    ids = SMALL.tokenize(["[MASK] [PAD]", "a[SEP]"])
    assert not set(ids.flat_values.numpy()) & set(SMALL.special_ids)
    assert SMALL.detokenize(ids).numpy().tolist() == [b"[MASK] [PAD]", b"a[SEP]"]


def test_an_empty_batch_gives_no_rows():
    assert SMALL.tokenize(tf.constant([], tf.string)).to_list() == []
    assert SMALL.tokenize(["", ""]).to_list() == [[], []]


def test_tokenize_works_in_a_dataset_and_afterwards_outside():
    tokenizer = BytePair(SMALL.vocabulary, SMALL.merges)
    dataset = tf.data.Dataset.from_tensor_slices(["the the", "a"]).batch(2)
    found = next(iter(dataset.map(tokenizer.tokenize))).to_list()
    assert found == tokenizer.tokenize(["the the", "a"]).to_list()
    _, starts, _ = next(iter(dataset.map(tokenizer.tokenize_with_offsets)))
    assert starts.to_list() == [[0, 1, 4], [0]]


def test_one_text_instead_of_a_batch_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"batch of texts.*shape \(\).*\[text\]"):
        SMALL.tokenize(tf.constant("ab"))


# ---- Agreement with other implementations


def test_reference_strings_have_gpt_2_s_ids(gpt2, shared_data):
    texts, expected = reference_strings(shared_data, "gpt-2")
    assert gpt2.tokenize(texts).to_list() == expected
    assert offline_ids(gpt2, texts) == expected
    assert in_graph(gpt2, texts) == gpt2.encode(texts)


@pytest.mark.parametrize(
    ("corpus", "step"),
    [
        ("novels", 12),
        pytest.param("novels", 1, marks=pytest.mark.slow),
        ("chinese", 8),
        pytest.param("chinese", 1, marks=pytest.mark.slow),
        ("wikitext", 1),
    ],
)
def test_every_line_has_the_reference_s_ids(gpt2, shared_data, corpus, step):
    for lines in every_line(shared_data, corpus, step=step):
        assert gpt2.tokenize(lines).to_list() == offline_ids(gpt2, lines)


@pytest.mark.slow
@pytest.mark.parametrize("corpus", CORPORA)
def test_every_line_has_the_reference_s_spans(gpt2, shared_data, corpus):
    for lines in every_line(shared_data, corpus):
        assert in_graph(gpt2, lines) == gpt2.encode(lines)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(strategies.lists(UNICODE | RULE, min_size=1, max_size=8))
def test_any_text_has_the_reference_s_ids_and_spans(texts):
    ids = SMALL.tokenize(texts)
    assert ids.to_list() == offline_ids(SMALL, texts)
    assert in_graph(SMALL, texts) == SMALL.encode(texts)
    assert SMALL.detokenize(ids).numpy().tolist() == [text.encode() for text in texts]


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(strategies.data())
def test_any_merges_are_made_in_the_reference_s_order(data):
    """Also merges no trainer would write: two ways to one piece, a piece used before it is made."""
    pieces = list("abc")
    merges = []
    for _ in range(data.draw(strategies.integers(0, 8))):
        pair = tuple(data.draw(strategies.sampled_from(pieces)) for _ in range(2))
        if pair not in merges and len("".join(pair)) <= 6:
            merges.append(pair)
            pieces = [*dict.fromkeys([*pieces, "".join(pair)])]
    order = data.draw(strategies.permutations(merges))
    longer = [piece for piece in pieces if len(piece) > 1]
    tokenizer = BytePair([*SPECIAL_TOKENS, *ALPHABET, *longer], order)
    words = strategies.text(strategies.sampled_from("abc "), max_size=24)
    texts = data.draw(strategies.lists(words, min_size=1, max_size=6))
    assert tokenizer.tokenize(texts).to_list() == offline_ids(tokenizer, texts)


@pytest.mark.parametrize("code", ["\u00bd", "\u0e01", "\u3000", "\x1c", "\x85", "\u0301", "\u2160"])
def test_kinds_of_characters_are_the_library_s(code):
    splitter = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = [span for _, span in splitter.pre_tokenize_str(f"a{code}1{code}!")]
    kinds = {
        1: [(0, 2), (2, 3), (3, 4), (4, 5)],
        2: [(0, 1), (1, 4), (4, 5)],
        0: [(0, 1), (1, 2), (2, 3), (3, 5)],
        4: [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)],
    }
    assert words == kinds[int(character_kinds()[ord(code)])]


# ---- Spans


def test_white_space_before_a_token_and_parts_of_characters():
    text = " the  \u00e9\u6211 \n"
    ids, starts, ends = SMALL.tokenize_with_offsets([text], unit="character")
    spans = list(zip(starts.to_list()[0], ends.to_list()[0], strict=True))
    assert list(zip(SMALL.ids_to_tokens(ids)[0], spans, strict=True)) == [
        *(("\u0120the", (1, 4)), ("\u0120", (4, 5)), ("\u0120", (5, 6)), ("\u00c3\u00a9", (6, 7))),
        *(("\u00e6", (7, 8)), ("\u012a", (7, 8)), ("\u0133", (7, 8))),
        *(("\u0120", (8, 9)), ("\u010a", (9, 10))),
    ]


# ---- Entries


def test_special_tokens_have_the_roles_of_their_names(gpt2):
    assert SMALL.special_ids == (0, 1, 2, 3, 4)
    assert (SMALL.pad_id, SMALL.unknown_id, SMALL.cls_id, SMALL.sep_id, SMALL.mask_id) == (
        *(0, 1, 2, 3, 4),
    )
    roberta = [("<s>", "<pad>", "</s>", "<unk>"), ("<mask>",)]
    other = BytePair([*roberta[0], *ALPHABET, *roberta[1]], [])
    assert (other.cls_id, other.pad_id, other.sep_id, other.unknown_id, other.mask_id) == (
        *(0, 1, 2, 3, 260),
    )
    assert gpt2.roles == {"sep": 50256}


def test_a_role_that_no_entry_fills_is_refused_when_it_is_asked_for(gpt2):
    with pytest.raises(ValueError, match=r"50,257 entries has no mask token .*\[MASK\], <mask>"):
        _ = gpt2.mask_id
    whole = gpt2.with_special_tokens()
    assert whole.vocabulary[50_257:] == ("[PAD]", "[UNK]", "[CLS]", "[MASK]")
    assert (whole.pad_id, whole.sep_id, whole.mask_id) == (50_257, 50_256, 50_260)
    text = "What's in a name?"
    assert whole.tokenize([text]).to_list() == gpt2.tokenize([text]).to_list()


def test_entries_that_begin_a_word_begin_with_white_space():
    starts = dict(zip(SMALL.vocabulary, SMALL.word_starts.tolist(), strict=True))
    assert all(starts[token] for token in (*SPECIAL_TOKENS, "\u0120the", "\u0120", "\u010a"))
    assert not any(starts[token] for token in ("he", "a", "!", "\u0100"))


def test_special_tokens_are_left_out_of_a_text():
    ids = [[SMALL.cls_id, *offline_ids(SMALL, ["the"])[0], SMALL.sep_id], [SMALL.pad_id]]
    assert SMALL.detokenize(ids).numpy().tolist() == [b"the", b""]


def test_the_alphabet_is_gpt_2_s(gpt2):
    assert gpt2.vocabulary[:256] == tuple(ALPHABET)
    assert byte_alphabet()[ord(" ")] == "\u0120"


# ---- Files


@pytest.mark.parametrize("name", ["folder", "my.json"])
def test_a_saved_tokenizer_comes_back_here_and_in_the_library(tmp_path, name):
    path = SMALL.save(tmp_path / name)
    assert path == (tmp_path / name / "tokenizer.json" if name == "folder" else tmp_path / name)
    for source in (path, tmp_path / name):
        loaded = load_tokenizer(source)
        assert (loaded, loaded.vocabulary, loaded.merges) == (SMALL, SMALL.vocabulary, SMALL.merges)
    library = tokenizers.Tokenizer.from_file(str(path))
    text = "the caf\u00e9's  aaa\n"
    assert library.encode(text).ids == SMALL.tokenize([text]).to_list()[0]
    assert library.decode(library.encode(text).ids) == text
    assert [library.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]


def test_vocabulary_and_merges_are_read_from_two_files(tmp_path, gpt2):
    ids = {entry: number for number, entry in enumerate(SMALL.vocabulary)}
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    lines = "".join(f"{left} {right}\n" for left, right in MERGES)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + lines, encoding="utf-8")
    for path in (tmp_path, tmp_path / "vocab.json", tmp_path / "merges.txt"):
        assert load_tokenizer(path) == SMALL
    assert (gpt2.vocabulary_size, len(gpt2.merges)) == (50_257, 50_000)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"vocab\.json is one of two files.*merges\.txt"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": [*SPECIAL_TOKENS, *ALPHABET[:-1]]}, "lacks 1 of the 256 bytes.* is 0xad"),
        ({"merges": [("a", "b")]}, "Merge 0 is of 'a' and 'b', but 'ab' is no entry"),
        ({"merges": [("a", "a"), ("a", "a")]}, "'a' and 'a' are merged twice, the second time 1"),
        ({"vocabulary": [*SMALL.vocabulary, "a"]}, "holds 'a' twice"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    given = {"vocabulary": SMALL.vocabulary, "merges": (), **changes}
    with pytest.raises(ValueError, match=message):
        BytePair(**given)


@pytest.mark.parametrize(
    ("vocabulary", "merges", "message"),
    [
        ('{"a": 1}', "", r"vocab\.json gives 'a' the id 1, where 0 comes next"),
        ("[1]", "", r"vocab\.json is no vocabulary: a JSON object is needed"),
        ('{"a": "b"}', "", r"vocab\.json is not a vocabulary: a JSON object from each entry"),
        ("{", "", r"vocab\.json is damaged"),
        (None, "#version: 0.2\na b\nc\n", r"merges\.txt, line 3 is not a pair of entries: 'c'"),
        (None, "a b c\n", r"merges\.txt, line 1 is not a pair"),
        (None, "x y\n", r"vocab\.json: Merge 0 is of 'x' and 'y', but 'xy' is no entry"),
    ],
)
def test_broken_files_are_named_with_the_line(tmp_path, vocabulary, merges, message):
    ids = {entry: number for number, entry in enumerate(SMALL.vocabulary)}
    (tmp_path / "vocab.json").write_text(vocabulary or json.dumps(ids), encoding="utf-8")
    (tmp_path / "merges.txt").write_text(merges, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_tokenizer(tmp_path)


def test_sha256_depends_on_entries_and_merges():
    variants = [
        SMALL,
        BytePair(SMALL.vocabulary, MERGES[::-1]),
        BytePair(SMALL.vocabulary[::-1], MERGES),
        BytePair(SMALL.vocabulary, MERGES, special_tokens=["he"]),
    ]
    assert len({tokenizer.sha256 for tokenizer in variants}) == 4
    assert BytePair(list(SMALL.vocabulary), list(MERGES)) == SMALL


def test_building_saving_and_encoding_import_no_tensorflow(tmp_path):
    SMALL.save(tmp_path)
    code = (
        "import sys; from tfpt.pipelines import load_tokenizer; t = load_tokenizer(sys.argv[1]);"
        "t.save(sys.argv[1]); assert t.encode(['the'])[0].ends == [1, 3], t.encode(['the']);"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_saved_model_needs_no_tensorflow_text(tmp_path):
    module = tf.Module()
    module.cut = tf.function(
        lambda text: SMALL.tokenize(text).to_tensor(-1),
        input_signature=[tf.TensorSpec([None], tf.string, name="text")],
        autograph=False,
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.cut})
    code = (
        "import sys; sys.modules['tensorflow_text'] = None; import tensorflow as tf;"
        "model = tf.saved_model.load(sys.argv[1]);"
        "print(model.signatures['serving_default'](tf.constant(['the the', 'a']))"
        "['output_0'].numpy().tolist())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    expected = SMALL.tokenize(["the the", "a"]).to_tensor(-1).numpy().tolist()
    assert json.loads(result.stdout) == expected


def test_ids_outside_of_the_vocabulary_are_refused():
    with pytest.raises(ValueError, match=f"between 0 and {SMALL.vocabulary_size - 1} "):
        SMALL.ids_to_tokens(np.array([SMALL.vocabulary_size]))
