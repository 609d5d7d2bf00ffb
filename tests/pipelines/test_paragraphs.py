"""Running text to paragraphs."""

# ruff: noqa: RUF001 (characters that look like others are what is tested)

import textwrap

import pytest

from tfpt.pipelines.paragraphs import paragraphs

WORDS = "no stop at the end of this paragraph, however long it is " * 5
PROSE = "He asked an old sailor, who was mending a net in the shade of the wall. " * 6


def whole(text):
    """The paragraphs of a text, each joined from its pieces."""
    found, rest = [], ""
    for piece, is_end in paragraphs(text.splitlines(keepends=True)):
        rest += piece
        if is_end:
            found, rest = [*found, rest], ""
    assert not rest
    return found


def folded(text):
    return " ".join(text.split())


def test_each_line_is_a_paragraph_unless_text_is_hard_wrapped():
    assert whole(f"A HEADING\n{PROSE}\n{PROSE * 2}") == [
        "A HEADING",
        folded(PROSE),
        folded(PROSE * 2),
    ]
    assert whole(textwrap.fill(PROSE, 70)) == [folded(PROSE)]


def test_blank_lines_end_a_paragraph_in_both_kinds():
    wrapped = textwrap.fill(WORDS, 60)
    assert whole(f"{wrapped}\n\n \t\n{wrapped}\n") == [folded(WORDS)] * 2
    assert whole(f"a heading\n\n\n{PROSE}") == ["a heading", folded(PROSE)]


def test_a_short_line_ends_a_paragraph_in_hard_wrapped_text():
    wrapped = textwrap.fill(PROSE, 70)
    text = f"{wrapped}\nCHAPTER II\n{wrapped}\n"
    assert whole(text) == [folded(PROSE), "CHAPTER II", folded(PROSE)]


def test_a_line_that_ends_a_sentence_with_room_left_ends_a_paragraph():
    # An abbreviation at the end of a full line does not; with room for the next word it does.
    full = "x" * 57 + " he met Dr.\n"
    short = "y" * 35 + " he met Dr.\n"
    rest = ("Brown and his sister in the park, " * 20)[:-2]
    assert len(whole(full + textwrap.fill(rest, 70))) == 1
    assert len(whole(short + textwrap.fill(rest, 70))) == 2


def test_chinese_that_is_hard_wrapped_is_joined_without_spaces():
    sentence = "他在江边走了很久，没有说话。"
    text = sentence * 20
    wrapped = "\n".join(text[i : i + 30] for i in range(0, len(text), 30))
    assert whole(wrapped) == [text]
    assert whole(f"{wrapped}\n{sentence}\n{wrapped}\n") == [text, sentence, text]
    # Beside other letters a space stays.
    assert whole("你好\nWorld of words\n" * 20 + wrapped)[0] == "你好"


def test_lines_of_verse_stay_apart():
    verse = "春眠不觉晓，\n处处闻啼鸟。\n" * 50
    assert whole(verse) == verse.split()


def test_white_space_is_folded():
    assert whole(" One \t two.\u00a0 Three. ") == ["One two. Three."]


@pytest.mark.parametrize("text", ["", "\n\n", " \t \r\n "])
def test_no_text_gives_no_paragraph(text):
    assert whole(text) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 30])
def test_a_line_in_pieces_is_one_paragraph(size):
    text = " One  two.\u3000Three 你好。 " * 5
    lines = [text[i : i + size] for i in range(0, len(text), size)]
    pieces = list(paragraphs([*lines, "\n", "Next.\n"]))
    assert "".join(piece for piece, _ in pieces) == folded(text) + "Next."
    assert [is_end for _, is_end in pieces] == [True, True]


def test_a_long_paragraph_comes_in_pieces():
    line = "w" * 59 + "\n"
    pieces = list(paragraphs(line for _ in range(10_000)))
    assert max(len(piece) for piece, _ in pieces) < 70_000
    assert [is_end for _, is_end in pieces] == [False] * (len(pieces) - 1) + [True]
    assert "".join(piece for piece, _ in pieces) == " ".join([line.strip()] * 10_000)
