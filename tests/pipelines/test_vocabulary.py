import pytest

from tfpt.pipelines.documents import Documents
from tfpt.pipelines.tokenizer import SPECIAL_TOKENS
from tfpt.pipelines.vocabulary import train_wordpiece

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


def test_characters_then_continued_characters_then_pieces_are_sorted():
    entries = train_wordpiece(ENGLISH, 55).vocabulary[5:]
    characters = [entry for entry in entries if len(entry) == 1]
    continued = [entry for entry in entries if len(entry) == 3 and entry.startswith("##")]
    pieces = [entry for entry in entries if entry not in {*characters, *continued}]
    assert list(entries) == [*sorted(characters), *sorted(continued), *sorted(pieces)]
    assert {"a", "t", ".", ","} <= set(characters)
    assert {"the", "low"} <= set(pieces)


def test_two_runs_give_the_same_vocabulary_where_no_pieces_tie():
    # "ab" 9 times, "cd" 4 times, and room for one of them.
    documents = [("ab ab cd ab",), ("ab cd",), ("ab cd",), ("ab ab cd ab",), ("ab",)]
    vocabularies = {train_wordpiece(documents, 12).vocabulary for _ in range(5)}
    assert vocabularies == {(*SPECIAL_TOKENS, "a", "b", "c", "d", "##b", "##d", "ab")}


def test_the_training_text_has_no_unknown_words():
    tokenizer = train_wordpiece(ENGLISH, 55)
    ids = tokenizer.tokenize([sentence for document in ENGLISH for sentence in document])
    assert tokenizer.unknown_id not in ids.flat_values.numpy()


@pytest.mark.parametrize("lowercase", [True, False])
def test_chinese_text_is_learned_as_single_characters(lowercase):
    tokenizer = train_wordpiece(CHINESE, 16, lowercase=lowercase, min_frequency=1)
    expected = list("\u6211\u60f3\u5728\u82f9\u679c\u5de5\u4f5c\uff0c\u4f60\u5462\uff1f")
    if lowercase:  # full-width punctuation is folded, in training as in the graph
        expected[7], expected[10] = ",", "?"
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


def test_a_progress_bar_changes_nothing(capsys):
    plain = train_wordpiece(ENGLISH, 55)
    assert capsys.readouterr().out == ""
    shown = train_wordpiece(Documents(lambda: ENGLISH), 55, progress=True)
    assert shown.special_ids == plain.special_ids
    assert shown.vocabulary_size == plain.vocabulary_size
