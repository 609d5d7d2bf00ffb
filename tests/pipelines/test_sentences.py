"""Running text to sentences. The cases are hand-made; novels and classics are the real ones."""

# ruff: noqa: RUF001 (characters that look like others are what is tested)

import json
import textwrap
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpt.pipelines.sentences import MAX_SENTENCE, split_lines, split_text

# Sentences that follow upon each other with a space between.
ENGLISH = [
    ("Mr. Smith met Mrs. Brown and Dr. Jones.", "They talked."),
    ("Bring fruit, e.g. apples or pears.", "Then go."),
    ("Bring fruit, e.g., apples.", "Then go."),
    ("That is, i.e. the other one, is better.", "Yes."),
    ("He lives in the U.S. and works there.", "She does not."),
    ("He came from the U.S. Army and left.",),
    ("He lives in the U.S.", "She lives in France."),
    ("The U.S. Senate met on Jan. 5, 1999.", "It was cold."),
    ("It costs $3.50 or 4.25 euros.", "Cheap!"),
    ("Pi is 3.14159.", "It is irrational."),
    ("At 5 p.m. he left.", "She stayed."),
    ("He left at 5 p.m.", "She stayed until 9 a.m. on Monday."),
    ("J. R. R. Tolkien wrote it.", "So did C. S. Lewis."),
    ("George W. Bush met Tony Blair.", "They spoke."),
    ('"Come here!" he said.', "She came."),
    ('"Come here."', '"Why?" she asked.'),
    ("\u201cWhere are you going?\u201d said Joe.", "\u201cAway.\u201d"),
    ("\u201cI see.\u201d", "He left."),
    ("\u201cIt is late,\u201d she said.", "\u201cGo home!\u201d"),
    ("\u201cIs it late?", "I must go,\u201d she said."),
    ("Well... I do not know.", "Perhaps."),
    ("He waited...", "Nothing came."),
    ("What is it\u2026 she thought.", "Nothing."),
    ("No!", "Really?!", "Yes."),
    ("See Fig. 3 and Sec. 2.1 for details.", "They help."),
    ("Smith et al. found it.", "Others did not."),
    ("It was made by Apple Inc. in 1984.", "It sold well."),
    ("He works for Acme Corp.", "She does not."),
    ("No. 5 is alive.", "It runs."),
    ("I said no.", "He went."),
    ("Visit www.example.com or a.b@c.org today.", "Thanks."),
    ("Use version 2.0.1.", "It is new."),
    ("(He was late.)", "She was not."),
    ("He was late (as always).", "She was not."),
    ("St. Paul and Mt. Everest are far.", "Go."),
    ("Gen. Lee and Capt. Kirk met.", "Lt. Dan came."),
    ("She has a Ph.D. in physics.", "He has none."),
    ("'Stop!' cried he.", "'Why?'"),
    ("vs. the others, etc. and so on.", "Done."),
    ("He bought apples, pears, etc.", "Then he left."),
    ("Prof. A. B. Miller, Jr. spoke.", "We listened."),
    ("Was it 5.5% or 6%?", "I forget."),
    ("1. Open the box.", "2. Close it."),
    ('He said: "I will go."', "Then he went."),
    ("Chapter I. begins here.", "It is short."),
    ("He was born c. 1850 in Rome.", "He died there."),
    ("It was \u201cover.\u201d", "He knew it."),
    ("What?", "Me?", "Never!"),
    ("iPhone sales rose.", "eBay fell."),
]
ENGLISH_WRONG = [("It was 10 a.m. EST.", "He slept.")]
# Sentences that follow upon each other with nothing between.
CHINESE = [
    ("他来了。", "你好！", "真的吗？"),
    ("他说：\u201c你好。\u201d", "她笑了。"),
    (
        "子曰：「學而時習之，不亦說乎？」",
        "曾子曰。",
    ),
    ("『去吧！』", "他走了。"),
    ("等等\u2026\u2026我不知道。",),
    ("价格是3.50元。", "很便宜！"),
    ("什么？！", "不会吧！！"),
    ("他走了（真的）。", "她没走。"),
    ("（他走了。）", "她没走。"),
    (
        "春眠不觉晓；夜来风雨声，花落。",
        "好。",
    ),
    ("我用iPhone 6.0版。", "你呢？"),
    ("He said 你好。", "Then he left."),
    ("他说了。", "然后走了。"),
    ("他说。", '"你好。"', "她笑了。"),
]
# Whether a question in quotation marks goes on, and whether dots end a sentence, is not told by
# the characters.
CHINESE_WRONG = [
    (
        "\u201c你去哪儿？\u201d他问。",
        "\u201c回家。\u201d",
    ),
    ("等等\u2026\u2026", "我不知道。"),
]


@pytest.mark.parametrize("sentences", ENGLISH)
def test_english_is_split_at_the_ends_of_sentences(sentences):
    assert split_text(" ".join(sentences)) == list(sentences)


@pytest.mark.parametrize("language", ["zh", "en", "de"])
@pytest.mark.parametrize("sentences", CHINESE)
def test_chinese_is_split_at_its_own_stops_in_any_language(sentences, language):
    assert split_text("".join(sentences), language) == list(sentences)


@pytest.mark.xfail(strict=True)
@pytest.mark.parametrize("sentences", [*ENGLISH_WRONG, *CHINESE_WRONG])
def test_what_is_not_split_right_is_known(sentences):
    joint = " " if sentences[0].isascii() else ""
    assert split_text(joint.join(sentences)) == list(sentences)


def test_the_language_brings_its_abbreviations():
    text = "Das kostet ca. 5 Euro, z. B. am Bahnhof. Er kam am 3. Mai."
    assert split_text(text, "de") == [
        "Das kostet ca. 5 Euro, z. B. am Bahnhof.",
        "Er kam am 3. Mai.",
    ]


def test_exclamations_go_on_in_lower_case_but_not_in_uncased_text():
    assert split_text("Ah! my boy, she is gone. Alas! she is.") == [
        "Ah! my boy, she is gone.",
        "Alas! she is.",
    ]
    assert split_text("what? no! come on.") == ["what?", "no!", "come on."]


def test_several_sentences_in_one_quotation_are_several():
    text = '"I have heard that. You, too, have. Go," Tugwell answered; "and do not stay. Go now."'
    assert split_text(text) == [
        '"I have heard that.',
        "You, too, have.",
        'Go," Tugwell answered; "and do not stay.',
        'Go now."',
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_paragraphs_are_found_before_sentences(line_end):
    prose = "Mr. Smith went to the harbour at 3.14 p.m. and looked for his boat. It was gone! "
    wrapped = textwrap.fill(prose * 8, 70).replace("\n", line_end)
    assert split_text(wrapped) == (prose * 8).replace("boat. ", "boat.\n").replace(
        "gone! ", "gone!\n"
    ).strip().split("\n")
    assert split_text(f"A heading{line_end}{line_end}{prose}")[0] == "A heading"


@pytest.mark.parametrize("text", ["", "\n\n", " \t \r\n "])
def test_no_text_gives_no_sentence(text):
    assert split_text(text) == []


# ---- Without an end


@pytest.mark.parametrize("unit", ["word ", "他来", "他来，"])
def test_text_without_an_end_is_cut(unit):
    text = unit * (20_000 // len(unit))
    sentences = split_text(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert max(map(len, sentences)) <= MAX_SENTENCE
    assert min(map(len, sentences[:-1])) > MAX_SENTENCE - 10
    # At white space, or else behind a comma.
    assert all(sentence.endswith(unit.strip()[-1]) for sentence in sentences)


@pytest.mark.parametrize("num_characters", [3_990, 3_999, 4_000, 4_001, 8_000])
def test_a_sentence_on_the_border_of_a_look_is_not_cut(num_characters):
    before = "She went home. " * (num_characters // 15)
    before += "O" + "h" * (num_characters - len(before) - 5) + "!"
    text = f"{before} Mr. Smith, of the U.S., came. He left."
    assert split_text(text)[-2:] == ["Mr. Smith, of the U.S., came.", "He left."]
    assert " ".join(split_text(text)) == text


@pytest.mark.parametrize(
    ("unit", "num_pieces"),
    [("word ", 50), ("他", 50), ("\u201cHe said. ", 5), ("他来了。", 5)],
)
def test_a_line_is_not_held_in_memory(unit, num_pieces):
    """5 million characters without a stop, and half a million with many, in pieces as read."""
    piece = unit * (100_000 // len(unit))
    tracemalloc.start()
    try:
        num_characters = sum(len(s) for s in split_lines(piece for _ in range(num_pieces)))
        assert num_characters >= num_pieces * len(piece.replace(" ", ""))
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


# ---- Real texts


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *"ab A.!?\"'()[]1-\n",
                *("\u201c", "\u201d", "\u2018", "\u2019", "「", "」", "。", "！"),
                *("\u2026", "你", "é", "\u00a0", "\u2028", "\u3000", "\U0001f600"),
                *("Mr. ", "U.S. ", "e.g. ", "3.5", "...", " No. 5 ", "a@b.c", '."', ".\u201d "),
            ]
        ),
        max_size=60,
    ).map("".join)
)
def test_no_character_is_lost_and_no_sentence_is_empty(text):
    sentences = split_text(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == " ".join(sentence.split()) != "" for sentence in sentences)


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
    long = sum(len(sentence.split()) > 100 for sentence in sentences)
    assert long / len(sentences) < 0.01
    if width:
        assert max(map(len, text.splitlines())) < 1.2 * width


def test_the_abbreviations_of_a_novel_end_no_sentence(shared_data):
    text = (shared_data("lm_novels_en") / "Dickens_Bleak_1853.txt").read_text(encoding="utf-8-sig")
    sentences = split_text(text)
    assert text.count("Mr. ") > 1_000
    ending = [s for s in sentences if s.endswith((" Mr.", " Mrs.", " Dr.", " St.", "Mr.", "Mrs."))]
    assert len(ending) < 5


@pytest.mark.parametrize("language", ["zh", "en"])
def test_classical_chinese_is_split_at_every_stop(shared_data, language):
    records = json.loads((shared_data("lm_zh_classical") / "论语" / "lunyu.json").read_text())
    text = "\n".join(paragraph for record in records for paragraph in record["paragraphs"])
    sentences = split_text(text, language)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    stops = "。！？"
    assert not any(stop in s.rstrip(stops + "\u201d\u2019") for s in sentences for stop in stops)
    ended = sum(s.rstrip("\u201d\u2019").endswith(tuple(stops)) for s in sentences)
    assert ended / len(sentences) > 0.95
    assert not any(s.startswith(("\u201d", "\u2019", *stops)) for s in sentences)
