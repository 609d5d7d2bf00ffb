"""WordPiece in the graph gives the ids and spans of the `tokenizers` library, for any text."""

import unicodedata

import hypothesis
import pytest
import tensorflow as tf
import tokenizers
from hard_texts import CORPORA, UNICODE, every_line, in_graph, reference_strings
from hypothesis import strategies

from tfpt.pipelines.tokenizer import SPECIAL_TOKENS, Tokenizer, load_tokenizer

PIECES = [*"abcd", "##a", "##b", "##c", "##d", "ab", "##cd", "abc", "!", "[", "]", "mask"]
SMALL = Tokenizer([*SPECIAL_TOKENS, *PIECES])
CASED = Tokenizer([*SPECIAL_TOKENS, *PIECES, "A", "##B", "AB"], lowercase=False)
WIDE = Tokenizer([*SPECIAL_TOKENS, *PIECES, "A", "##B", "e", "##e", "\u00e9", "##\u00e9"])
PRINTABLE = strategies.text(strategies.characters(min_codepoint=32, max_codepoint=126), max_size=60)
NORMALIZER = tokenizers.normalizers.BertNormalizer(lowercase=True)
WORDY = strategies.text(strategies.sampled_from("abcdABCD !'-[]\t\n"), max_size=60)


def reference_ids(tokenizer, texts):
    """BERT's tokenization, put together here from the parts of the `tokenizers` library."""
    entries = {entry: number for number, entry in enumerate(tokenizer.vocabulary)}
    model = tokenizers.models.WordPiece(entries, unk_token="[UNK]", max_input_chars_per_word=100)
    reference = tokenizers.Tokenizer(model)
    reference.normalizer = tokenizers.normalizers.BertNormalizer(
        strip_accents=tokenizer.strip_accents, lowercase=tokenizer.lowercase
    )
    reference.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    encodings = reference.encode_batch_fast(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def tokens(tokenizer, text):
    return tokenizer.ids_to_tokens(tokenizer.tokenize([text]))[0]


@pytest.fixture(scope="module")
def bert_uncased(shared_data):
    return load_tokenizer(shared_data("tok_fixtures") / "bert" / "vocab_uncased.txt")


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [None, True, False])
def test_reference_strings_have_the_reference_s_ids(
    bert_uncased, shared_data, lowercase, strip_accents
):
    texts, expected = reference_strings(shared_data, "bert-bge")
    tokenizer = Tokenizer(bert_uncased.vocabulary, lowercase=lowercase, strip_accents=strip_accents)
    ids = tokenizer.tokenize(texts).to_list()
    assert ids == reference_ids(tokenizer, texts)
    if lowercase and strip_accents is not False:
        assert ids == expected


@pytest.mark.parametrize(
    ("corpus", "step"),
    [
        ("novels", 7),
        pytest.param("novels", 1, marks=pytest.mark.slow),
        ("chinese", 1),
        ("wikitext", 1),
    ],
)
def test_every_line_has_the_reference_s_ids(bert_uncased, shared_data, corpus, step):
    for lines in every_line(shared_data, corpus, step=step):
        assert bert_uncased.tokenize(lines).to_list() == reference_ids(bert_uncased, lines)


@pytest.mark.slow
@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("lowercase", [True, False])
def test_every_line_has_the_reference_s_spans(bert_uncased, shared_data, corpus, lowercase):
    tokenizer = Tokenizer(bert_uncased.vocabulary, lowercase=lowercase)
    for lines in every_line(shared_data, corpus):
        assert in_graph(tokenizer, lines) == tokenizer.encode(lines)


def test_a_foreign_vocabulary_with_scattered_special_tokens_works(bert_uncased):
    assert bert_uncased.special_ids == (0, 100, 101, 102, 103)
    assert tokens(bert_uncased, "Hello, embeddings") == [
        *("hello", ",", "em", "##bed", "##ding", "##s"),
    ]


def test_what_was_folded_once_is_kept_as_bert_keeps_it(bert_uncased):
    assert tokens(bert_uncased, "4 \u00bd") == ["4", "\u00bd"]
    assert tokens(bert_uncased, "\uff5e") == ["\uff5e"]
    assert tokens(bert_uncased, "gro\u00df") != tokens(bert_uncased, "gross")


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_format_character_is_dropped_and_joins_what_stands_around_it(lowercase):
    tokenizer = Tokenizer(SMALL.vocabulary, lowercase=lowercase)
    assert tokens(tokenizer, "a\u200db\x01c \0d") == ["abc", "d"]


def test_a_word_is_unknown_past_100_characters():
    tokenizer = Tokenizer([*SPECIAL_TOKENS, "\u0434", "##\u0434", "a", "##a", "!", "\u6211"])
    for letter in ("\u0434", "a"):
        for around in ("{}", "a {} a", "!{}!", "\u6211{}\u6211", "\u00bf{} a"):
            texts = [around.format(letter * length) for length in (99, 100, 101, 500)]
            assert tokenizer.tokenize(texts).to_list() == reference_ids(tokenizer, texts)
            assert in_graph(tokenizer, texts) == tokenizer.encode(texts)
    assert [len(tokens(tokenizer, "\u0434" * n)) for n in (100, 101)] == [100, 1]


def test_marks_side_by_side_keep_their_order_where_accents_are_stripped():
    """The one difference to the reference in texts that are Unicode; see the class."""
    one, other = "\U0001d16d", "\U0001d165"
    tokenizer = Tokenizer([*SPECIAL_TOKENS, one, other, "##" + one, "##" + other])
    assert tokens(tokenizer, one + other) == [one, "##" + other]
    assert tokenizer.ids_to_tokens(reference_ids(tokenizer, [one + other])) == [[other, "##" + one]]
    cased = Tokenizer(tokenizer.vocabulary, lowercase=False)
    assert tokens(cased, one + other) == [one, "##" + other]
    assert cased.tokenize([one + other]).to_list() == reference_ids(cased, [one + other])


def test_what_unicode_versions_disagree_on_is_cut_as_the_reference_does():
    # U+2E43 is punctuation since Unicode 8, U+166D was until Unicode 11; U+2B820 is Chinese to the
    # op only; U+E000 is a stand-in inside.
    strange = ["\u2e43", "\u166d", "\U0002b820", "\ue000"]
    entries = [*strange, *("##" + one for one in strange), "a", "##a", "a\u2e43a", "##\u2e43a"]
    for lowercase in (True, False):
        tokenizer = Tokenizer([*SPECIAL_TOKENS, *entries], lowercase=lowercase)
        texts = [f"a{one}{other}a {one}" for one in strange for other in strange]
        texts += [f"a{one}a" for one in strange]
        assert tokenizer.tokenize(texts).to_list() == reference_ids(tokenizer, texts)


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


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    strategies.lists(PRINTABLE | WORDY, min_size=1, max_size=8), strategies.booleans()
)
def test_ascii_text_has_the_reference_s_ids(texts, lowercase):
    tokenizer = SMALL if lowercase else CASED
    assert tokenizer.tokenize(texts).to_list() == reference_ids(tokenizer, texts)


@hypothesis.settings(max_examples=75, deadline=None)
@hypothesis.given(
    strategies.lists(UNICODE, min_size=1, max_size=8),
    strategies.booleans(),
    strategies.none() | strategies.booleans(),
)
def test_any_text_has_the_reference_s_ids_and_spans(texts, lowercase, strip_accents):
    characters = sorted({character for text in texts for character in text})
    entries = [one for one in characters if one.strip()]
    entries += ["##" + entry for entry in entries]
    tokenizer = Tokenizer(
        list(dict.fromkeys([*WIDE.vocabulary, *entries])),
        lowercase=lowercase,
        strip_accents=strip_accents,
    )
    if tokenizer.strip_accents:
        texts = [text for text in texts if marks_are_in_order(text)]
    hypothesis.assume(texts)
    assert tokenizer.tokenize(texts).to_list() == reference_ids(tokenizer, texts)
    assert in_graph(tokenizer, texts) == tokenizer.encode(texts)


def marks_are_in_order(text):
    """Whether each character can be decomposed by itself; see the class on what cannot."""
    whole = unicodedata.normalize("NFD", text)
    return whole == "".join(unicodedata.normalize("NFD", character) for character in text)


# ---- Spans


def test_a_span_is_where_the_token_stands_in_the_text_as_it_was_given():
    text = "\u00c1b  ABCD!\u6211 e\u0301"
    tokenizer = Tokenizer([*SMALL.vocabulary, "\u6211", "e"])
    ids, starts, ends = tokenizer.tokenize_with_offsets([text], unit="character")
    spans = zip(starts.to_list()[0], ends.to_list()[0], strict=True)
    assert list(
        zip(tokenizer.ids_to_tokens(ids)[0], (text[a:b] for a, b in spans), strict=True)
    ) == [
        *(("ab", "\u00c1b"), ("abc", "ABC"), ("##d", "D"), ("!", "!")),
        *(("\u6211", "\u6211"), ("e", "e")),
    ]


def test_spans_are_in_bytes_unless_asked_for_in_characters():
    _, starts, ends = SMALL.tokenize_with_offsets(["\u00c1 ab"])
    assert (starts.dtype, ends.dtype) == (tf.int64, tf.int64)
    assert (starts.to_list(), ends.to_list()) == ([[0, 3]], [[2, 5]])
    with pytest.raises(ValueError, match=r'"byte" or "character"; received unit=.word'):
        SMALL.tokenize_with_offsets(["ab"], unit="word")


def test_the_text_of_a_span_normalizes_to_its_token(bert_uncased, shared_data):
    for text in reference_strings(shared_data, "bert-bge")[0]:
        (encoding,) = in_graph(bert_uncased, [text])
        for number, start, end in zip(*encoding, strict=True):
            token = bert_uncased.vocabulary[number].removeprefix("##")
            if token != "[UNK]":
                # A Korean syllable becomes two or three letters, which may be tokens of their own.
                assert token in NORMALIZER.normalize_str(text[start:end])


def test_an_unknown_word_has_the_span_of_the_word():
    ids, starts, ends = SMALL.tokenize_with_offsets(["a zz\u00c1 b", "z" * 200 + " a" + "z" * 150])
    assert ids.to_list()[0][1] == SMALL.unknown_id
    assert (starts.to_list(), ends.to_list()) == ([[0, 2, 7], [0, 201]], [[1, 6, 8], [200, 352]])


def test_spans_work_in_a_dataset():
    dataset = tf.data.Dataset.from_tensor_slices(["ab cd", "\u00c1"]).batch(2)
    _, starts, ends = next(iter(dataset.map(SMALL.tokenize_with_offsets)))
    assert (starts.to_list(), ends.to_list()) == ([[0, 3, 4], [0]], [[2, 4, 5], [2]])
