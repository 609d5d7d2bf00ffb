"""Vocabularies: their entries and order, and that the same text gives the same one."""

import json
import os
import random
import subprocess
import sys

import pytest
from hard_texts import every_line

from tfpt.pipelines.byte_pair import byte_alphabet
from tfpt.pipelines.documents import Documents
from tfpt.pipelines.tokenizer import SPECIAL_TOKENS
from tfpt.pipelines.vocabulary import train_byte_pair, train_unigram, train_wordpiece

TRAINERS = {"wordpiece": train_wordpiece, "byte_pair": train_byte_pair, "unigram": train_unigram}
# A vocabulary of texts and its size from a process of its own.
IN_PROCESS = """
import json, sys
from tfpt.pipelines import vocabulary
documents, kind, size = json.load(sys.stdin)
print(getattr(vocabulary, "train_" + kind)(documents, size).sha256)
"""

ENGLISH = [
    ("The low lower lowest wide wider widest newer newest.", "A new lower tide is wider."),
    ("Newest tides widen the lowest rivers.", "The river is low, the tide is new."),
] * 5
CHINESE = [("\u6211\u60f3\u5728\u82f9\u679c\u5de5\u4f5c\uff0c\u4f60\u5462\uff1f",) * 3] * 2


def tokens(tokenizer, text):
    return tokenizer.ids_to_tokens(tokenizer.tokenize([text]))[0]


def test_the_vocabulary_has_the_size_asked_for_and_special_tokens_first():
    tokenizer = train_wordpiece(ENGLISH, 55)
    assert tokenizer.vocabulary_size == 55
    assert tokenizer.vocabulary[:5] == SPECIAL_TOKENS
    assert tokenizer.special_ids == (0, 1, 2, 3, 4)
    assert tokenizer.lowercase


def test_the_training_text_has_no_unknown_words():
    tokenizer = train_wordpiece(ENGLISH, 55)
    ids = tokenizer.tokenize([sentence for document in ENGLISH for sentence in document])
    assert tokenizer.unknown_id not in ids.flat_values.numpy()


@pytest.mark.parametrize("lowercase", [True, False])
def test_chinese_text_is_learned_as_single_characters(lowercase):
    tokenizer = train_wordpiece(CHINESE, 16, lowercase=lowercase, min_frequency=1)
    expected = list("\u6211\u60f3\u5728\u82f9\u679c\u5de5\u4f5c\uff0c\u4f60\u5462\uff1f")
    assert tokens(tokenizer, CHINESE[0][0]) == expected
    assert not any(entry.startswith("##") for entry in tokenizer.vocabulary)


def test_case_and_accents_are_kept_if_not_lowercase():
    documents = [("\u00c9cole \u00c9cole",), ("\u00c9cole Ecole",)]
    assert "\u00c9" in train_wordpiece(documents, 15, lowercase=False).vocabulary
    folded = train_wordpiece(documents, 13, lowercase=True).vocabulary
    assert "\u00c9" not in folded
    assert "e" in folded


def test_the_alphabet_can_be_limited():
    documents = [("aaaa aaa aa", "bbb bb", "c")] * 3
    assert "c" in train_wordpiece(documents, 11).vocabulary
    assert "c" not in train_wordpiece(documents, 11, limit_alphabet=2).vocabulary


def test_real_text_gives_a_vocabulary_without_unknown_words(shared_data):
    path = shared_data("lm_novels_en") / "Morris_Wood_1894.txt"
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    tokenizer = train_wordpiece([lines], 3_000)
    ids = tokenizer.tokenize(lines).flat_values.numpy()
    assert tokenizer.unknown_id not in ids
    assert ids.max() > 2_900


@pytest.mark.parametrize("documents", [[], [()], [("", " \n", "\t")]])
def test_a_corpus_without_words_is_refused(documents):
    with pytest.raises(ValueError, match="no text to learn a vocabulary from"):
        train_wordpiece(documents, 100)


def test_a_vocabulary_larger_than_the_text_gives_names_the_number_it_gives():
    with pytest.raises(ValueError, match=r"gives \d+ entries at min_frequency=2") as caught:
        train_wordpiece(ENGLISH, 30_000)
    assert "Lower vocabulary_size" in str(caught.value)
    number = int(str(caught.value).split("gives ")[1].split(" ")[0])
    assert train_wordpiece(ENGLISH, number).vocabulary_size == number
    with pytest.raises(ValueError, match=f"gives {number} entries"):
        train_wordpiece(ENGLISH, number + 1)


def test_a_vocabulary_too_small_for_the_characters_names_the_number_needed():
    with pytest.raises(ValueError, match=r"no room for the characters.* (\d+) entries") as caught:
        train_wordpiece(ENGLISH, 10)
    number = int(str(caught.value).split("they are ")[1].split(" ")[0])
    assert train_wordpiece(ENGLISH, number).vocabulary_size == number


@pytest.mark.parametrize(
    "wrong", [{"vocabulary_size": 5}, {"min_frequency": 0}, {"limit_alphabet": 0}]
)
def test_numbers_out_of_range_are_refused_before_anything_is_read(wrong):
    def never():
        raise AssertionError("read")

    with pytest.raises(ValueError, match=next(iter(wrong))):
        train_wordpiece(Documents(never), **{"vocabulary_size": 60, **wrong})


def test_an_error_of_the_source_comes_through():
    def broken():
        yield ("a b c",)
        raise ValueError("line 7 is not UTF-8")

    with pytest.raises(ValueError, match="line 7 is not UTF-8"):
        train_wordpiece(Documents(broken), 60)


@pytest.mark.parametrize(("kind", "size"), [("wordpiece", 55), ("byte_pair", 290), ("unigram", 30)])
def test_every_kind_has_the_size_asked_for_and_special_tokens_first(kind, size):
    tokenizer = TRAINERS[kind](ENGLISH, size)
    assert tokenizer.vocabulary_size == size
    assert tokenizer.vocabulary[:5] == SPECIAL_TOKENS
    assert tokenizer.special_ids == (0, 1, 2, 3, 4)
    texts = [sentence for document in ENGLISH for sentence in document]
    assert tokenizer.unknown_id not in tokenizer.tokenize(texts).flat_values.numpy()


# ---- Order


def test_characters_are_sorted_and_pieces_come_by_their_count_then_by_their_text():
    # "ab" 5 times, "cd" and "ca" 3 times, "bd" twice.
    documents = [("ab ab ab ab ab cd cd cd ca ca ca bd bd",)]
    entries = train_wordpiece(documents, 16).vocabulary[5:]
    assert entries == ("a", "b", "c", "d", "##a", "##b", "##d", "ab", "ca", "cd", "bd")
    entries = train_byte_pair([("ab ab ab",)], 263).vocabulary[5:]
    assert entries[:256] == tuple(sorted(byte_alphabet()))
    assert entries[256:] == ("ab", "\u0120ab")


def test_a_wordpiece_entry_counts_as_often_as_its_pair_was_there(shared_data):
    (lines,) = every_line(shared_data, "wikitext")
    tokenizer = train_wordpiece([lines[:2_000]], 2_000)
    ids = tokenizer.tokenize(lines[:2_000]).flat_values.numpy()
    longer = [n for n, entry in enumerate(tokenizer.vocabulary) if len(entry.strip("#")) > 1][5:]
    first, last = longer[: len(longer) // 4], longer[-len(longer) // 4 :]
    assert sum((ids == n).sum() for n in first) > 3 * sum((ids == n).sum() for n in last)


def test_unigram_characters_are_sorted_and_pieces_come_by_their_probability():
    tokenizer = train_unigram(ENGLISH, 34)
    entries = tokenizer.vocabulary[5:]
    single = [entry for entry in entries if len(entry) == 1]
    assert list(entries[: len(single)]) == sorted(single)
    scores = [piece.score for piece in tokenizer._proto.pieces][5 + len(single) :]
    assert scores == sorted(scores, reverse=True)
    # So are sums of them exact, whatever their order; see the class.
    assert all(score * 256 == int(score * 256) for score in scores)


# ---- The same text, the same vocabulary


@pytest.mark.parametrize(
    ("kind", "size"), [("wordpiece", 400), ("byte_pair", 600), ("unigram", 200)]
)
def test_the_order_of_the_documents_changes_nothing(kind, size, docstrings):
    texts = [[docstring.text] for docstring in docstrings["python"][:300]]
    expected = TRAINERS[kind](texts, size)
    shuffled = random.Random(0).sample(texts, len(texts))
    assert TRAINERS[kind](shuffled, size) == expected
    # A third of the text.
    size_of_all = sum(len(text.encode()) for (text,) in texts)
    part = {"max_megabytes": size_of_all / 2 / 1e6, "seed": 3}
    sampled = TRAINERS[kind](texts, size // 2, **part)
    assert TRAINERS[kind](shuffled, size // 2, **part) == sampled
    assert sampled != TRAINERS[kind](texts, size // 2)


def in_five_processes(documents, kind, size):
    """The sha256 of the vocabulary by each of five processes that hash strings differently."""
    return [
        subprocess.run(
            [sys.executable, "-c", IN_PROCESS],
            input=json.dumps([documents, kind, size]),
            env={**os.environ, "PYTHONHASHSEED": str(number)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in range(5)
    ]


@pytest.mark.parametrize(
    ("kind", "size"), [("wordpiece", 1_500), ("byte_pair", 1_500), ("unigram", 800)]
)
def test_five_processes_give_one_sha256(kind, size, docstrings):
    """The trainers of the `tokenizers` library give another vocabulary each time."""
    documents = [[docstring.text] for docstring in docstrings["numpy"]]
    digests = in_five_processes(documents, kind, size)
    assert len(set(digests)) == 1
    assert len(digests[0]) == 65


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRAINERS)
def test_five_processes_give_one_sha256_for_the_novels(kind, shared_data):
    documents = list(every_line(shared_data, "novels"))
    digests = in_five_processes(documents, kind, 8_000 if kind == "unigram" else 30_522)
    assert len(set(digests)) == 1


# ---- What the trainers refuse


@pytest.mark.parametrize("train", TRAINERS.values())
def test_no_kind_learns_from_nothing(train):
    with pytest.raises(ValueError, match="no text to learn a vocabulary from"):
        train([("", " \n")], 300)


@pytest.mark.parametrize("kind", ["byte_pair", "unigram"])
def test_the_number_of_entries_a_text_gives_is_named(kind):
    with pytest.raises(ValueError, match=r"This text gives \d+ entries") as caught:
        TRAINERS[kind](ENGLISH, 9_000)
    number = int(str(caught.value).split("gives ")[1].split(" ")[0])
    assert TRAINERS[kind](ENGLISH, number).vocabulary_size == number


def test_a_unigram_vocabulary_too_small_for_the_characters_names_the_number_needed():
    with pytest.raises(ValueError, match=r"no room for the characters.* (\d+) entries") as caught:
        train_unigram(ENGLISH, 10)
    number = int(str(caught.value).split("they are ")[1].split(" ")[0])
    with pytest.raises(ValueError, match=r"no room|gives"):
        train_unigram(ENGLISH, number - 1)


@pytest.mark.parametrize("wrong", [{"character_coverage": 0}, {"character_coverage": 1.1}])
def test_a_share_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="in \\(0, 1]"):
        train_unigram(ENGLISH, 30, **wrong)


def test_the_bytes_count_too():
    with pytest.raises(
        ValueError, match="the 5 special tokens and the 256 bytes, so it must be 261"
    ):
        train_byte_pair(ENGLISH, 260)
    assert train_byte_pair(ENGLISH, 261).merges == ()


@pytest.mark.parametrize("train", TRAINERS.values())
def test_a_sample_of_nothing_is_refused_before_anything_is_read(train):
    def never():
        raise AssertionError("read")

    with pytest.raises(ValueError, match="`max_megabytes`"):
        train(Documents(never), 300, max_megabytes=0)
