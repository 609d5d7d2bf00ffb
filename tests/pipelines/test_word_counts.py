"""Counting words of a corpus, or of a sample that depends on nothing but content and seed."""

import random
from collections import Counter

import hypothesis
import pytest
import tokenizers
from hard_texts import UNICODE
from hypothesis import strategies

from tfpt.pipelines import bert_normalizer, word_counts
from tfpt.pipelines.documents import Documents
from tfpt.pipelines.word_counts import count_words

BLANKS = word_counts.blank_cutting(100)
BYTE_PAIR = word_counts.byte_pair_cutting()
# 2,000 documents of about 100 bytes, each with a word of its own.
CORPUS = [(f"own{number} " + "the same words " * 6,) for number in range(2_000)]
TEXTS = UNICODE | strategies.text(strategies.sampled_from("ab' 1!\t\n\x1c\x85\u3000\u00e9"))


def wordpiece_cutting(lowercase, longest=100):
    normalizer = bert_normalizer.reference(lowercase, lowercase)
    return word_counts.wordpiece_cutting(normalizer, lowercase=lowercase, longest=longest)


def own_words(counts):
    return {word for word in counts if word.startswith("own")}


def counted(documents, max_megabytes=1.0, seed=0):
    return count_words(documents, BLANKS, max_megabytes=max_megabytes, seed=seed)


def test_all_of_a_small_text_is_counted():
    counts = counted(CORPUS)
    assert len(own_words(counts)) == 2_000
    assert counts["same"] == 12_000


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_is_half_to_all_of_what_is_allowed(seed):
    size = len(CORPUS[0][0])
    for allowed in (0.15, 0.1, 0.05, 0.02):
        chosen = len(own_words(counted(CORPUS, allowed, seed)))
        # Half of the documents are dropped at a time: within 5 standard deviations.
        assert 0.5 * allowed * 1e6 - 5 * size * chosen**0.5 < chosen * size <= allowed * 1e6


def test_the_sample_does_not_depend_on_the_order_of_the_documents():
    shuffled = random.Random(0).sample(CORPUS, len(CORPUS))
    for seed in range(3):
        assert counted(CORPUS, 0.05, seed) == counted(shuffled, 0.05, seed)
        assert counted(CORPUS, 0.05, seed) == counted(CORPUS[::-1], 0.05, seed)


def test_other_seeds_choose_other_documents_and_the_same_seed_the_same():
    samples = [own_words(counted(CORPUS, 0.05, seed)) for seed in (0, 1, -1, 2**70)]
    assert len({frozenset(sample) for sample in samples}) == 4
    # Independent choices of a quarter share about a sixteenth of all.
    assert 40 < len(samples[0] & samples[1]) < 220
    assert own_words(counted(CORPUS, 0.05, 0)) == samples[0]


def test_a_smaller_sample_is_part_of_a_larger_one():
    assert own_words(counted(CORPUS, 0.02)) < own_words(counted(CORPUS, 0.1))


def test_a_long_document_is_sampled_in_parts():
    sentences = [sentence for document in CORPUS for sentence in document] * 10
    chosen = counted([sentences], 0.5)
    assert 0 < sum(chosen[word] for word in own_words(chosen)) < len(sentences) / 2
    assert own_words(counted([sentences], 10)) == own_words(counted(CORPUS))


def test_the_documents_are_read_once_as_a_stream():
    reads = []

    def source():
        reads.append(1)
        yield from CORPUS

    assert counted(Documents(source), 0.05) == counted(CORPUS, 0.05)
    assert reads == [1]


def test_chunks_are_turned_into_words_before_they_become_many(monkeypatch):
    whole = count_words(CORPUS, BYTE_PAIR, max_megabytes=1)
    monkeypatch.setattr(word_counts, "_MOST_CHUNKS", 50)
    assert count_words(CORPUS, BYTE_PAIR, max_megabytes=1) == whole


def test_documents_are_dropped_where_their_words_are_too_many(monkeypatch):
    whole = counted(CORPUS)
    monkeypatch.setattr(word_counts, "_MOST_CHARACTERS", 6_000)
    for chunks in (50, 1_000_000):  # the bound is met while reading, or in the end
        monkeypatch.setattr(word_counts, "_MOST_CHUNKS", chunks)
        part = counted(CORPUS)
        assert part == counted(CORPUS[::-1])
        assert 0.2 * 6_000 < sum(map(len, part)) <= 6_000
        assert own_words(part) < own_words(whole)


def test_a_sample_that_came_out_empty_is_refused():
    with pytest.raises(ValueError, match=r"Nothing is left .* max_megabytes=0\.01: .* Raise it"):
        counted([("the same " * 1_000,)] * 100, 0.01)


@pytest.mark.parametrize("wrong", [0, -1, float("nan")])
def test_a_size_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=f"more than 0; received {wrong}"):
        counted(CORPUS, wrong)


# ---- Words


def test_bert_s_words_are_cut_around_punctuation_and_chinese_characters():
    counts = count_words(
        [("Don't \u6211\u60f3", "na\u00efve")], wordpiece_cutting(True), max_megabytes=1
    )
    assert counts == Counter(["don", "'", "t", "\u6211", "\u60f3", "naive"])


def test_words_that_become_unknown_are_left_out():
    text = ("a" * 100 + " " + "b" * 101 + " \u00e9" + "c" * 100,)
    assert set(count_words([text], wordpiece_cutting(True), max_megabytes=1)) == {"a" * 100}


def test_gpt_2_s_words_have_the_blank_before_them():
    counts = count_words([("the cat's  hat", "the end ")], BYTE_PAIR, max_megabytes=1)
    assert counts == Counter(
        ["the", "\u0120cat", "'s", "\u0120", "\u0120hat", "the", "\u0120end", "\u0120"]
    )


def test_words_of_scripts_without_blanks_are_cut_at_a_length():
    counts = count_words([("\u6211" * 250, "ab")], BLANKS, max_megabytes=1)
    assert counts == {"\u6211" * 100: 2, "\u6211" * 50: 1, "ab": 1}


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(strategies.lists(TEXTS, max_size=5), strategies.booleans())
def test_bert_s_words_of_any_text_are_the_library_s(texts, lowercase):
    normalizer = bert_normalizer.reference(lowercase, lowercase)
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    expected = Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
        if len(word) <= 100
    )
    assert count_words([texts], wordpiece_cutting(lowercase), max_megabytes=1) == expected


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(strategies.lists(TEXTS, max_size=5))
def test_gpt_2_s_words_of_any_text_are_the_library_s(texts):
    splitter = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    expected = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    assert count_words([texts], BYTE_PAIR, max_megabytes=1) == expected
