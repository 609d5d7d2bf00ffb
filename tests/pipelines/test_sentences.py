import textwrap

import pytest

from tfpt.pipelines.sentences import MAX_PARAGRAPH, split_lines, split_text

PROSE = (
    "Mr. Smith went to the harbour at 3.14 p.m. and looked for his boat. It was not there! "
    "He asked an old sailor, who was mending a net in the shade of the wall. The man shook his "
    "head without a word. Then he pointed to the sea with the stem of his pipe. "
)
SENTENCES = [
    "Mr. Smith went to the harbour at 3.14 p.m. and looked for his boat.",
    "It was not there!",
    "He asked an old sailor, who was mending a net in the shade of the wall.",
    "The man shook his head without a word.",
    "Then he pointed to the sea with the stem of his pipe.",
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_hard_wrapped_text_is_joined_before_it_is_split(line_end):
    wrapped = textwrap.fill(PROSE * 4, 70).replace("\n", line_end)
    assert split_text(wrapped) == SENTENCES * 4


def test_each_line_is_a_paragraph_if_text_is_not_hard_wrapped():
    lines = ["A HEADING WITHOUT A STOP", PROSE, "Another heading", PROSE + PROSE]
    assert split_text("\n".join(lines)) == [
        *(lines[0], *SENTENCES),
        *(lines[2], *SENTENCES, *SENTENCES),
    ]


def test_blank_lines_end_a_paragraph_in_both_kinds():
    wrapped = textwrap.fill("no stop at the end of this paragraph, however long it is " * 5, 60)
    assert len(split_text(f"{wrapped}\n\n \t\n{wrapped}\n")) == 2
    assert split_text("a heading\n\n\n" + PROSE) == ["a heading", *SENTENCES]


def test_a_short_line_ends_a_paragraph_in_hard_wrapped_text():
    wrapped = textwrap.fill(PROSE * 3, 70)
    text = f"{wrapped}\nCHAPTER II\n{wrapped}\n"
    assert split_text(text) == [*SENTENCES * 3, "CHAPTER II", *SENTENCES * 3]


def test_a_line_that_ends_a_sentence_with_room_left_ends_a_paragraph():
    # An abbreviation at the end of a full line does not; with room for the next word it does.
    full = "x" * 57 + " he met Dr.\n"
    short = "y" * 35 + " he met Dr.\n"
    rest = ("Brown and his sister in the park, " * 20)[:-2]
    assert len(split_text(full + textwrap.fill(rest, 70))) == 1
    assert len(split_text(short + textwrap.fill(rest, 70))) == 2


def test_white_space_is_folded():
    assert split_text(" One \t two.\u00a0 Three. ") == ["One two.", "Three."]


@pytest.mark.parametrize("text", ["", "\n\n", " \t \r\n "])
def test_no_text_gives_no_sentence(text):
    assert split_text(text) == []


def test_chinese_is_split_at_its_own_full_stops():
    text = "\u4ed6\u6765\u4e86\u3002\u4f60\u597d\uff01\u771f\u7684\u5417\uff1f"
    assert split_text(text, "zh") == [text[:4], text[4:7], text[7:]]


def test_a_paragraph_without_end_is_cut():
    num_lines = 3 * MAX_PARAGRAPH // 60
    sentences = list(split_lines("w" * 59 + "\n" for _ in range(num_lines)))
    assert 3 <= len(sentences) <= 4
    assert sum(sentence.count("w") for sentence in sentences) == 59 * num_lines


@pytest.mark.parametrize(
    ("novel", "width"),
    [
        ("Cbronte_Jane_1847", None),  # one paragraph a line
        ("Braddon_Audley_1862", None),  # the same, with blank lines
        ("Cbronte_Villette_1853", 70),  # hard-wrapped, no blank lines
        ("Haggard_Mines_1885", 71),  # hard-wrapped, blank lines
    ],
)
def test_no_character_of_a_novel_is_lost_and_sentences_have_the_right_length(
    shared_data, novel, width
):
    path = shared_data("lm_novels_en") / f"{novel}.txt"
    text = path.read_text(encoding="utf-8-sig")
    sentences = split_text(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    # A sentence that ended at line ends would have 12 words at most in the wrapped ones.
    assert 12 < len(text.split()) / len(sentences) < 30
    ended = sum(sentence.rstrip("\"'\u201d)").endswith((".", "!", "?")) for sentence in sentences)
    assert ended / len(sentences) > 0.9
    if width:
        assert max(map(len, text.splitlines())) < 1.2 * width
