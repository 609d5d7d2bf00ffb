"""What is printed of a batch: exactly, and with colours that only repeat the words."""

import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_bert
from rich.console import Console

from tfpt import config, console, pipelines, show_batch
from tfpt.pipelines.tokenizer import SPECIAL_TOKENS
from tfpt.recipes import bert, classify

WORDS = "the cat dog sat on mat em ##bed ##ding it ' s , . ( ) a park ran to bark ##ed at"
TOKENIZER = pipelines.Tokenizer([*SPECIAL_TOKENS, *WORDS.split()])
TEXTS = [
    ("The cat sat on the mat.", "It's embedding, a mat (the mat)."),
    ("A dog ran to the park.", "It barked at the cat."),
    ("The dog sat.", "The cat ran to the mat, the dog."),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return pipelines.write_store(TEXTS, TOKENIZER, tmp_path_factory.mktemp("stores") / "texts")


def ids(text):
    return [TOKENIZER.vocabulary.index(token) for token in text.split()]


def shown(batch, **options):
    """The lines without colour, labels and texts apart by a bar."""
    lines = show_batch.lines(batch, TOKENIZER, **options)
    return [f"{label}|{text.plain}" if label else text.plain for label, text in lines]


def first(dataset):
    return next(iter(dataset))


def test_pairs_of_masked_texts_are_told_exactly(store):
    drawing = pipelines.Drawing(masking=pipelines.Masking(rate=0.3))
    batch = first(
        pipelines.masked_lm(store, sequence_length=24, batch_size=2, seed=1, drawing=drawing)
    )
    assert shown(batch, number=7) == [
        "batch 7: 2 rows of 24 tokens; 20.8% is padding",
        "{a|b}: a stands where b is to be predicted",
        "",
        "row 0: 17 tokens, 7 padding; 4 to predict; B follows A",
        "A|[CLS] a {[MASK]|dog} {[MASK]|ran} to the park. [SEP]",
        "B|it {[MASK]|bark}ed at the {[MASK]|cat}. [SEP] [PAD] x 7",
        "",
        "row 1: 21 tokens, 3 padding; 5 to predict; B is from elsewhere",
        "A|[CLS] {park|the} dog sat. [SEP]",
        "B|it'{[MASK]|s} {em|em}bed{[MASK]|##ding}, a mat ({[MASK]|the} mat). [SEP] [PAD] x 3",
    ]


def test_rows_of_several_texts_are_told_text_by_text(store):
    drawing = pipelines.Drawing(layout="packed", pairing="sentence_order")
    batch = first(
        pipelines.masked_lm(store, sequence_length=40, batch_size=2, seed=2, drawing=drawing)
    )
    assert shown(batch)[3:] == [
        "row 0: 24 tokens, 16 padding; 3 to predict; 1 text",
        "text 1|B follows A",
        "A|[CLS] the cat {[MASK]|sat} on the mat. [SEP]",
        "B|it's embedding, {a|a} mat {[MASK]|(}the mat). [SEP] [PAD] x 16",
        "",
        "row 1: 34 tokens, 6 padding; 5 to predict; 2 texts",
        "text 1|B follows A",
        "A|[CLS] a dog ran to {)|the} park. [SEP]",
        "B|it barked {[MASK]|at} the cat. [SEP]",
        "text 2|B follows A",
        "A|[CLS] {[MASK]|the} dog sat. [SEP]",
        "B|the cat ran to the {[MASK]|mat}, the {)|dog}. [SEP] [PAD] x 6",
    ]


@pytest.mark.parametrize(
    ("name", "label", "words"),
    [
        ("next_sentence", 0, "B is from elsewhere"),
        ("next_sentence", 1, "B follows A"),
        ("sentence_order", 0, "the other way round: A follows B"),
        ("sentence_order", 1, "B follows A"),
    ],
)
def test_the_label_of_a_pair_is_told_in_words(name, label, words):
    row = ids("[CLS] the cat [SEP] it sat [SEP] [PAD]")
    inputs = {
        "token_ids": [row],
        "segment_ids": [[0, 0, 0, 0, 1, 1, 1, 0]],
        "padding_mask": [[1, 1, 1, 1, 1, 1, 1, 0]],
    }
    assert shown((inputs, {name: [[label]]}, {name: [[1.0]]}))[2:] == [
        f"row 0: 7 tokens, 1 padding; {words}",
        "A|[CLS] the cat [SEP]",
        "B|it sat [SEP] [PAD] x 1",
    ]


def test_single_texts_packed_or_not_have_no_pair(store):
    shapes = (("padded", "text", "2 to predict"), ("packed", "text 1", "1 to predict; 1 text"))
    for layout, label, end in shapes:
        drawing = pipelines.Drawing(layout=layout, pairing="single")
        batch = first(
            pipelines.masked_lm(store, sequence_length=24, batch_size=1, seed=1, drawing=drawing)
        )
        lines = shown(batch)
        assert lines[3].endswith(end)
        assert len(lines) == 5
        assert lines[4].startswith(f"{label}|[CLS] ")


def test_what_follows_a_row_is_told(store):
    drawing = pipelines.CausalDrawing(within_documents=True)
    batch = first(
        pipelines.causal_lm(store, sequence_length=16, batch_size=4, seed=0, drawing=drawing)
    )
    assert shown(batch, num_rows=2) == [
        "batch 0: 4 rows of 16 tokens; 18.8% is padding",
        "",
        "row 0: 16 tokens, 0 padding; 16 to predict; 2 texts",
        "text 1|##ed at the cat.",
        "text 2|[SEP] the dog sat. the cat ran to the mat",
        "next|,",
        "",
        "row 1: 4 tokens, 12 padding; 4 to predict; 1 text",
        "text 1|, the dog. [PAD] x 12",
        "next|[SEP]",
    ]


def test_spans_that_were_taken_out_are_told(store):
    batch = first(pipelines.span_corruption(store, sequence_length=16, batch_size=3, seed=0))
    assert shown(batch, num_rows=1)[2:] == [
        "row 0: 15 tokens, 1 padding; 4 to predict",
        "text|[SEP] the dog sat. the cat <0> the mat, the dog. [SEP] [PAD] x 1",
        "out|<0> ran to <1>",
    ]


def test_labels_of_texts_are_told_by_name(tmp_path):
    rows = "".join(f"the {one}\t{one}\n" for one in ("cat", "dog", "mat"))
    for split in ("train", "validation"):
        (tmp_path / f"{split}.tsv").write_text(f"text\tlabel\n{rows}")
    data = pipelines.text_classification(tmp_path, TOKENIZER, sequence_length=8, batch_size=4)
    batch = first(data.validation)
    lines = shown(batch, num_rows=9, label_names=data.label_names)
    assert lines[2] == "row 0: 4 tokens, 4 padding; label cat"
    assert lines[3] == "text|[CLS] the cat [SEP] [PAD] x 4"
    assert lines[-2].endswith("a row that does not count")
    assert shown(batch, num_rows=1)[2] == "row 0: 4 tokens, 4 padding; label 0"


def test_words_of_entities_are_told_with_their_tags(tmp_path):
    rows = "the\tO\nembedding\tB-x\ncat\tI-x\n.\tO\n\nsat\tO\n"
    for split in ("train", "validation"):
        (tmp_path / f"{split}.conll").write_text(rows)
    data = pipelines.token_classification(tmp_path, TOKENIZER, sequence_length=10, batch_size=2)
    batch = first(data.validation)
    assert shown(batch, label_names=data.label_names)[2:] == [
        "row 0: 8 tokens, 2 padding; 4 words with a tag",
        "text|[CLS] the embedding cat. [SEP] [PAD] x 2",
        "tags|embedding B-x, cat I-x",
        "",
        "row 1: 3 tokens, 7 padding; 1 words with a tag",
        "text|[CLS] sat [SEP] [PAD] x 7",
        "tags|no entity",
    ]
    assert "tags|the 0, embedding 1, cat 2, . 0" in shown(batch)


def test_questions_are_told_with_their_windows_and_answers(tmp_path):
    def asked(name, question, context, *answers):
        listed = [{"text": one, "answer_start": context.index(one)} for one in answers]
        entry = {"id": name, "question": question, "answers": listed, "is_impossible": not answers}
        return {"context": context, "qas": [entry]}

    paragraphs = [
        asked("a", "it sat?", "The cat sat on the embedding.", "the embedding"),
        asked("b", "on", "a dog"),
    ]
    content = json.dumps({"data": [{"title": "pets", "paragraphs": paragraphs}]})
    for split in ("train", "dev"):
        (tmp_path / f"{split}.json").write_text(content)
    windows = pipelines.ContextWindows(sequence_length=12, stride=4, question_length=3)
    data = pipelines.question_answering(tmp_path, TOKENIZER, windows=windows, batch_size=4)
    assert shown(first(data.validation), num_rows=2)[2:] == [
        "row 0: 12 tokens, 0 padding; no answer in this window",
        "A|[CLS] it sat [UNK] [SEP]",
        "B|the cat sat on the em [SEP]",
        "answer|none in this window",
        "",
        "row 1: 11 tokens, 1 padding; the answer is tokens 5 to 8",
        "A|[CLS] it sat [UNK] [SEP]",
        "B|the embedding. [SEP] [PAD] x 1",
        "answer|the embedding",
    ]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("em ##bed ##ding", "embedding"),
        ("##ding em", "##ding em"),
        ("the cat , the dog .", "the cat, the dog."),
        ("sat ( on a mat )", "sat (on a mat)"),
        ("it ' s a cat ' s mat", "it's a cat's mat"),
        ("the ' cat '", "the ' cat '"),
        ("' s", "' s"),
        ("[CLS] [SEP]", "[CLS] [SEP]"),
    ],
)
def test_pieces_are_joined_to_words(tokens, text):
    assert show_batch.joined([(one, None) for one in ids(tokens)], TOKENIZER).plain == text


CHINESE = pipelines.Tokenizer(
    [
        *SPECIAL_TOKENS,
        *"\u6211\u4e0d\u53bb\u8bf4\u3002\uff01\uff1a\u201c\u201d",
        "ok",
        "\uac00",
        "\ub098",
    ],
    lowercase=False,
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "\u6211\u8bf4\uff1a\u201c\u6211\u4e0d\u53bb\u3002\u201d",
            "\u6211\u8bf4\uff1a\u201c\u6211\u4e0d\u53bb\u3002\u201d",
        ),
        ("\u6211 ok \u53bb\uff01", "\u6211 ok \u53bb\uff01"),
        ("\uac00 \ub098", "\uac00 \ub098"),  # Korean has blanks
    ],
)
def test_chinese_is_told_without_blanks(text, told):
    (found,) = CHINESE.tokenize([text]).to_list()
    assert show_batch.joined([(one, None) for one in found], CHINESE).plain == told


SENTENCES = ["The low tide is wider, caf\u00e9.", "\u6211\u4eec\u4e0d\u53bb\u3002 A new  tide!"]


@pytest.mark.parametrize(
    "tokenizer",
    [
        pipelines.train_byte_pair([tuple(SENTENCES)] * 9, 290),
        pipelines.train_unigram([tuple(SENTENCES)] * 9, 36, lowercase=False),
    ],
    ids=["byte pair", "unigram"],
)
@pytest.mark.parametrize("sentence", SENTENCES)
def test_entries_with_blanks_in_them_are_told_as_the_text(tokenizer, sentence):
    (found,) = tokenizer.tokenize([sentence]).to_list()
    whole = tokenizer.detokenize([found]).numpy()[0].decode()
    assert whole.replace("  ", " ") == sentence.replace("  ", " ")
    framed = [tokenizer.cls_id, *found, tokenizer.sep_id]
    told = show_batch.joined([(one, None) for one in framed], tokenizer).plain
    assert told == f"[CLS] {whole} [SEP]"
    for place, answer in enumerate(found):
        for there in (tokenizer.mask_id, answer, found[0]):
            tokens = [(one, None) for one in found]
            tokens[place] = (there, answer)
            text = show_batch.joined(tokens, tokenizer)
            # A blank that is all of an entry cannot be told otherwise.
            lone = {"\u0120", "\u2581"} & {tokenizer.vocabulary[one] for one in (there, answer)}
            assert lone or not {"\u0120", "\u2581"} & set(text.plain)
            assert text.plain.count("{") == text.plain.count("|") == 1
            assert not re.search(r"[ ]\}|\{ |\| ", text.plain)
            before, after = re.split(r"\{.*\}", text.plain)
            assert whole.startswith(before.strip()) or "\\x" in before
            assert whole.endswith(after.strip()) or "\\x" in after


def test_a_token_that_is_a_part_of_a_character_is_told_as_bytes():
    tokenizer = pipelines.train_byte_pair([("a b",)] * 9, 261)
    found = tokenizer.tokenize(["\u6211"]).to_list()[0]
    assert len(found) == 3
    tokens = [(found[0], None), (tokenizer.mask_id, found[1]), (found[2], None)]
    text = show_batch.joined(tokens, tokenizer).plain
    assert text == "\\xe6{[MASK]|\\x88}\\x91"


def test_places_to_predict_keep_their_place_in_a_word():
    em, bed, ding, mask, cat = ids("em ##bed ##ding [MASK] cat")
    tokens = [(em, None), (mask, bed), (ding, ding), (cat, em), (bed, None)]
    text = show_batch.joined(tokens, TOKENIZER)
    assert text.plain == "em{[MASK]|##bed}{##ding|##ding} {cat|em}bed"
    styles = {text.plain[span.start : span.end]: span.style for span in text.spans}
    assert styles["{[MASK]|##bed}"] == show_batch.MASKED
    assert styles["{##ding|##ding}"] == show_batch.KEPT
    assert styles["{cat|em}"] == show_batch.REPLACED


def printed(lines, **options):
    """What a console of some kind gets."""
    file = io.StringIO()
    there = console.out
    console.out = Console(file=file, highlight=False, **options)
    try:
        for label, text in lines:
            console.paragraph(label, text, width=4)
    finally:
        console.out = there
    return file.getvalue()


def test_on_a_terminal_a_text_wraps_clear_of_its_label(store):
    batch = first(pipelines.masked_lm(store, sequence_length=24, batch_size=1, seed=1))
    lines = show_batch.lines(batch, TOKENIZER)
    wide = printed(lines, force_terminal=True, color_system=None, width=200)
    narrow = printed(lines, force_terminal=True, color_system=None, width=30)
    plain = [line.rstrip() for line in narrow.splitlines()]
    assert max(map(len, plain)) <= 30
    at = next(place for place, line in enumerate(plain) if line.lstrip().startswith("A"))
    assert plain[at + 1].startswith(" " * 8)
    assert narrow.split() == wide.split()


def test_colours_only_repeat_what_the_words_say(store):
    batch = first(pipelines.masked_lm(store, sequence_length=24, batch_size=1, seed=1))
    lines = show_batch.lines(batch, TOKENIZER)
    terminal = {"force_terminal": True, "width": 200}
    coloured = printed(lines, color_system="standard", **terminal)
    assert "\x1b[36m" in coloured  # text B
    assert "\x1b[1;33m{[MASK]|" in coloured
    plain = printed(lines, color_system=None, **terminal)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_a_recipe_gives_the_batch_it_would_train_on(store, tmp_path):
    sets = [f"data.store={store.path}", "data.sequence_length=24", "training.batch_size=2"]
    settings = config.override(bert.config(), sets)
    batch, tokenizer, names = show_batch.recipe_batch(bert, settings, 3)
    assert (tokenizer, names) == (TOKENIZER, ())
    expected = first(
        pipelines.masked_lm(store, sequence_length=24, batch_size=2, seed=0, first_batch=3)
    )
    np.testing.assert_array_equal(batch[0]["token_ids"], expected[0]["token_ids"])


def test_a_recipe_for_labelled_texts_needs_a_vocabulary(tmp_path):
    (tmp_path / "texts").mkdir()
    for split in ("train", "validation"):
        rows = "".join(f"the {one}\t{one}\n" for one in ("cat", "dog"))
        (tmp_path / "texts" / f"{split}.tsv").write_text(f"text\tlabel\n{rows}")
    sets = [f"data.name={tmp_path / 'texts'}", "data.sequence_length=8", "training.batch_size=2"]
    settings = config.override(classify.config(), sets)
    with pytest.raises(ValueError, match=r"\(--set start=RUN\) or one of its own \(--set data"):
        show_batch.recipe_batch(classify, settings, 0)
    TOKENIZER.save(tmp_path / "vocab.txt")
    own = config.override(settings, [f"data.vocabulary={tmp_path / 'vocab.txt'}"])
    batch, tokenizer, names = show_batch.recipe_batch(classify, own, 0)
    assert (tokenizer, names) == (TOKENIZER, ("cat", "dog"))
    assert batch[0]["token_ids"].shape == (2, 8)


def test_a_run_to_start_from_brings_its_vocabulary(monkeypatch):
    opened = SimpleNamespace(tokenizer=tiny_bert.TOKENIZER)
    monkeypatch.setattr(show_batch.checkpoints, "open_run", {"runs/bert": opened}.__getitem__)
    data = SimpleNamespace(train_batches=lambda number: iter([number]), label_names=("x",))
    recipe = SimpleNamespace(dataset=lambda settings, tokenizer: data)
    found = show_batch.recipe_batch(recipe, SimpleNamespace(start="runs/bert"), 5)
    assert found == (5, tiny_bert.TOKENIZER, ("x",))
