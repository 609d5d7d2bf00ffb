"""Texts whose words a segmenter told apart, as in Chinese: masked by whole words."""

import numpy as np
import pytest
from drawn import take
from parts import in_parts

from tfpt.cli import main
from tfpt.pipelines import (
    Documents,
    Drawing,
    Masking,
    Tokenizer,
    load_tokenizer,
    read_documents,
    train_byte_pair,
    verify_store,
    write_store,
)
from tfpt.pipelines.store import WORD_STARTS

CHARACTERS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳"
WORDS = [CHARACTERS[first : first + size] for size in (1, 2, 3) for first in range(0, 30, size)]
TOKENIZER = Tokenizer(
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS, "a", "##b", "\uff0c"]
)


def sentences(number, seed=0):
    """Sentences with a blank between words; words of one to three characters."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(3, 15))) for _ in range(number)]


def documents(seed=0):
    texts = sentences(400, seed)
    return [tuple(texts[first : first + 8]) for first in range(0, 400, 8)]


def segmented(texts):
    return Documents(lambda: texts, segmented=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(
        segmented(documents()), TOKENIZER, tmp_path_factory.mktemp("stores") / "segmented"
    )


def test_the_tokens_are_those_of_the_text_without_blanks(store, tmp_path):
    plain = [tuple(sentence.replace(" ", "") for sentence in one) for one in documents()]
    other = write_store(plain, TOKENIZER, tmp_path / "plain")
    for name in ("token_ids", "sentence_offsets", "document_offsets"):
        np.testing.assert_array_equal(getattr(store, name), getattr(other, name))
    assert other.word_starts is None
    verify_store(store)


def test_words_begin_where_the_segmenter_said(store):
    words = [word for one in documents() for sentence in one for word in sentence.split()]
    expected = [int(place == 0) for word in words for place in range(len(word))]
    np.testing.assert_array_equal(store.word_starts, expected)


def test_what_gives_no_token_begins_no_word(tmp_path):
    texts = [("天地 \u200e 玄黄 \uff0c", "\u200e \u0000"), ("ab a\uff0cb",)]
    store = write_store(segmented(texts), TOKENIZER, tmp_path / "s")
    assert list(store.word_starts) == [1, 0, 1, 0, 1, 1, 0, 1, 0, 0]
    assert list(np.diff(store.sentence_offsets)) == [5, 5]


def masked_words(store, batches):
    """For each word that lies in a row, how many of its tokens are masked, and how many it has."""
    table = {}
    ids, starts = np.array(store.token_ids), np.array(store.word_starts) > 0
    for inputs, labels, weights in batches:
        for row in range(len(inputs["token_ids"])):
            chosen = weights["masked_lm"][row] > 0
            places = inputs["mask_positions"][row][chosen]
            tokens = inputs["token_ids"][row].copy()
            tokens[places] = labels["masked_lm"][row][chosen]
            length = inputs["padding_mask"][row].sum() - 2
            text = tokens[1 : 1 + length]
            first = table.setdefault(tuple(text[:12]), find(ids, text))
            if first is None:
                continue
            borders = np.flatnonzero(starts[first : first + length])
            for begin, end in zip(borders, np.append(borders[1:], length), strict=True):
                inside = (places >= 1 + begin) & (places < 1 + end)
                yield inside.sum(), end - begin


def find(ids, text):
    """The one place where a text stands in the store; None where there are several."""
    candidates = np.flatnonzero(ids[: len(ids) - len(text) + 1] == text[0])
    places = [at for at in candidates if np.array_equal(ids[at : at + len(text)], text)]
    return places[0] if len(places) == 1 else None


def test_whole_words_are_masked(store):
    drawing = Drawing(pairing="single", masking=Masking(unit="word"))
    counts = list(masked_words(store, take(store, 8, drawing=drawing)))
    assert len(counts) > 3000
    assert all(masked in (0, size) for masked, size in counts)
    # By the vocabulary alone, each character is a word.
    alone = list(masked_words(store, take(store, 8, drawing=Drawing(pairing="single"))))
    assert any(0 < masked < size for masked, size in alone)


def test_a_mix_takes_words_from_where_they_are_told(store, tmp_path):
    plain = [tuple(sentence.replace(" ", "") for sentence in one) for one in documents(seed=1)]
    other = write_store(plain, TOKENIZER, tmp_path / "plain")
    drawing = Drawing(pairing="single", masking=Masking(unit="word"))
    counts = list(masked_words(store, take([store, other], 8, drawing=drawing)))
    assert len(counts) > 1000
    assert all(masked in (0, size) for masked, size in counts)


def test_packed_rows_mask_whole_words_too(store):
    drawing = Drawing(pairing="single", layout="packed", masking=Masking(unit="word"))
    batches = take(store, 8, drawing=drawing, sequence_length=64)
    alone = [
        batch for batch in batches if (batch[0]["text_ids"].max(axis=1) == 1).any()
    ]  # rows of one text can be told apart as above
    rows = [
        [{name: part[name][row : row + 1] for name in part} for part in batch]
        for batch in alone
        for row in np.flatnonzero(batch[0]["text_ids"].max(axis=1) == 1)
    ]
    counts = list(masked_words(store, rows))
    assert len(counts) > 100
    assert all(masked in (0, size) for masked, size in counts)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_parts_and_processes_do_not_change_a_byte(store, tmp_path, num_workers):
    given = in_parts(documents(), 5, **{f"part{n}": {"segmented": True} for n in range(5)})
    object.__setattr__(given, "segmented", True)
    written = write_store(given, TOKENIZER, tmp_path / "s", num_workers=num_workers)
    for name in (WORD_STARTS, "token_ids.bin", "store.json"):
        assert (written.path / name).read_bytes() == (store.path / name).read_bytes()


def test_files_are_read_as_segmented_where_it_is_said(store, tmp_path, write, tfpt):
    text = "\n\n".join("\n".join(document) for document in documents())
    path = write("texts.txt", text)
    assert not read_documents(path).segmented
    assert all(part.segmented for part in read_documents(path, segmented=True).parts(1000))
    TOKENIZER.save(tmp_path / "vocab.txt")
    arguments = (path, "--vocabulary", tmp_path / "vocab.txt", "--out", tmp_path / "s")
    tfpt("store", *arguments, "--segmented")
    np.testing.assert_array_equal(
        np.fromfile(tmp_path / "s" / WORD_STARTS, np.uint8), store.word_starts
    )
    assert load_tokenizer(tmp_path / "s").sha256 == TOKENIZER.sha256


def test_only_a_store_keeps_where_words_begin_and_is_told_of_it():
    names = ("clean", "vocabulary", "store")
    told = [{option.name for option in main.commands[name].params} for name in names]
    assert ["segmented" in options for options in told] == [False, False, True]


def test_a_vocabulary_that_has_white_space_in_it_is_refused(tmp_path):
    texts = [("天地 玄黄",)] * 20
    tokenizer = train_byte_pair(texts, 270)
    with pytest.raises(ValueError, match="WordPiece vocabulary, received one of the kind byte"):
        write_store(segmented(texts), tokenizer, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []
