"""Words of a domain appended to a vocabulary."""

import pytest

from tfpt import pipelines
from tfpt.pipelines import extend_wordpiece

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["the", "gene", "codes", "for", "pro", "##tein", "##te", "##ase", "kin", "a", "."]
BEFORE = pipelines.WordPiece([*SPECIALS, *PIECES])
# protein: 2 pieces, 6 times; proteinase: 3 pieces, 5 times; kinase: 2 pieces, 4 times.
TEXTS = [["the gene codes for a protein ."] * 6, ["a Proteinase ."] * 5, ["a kinase ."] * 4]


def test_words_that_save_most_pieces_come_first_and_entries_keep_their_ids():
    extended = extend_wordpiece(BEFORE, TEXTS, 2, min_frequency=4)
    assert extended.vocabulary == (*BEFORE.vocabulary, "proteinase", "protein")
    assert extended.lowercase == BEFORE.lowercase
    (encoding,) = extended.encode(["A proteinase."])
    assert [extended.vocabulary[id_] for id_ in encoding.ids] == ["a", "proteinase", "."]


def test_rare_words_whole_words_and_unknown_ones_are_left_out():
    texts = [*TEXTS, ["xyz the"] * 50]
    extended = extend_wordpiece(BEFORE, texts, 10, min_frequency=5)
    assert extended.vocabulary[len(BEFORE.vocabulary) :] == ("proteinase", "protein")


def test_the_order_of_the_documents_changes_nothing():
    one, other = (
        extend_wordpiece(BEFORE, texts, 3, min_frequency=1) for texts in (TEXTS, TEXTS[::-1])
    )
    assert one.sha256 == other.sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_entries": 0}, "`num_entries` must be at least 1; received 0"),
        ({"num_entries": 1, "min_frequency": 0}, "`min_frequency` must be at least 1; received 0"),
        ({"num_entries": 1, "min_frequency": 7}, "no word that occurs 7 times and is cut"),
    ],
)
def test_what_cannot_be_appended_is_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        extend_wordpiece(BEFORE, TEXTS, **arguments)


def test_another_kind_of_vocabulary_is_refused():
    bytes_ = pipelines.train_byte_pair([["a cat sat on a mat"] * 3], 265)
    with pytest.raises(
        ValueError, match="appended to a WordPiece vocabulary; this one is byte pair"
    ):
        extend_wordpiece(bytes_, TEXTS, 1)
