"""Words and entities inside the graph, against the same in plain Python."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tfpt.export.entity_spans import Entities, Tags, Words, find_words, spoken, without_punctuation
from tfpt.pipelines.tags import find_entities, has_ends

SCHEMES = {
    "BIO": ("O", "B-a", "I-a", "B-b", "I-b"),
    "BIOES": ("O", *(f"{place}-{kind}" for kind in "ab" for place in "BIES")),
    "BILOU": ("U-a", "L-a", "I-a", "B-a", "O", "U-b"),
}


def words_of(rows):
    """One word for each tag of each row, of two bytes, with a blank behind it."""
    text = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    token = np.concatenate([np.arange(len(row)) for row in rows])
    as_numbers = (tf.constant(part, tf.int64) for part in (text, token, 3 * token, 3 * token + 2))
    return Words(*as_numbers)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_of_random_tags_equal_those_outside_the_graph(scheme):
    names = SCHEMES[scheme]
    random = np.random.default_rng(0)
    rows = [random.integers(0, len(names), size) for size in random.integers(0, 12, 1500)]
    tags = np.concatenate(rows)
    scores = random.random(len(tags)).astype("float32")
    known = Tags(names)
    find = tf.function(known.find_entities, autograph=False)
    found = Entities(*(part.numpy() for part in find(words_of(rows), tags, scores)))
    expected, begin = [], 0
    for number, row in enumerate(rows):
        spelled = find_entities([names[one] for one in row], ends=has_ends(names))
        for kind, first, last in spelled:
            mean = scores[begin + first : begin + last + 1].mean()
            expected.append((number, kind, mean, 3 * first, 3 * last + 2))
        begin += len(row)
    assert len(expected) > 500
    assert [known.kinds[one] for one in found.kind] == [one[1] for one in expected]
    for part, place in ((found.text, 0), (found.start, 3), (found.end, 4)):
        assert part.tolist() == [one[place] for one in expected]
    np.testing.assert_allclose(found.score, [one[2] for one in expected], rtol=1e-5)


def test_no_words_spell_no_entity():
    known = Tags(SCHEMES["BIO"])
    nothing = words_of([[], []])
    found = known.find_entities(nothing, tf.zeros([0], tf.int64), tf.zeros([0]))
    assert [part.shape.as_list() for part in found] == [[0]] * 5


def test_what_is_no_tag_is_refused():
    with pytest.raises(ValueError, match="the tag 'good' is none of BIO or BIOES"):
        Tags(["O", "good"])


TEXTS = [
    "",
    "  \t\n",
    "one",
    " New York\tis\n\nbig ",
    "caf\u00e9 \U0001f3ac\ufe0f \u6211\u4eec a\u00a0b\u3000c\u2003d",
    "x",
    "e\u0301a \u0627\u0644",
]


@pytest.mark.parametrize("separator", [" ", ""])
def test_words_are_what_stands_between_white_space_or_characters(separator):
    """With a token for each character, so that each word has one."""
    pattern = r"\S+" if separator else r"\S"
    offsets = [np.cumsum([0, *(len(one.encode()) for one in text)]) for text in TEXTS]
    starts = tf.ragged.constant([one[:-1].tolist() for one in offsets], dtype=tf.int64)
    ends = tf.ragged.constant([one[1:].tolist() for one in offsets], dtype=tf.int64)

    @tf.function(autograph=False)
    def find(texts, starts, ends):
        return find_words(texts, starts, ends, separator=separator)

    found = find(tf.constant(TEXTS), starts, ends)
    expected = [
        (number, match.start(), offsets[number][match.start()], offsets[number][match.end()])
        for number, text in enumerate(TEXTS)
        for match in re.finditer(pattern, text)
    ]
    assert list(zip(*(part.numpy().tolist() for part in found), strict=True)) == expected


def test_words_without_a_token_are_left_out_and_the_first_token_within_a_word_counts():
    """The tokens: nothing, "b", "b c" (from the blank on), "c", past a word of no token."""
    texts = tf.constant(["ab b c d", "e f"])
    starts = tf.ragged.constant([[0, 1, 4, 5, 2], [2]], dtype=tf.int64)
    ends = tf.ragged.constant([[0, 2, 6, 6, 3], [3]], dtype=tf.int64)
    found = find_words(texts, starts, ends, separator=" ")
    assert [part.numpy().tolist() for part in found] == [
        [0, 0, 1],
        [1, 3, 0],
        [0, 5, 2],
        [2, 6, 3],
    ]


def test_brackets_and_quotes_that_open_a_word_are_passed_over():
    """The tokens are single bytes, but for a quote of three; what is nothing else keeps its own."""
    texts = tf.constant(['(Ada Byron) "', "\u201cHi (", "[(x"])
    starts = [list(range(13)), [0, 3, 4, 6], [0, 1, 2]]
    ends = [list(range(1, 14)), [3, 4, 5, 7], [1, 2, 3]]
    tokens = [tf.ragged.constant(part, dtype=tf.int64) for part in (starts, ends)]
    found = find_words(texts, *tokens, separator=" ")
    assert found.token.numpy().tolist() == [1, 5, 12, 1, 3, 2]
    assert found.start.numpy().tolist() == [0, 5, 12, 0, 6, 0]
    assert find_words(texts, *tokens, separator="").token[0] == 0


def test_without_a_separator_a_token_s_characters_are_one_word():
    """The tokens: "NBA", two Chinese characters, "a", "b"; the last one of a text takes all."""
    texts = tf.constant(["NBA\u5317\u4eac a", "b\u5317\u4eac"])
    starts = tf.ragged.constant([[0, 3, 10], [0, 1]], dtype=tf.int64)
    ends = tf.ragged.constant([[3, 9, 11], [1, 7]], dtype=tf.int64)
    found = find_words(texts, starts, ends, separator="")
    assert found.start.numpy().tolist() == [0, 3, 10, 0, 1]
    assert found.end.numpy().tolist() == [3, 9, 11, 1, 7]


def test_bytes_that_are_no_utf8_do_no_harm():
    texts = tf.constant([b"\xff\xfe a", b" \x80 b", b"\x80", b"a\x80\x80"])
    lengths = [len(one) for one in texts.numpy()]
    starts = tf.ragged.range(tf.constant(lengths, tf.int64))
    for separator in (" ", ""):
        found = find_words(texts, starts, starts + 1, separator=separator)
        assert (found.end.numpy() > found.start.numpy()).all()
        assert set(found.text.numpy()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("entity", "told"),
    [
        ("Paris", "Paris"),
        ("Paris.", "Paris"),
        ("(Paris),", "Paris"),
        ("(Paris).", "Paris"),
        ("(U.S.).", "U.S."),
        ('"Paris".', "Paris"),
        ('"Paris."', "Paris"),
        ("\u201cLe Caf\u00e9\u201d!", "Le Caf\u00e9"),
        ("U.S.", "U.S."),
        ("O'Neill's", "O'Neill's"),
        ("@you", "@you"),
        ("...", "..."),
        ("?!", "?!"),
        (":)", ":)"),
    ],
)
def test_signs_at_the_ends_of_an_entity_are_taken_off(entity, told):
    text = f"\u00e9 {entity} x"
    start, end = 3, 3 + len(entity.encode())
    one = Entities(*(tf.constant([value]) for value in (0, 0, 1.0)), *map(as_int64, (start, end)))
    found = without_punctuation(tf.constant([text]), one)
    assert spoken(tf.constant([text]), found).numpy()[0].decode() == told
    content = text.encode()[found.start.numpy()[0] : found.end.numpy()[0]]
    assert content.decode() == told


def as_int64(value):
    return tf.constant([value], tf.int64)
