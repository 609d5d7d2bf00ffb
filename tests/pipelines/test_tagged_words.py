"""Sentences with tags, from files of several kinds; and one error for each that is broken."""

import gzip
import json

import pytest

from tfpt.pipelines.tagged_words import TagColumns, read_sentences, read_tagged

WEIBO = "\u62110\tO\n\u53bb1\tO\n\u5317\u00300\tB-GPE\n"


def read(path, **columns):
    found = read_sentences(str(path), TagColumns(**columns))
    return list(zip(found.rows, found.tags, strict=True))


def test_a_blank_line_ends_a_sentence_and_columns_are_divided_by_tabs(write):
    path = write("a.conll", "New\tB-loc\nYork\tI-loc\n\t\n\n!\tO\n#\tO\n")
    assert read(path) == [(("New", "York"), ("B-loc", "I-loc")), (("!", "#"), ("O", "O"))]
    assert read_sentences(str(path), TagColumns()).lines == [(1, 2), (5, 6)]


def test_columns_are_divided_by_any_number_of_blanks_where_there_is_no_tab(write):
    text = (
        "-DOCSTART- -X- O O\n\nEU NNP  B-NP B-ORG\nrejects VBZ B-VP O\n\n"
        "Peter NNP B-NP B-PER\r\n# NN I-NP O"
    )
    path = write("a.txt", text)
    assert read(path) == [(("EU", "rejects"), ("B-ORG", "O")), (("Peter", "#"), ("B-PER", "O"))]
    assert read(path, tag="2")[0][1] == ("B-NP", "B-VP")
    assert read(path, word="-4", tag="3") == read(path)


def test_comments_before_a_sentence_are_passed_over_but_not_words_with_a_hash(write):
    path = write("a.conllu", "# id = 7\n#\tO\n#tag\tB-x\n# inside\tO\n\n# id = 8\nyes\tO\n")
    assert [words for words, _ in read(path)] == [("#", "#tag", "# inside"), ("yes",)]


def test_json_lines_hold_lists(write):
    rows = [{"words": ["New York", "!"], "tags": ["B-loc", "O"]}, {"words": ["a"], "tags": ["O"]}]
    path = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    assert read(path) == [(("New York", "!"), ("B-loc", "O")), (("a",), ("O",))]
    path = write("b.json", json.dumps({"tokens": ["a"], "ner": ["O"]}) + "\n")
    assert read(path, word="tokens", tag="ner") == [(("a",), ("O",))]


def test_files_may_be_compressed_and_begin_with_a_byte_order_mark(write):
    path = write("a.conll.gz", gzip.compress("\ufeffA\tO\n".encode()))
    assert read(path) == [(("A",), ("O",))]


def test_a_number_that_is_glued_to_words_is_taken_off(write):
    path = write("a.train", "\u62110\tO\n10\tO\n\u5929\u592912\tB-x\n")
    assert read(path, numbered=True)[0][0] == ("\u6211", "1", "\u5929\u5929")
    with pytest.raises(ValueError, match=r"b\.train:1: the word '\u6211' has no number glued"):
        read(write("b.train", "\u6211\tO\n"), numbered=True)


def test_blanks_of_other_kinds_stay_in_words(write):
    assert read(write("a.conll", "a\u00a0b O\n"))[0][0] == ("a\u00a0b",)


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("", {}, r"a\.conll: there is no sentence in it"),
        ("\n \n", {}, r"a\.conll: there is no sentence in it"),
        ("a\tO\nb\n", {}, r"a\.conll:2: columns: 1, where other lines have 2: 'b'"),
        ("a\tO\nb O\n", {}, r"a\.conll:2: columns: 1, where other lines have 2"),
        ("a O\nb O O\n", {}, r"a\.conll:2: columns: 3, where other lines have 2"),
        ("a\tO\n# b\n", {}, r"a\.conll:2: columns: 1"),
        ("a\nb\n", {}, r"a\.conll: there is no column 0 for the word; its lines have 1"),
        ("a\tO\n", {"tag": "2"}, r"a\.conll: there is no column 2 for the tag; .* have 2"),
        ("a\tO\n", {"word": "-3"}, r"a\.conll: there is no column -3 for the word"),
        ("a\tO\n", {"word": "words"}, r"a\.conll: the word stands in a column .* 'words'"),
        ("a\tNOUN\n", {}, r"a\.conll:1: the tag 'NOUN' is none of BIO"),
        ("a\tO\n\nb\t\n", {}, r"a\.conll:3: the tag '' is none of BIO"),
        ("a\tO\n\tO\n", {}, r"a\.conll:2: the word is empty"),
        (b"a\tO\ncaf\xe9\tO\n", {}, r"a\.conll:2: the byte 0xe9 at offset 7 is not utf-8"),
    ],
)
def test_what_is_broken_in_columns_is_told_with_its_place(write, content, columns, message):
    with pytest.raises(ValueError, match=message):
        read(write("a.conll", content), **columns)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"words": ["a", "b"], "tags": ["O"]}, r":2: there are 2 words, but 1 tags"),
        ({"words": ["a"], "labels": ["O"]}, r":2: there is no field `tags`; .*'words', 'labels'"),
        (
            {"words": "a b", "tags": ["O"]},
            r":2: the field `words` must be a list of strings; .*a b",
        ),
        ({"words": ["a"], "tags": [1]}, r":2: the field `tags` must be a list of strings"),
        ({"words": [], "tags": []}, r":2: the field `words` is empty"),
        ({"words": ["a", " "], "tags": ["O", "O"]}, r":2: the word is empty"),
        ({"words": ["a"], "tags": ["person"]}, r":2: the tag 'person' is none of BIO"),
        ({"words": ["\ud83d"], "tags": ["O"]}, r":2: the field `words` holds half of a surrogate"),
    ],
)
def test_what_is_broken_in_json_lines_is_told_with_its_place(write, row, message):
    path = write("a.jsonl", f'{{"words": ["a"], "tags": ["O"]}}\n{json.dumps(row)}\n')
    with pytest.raises(ValueError, match=message):
        read(path)


def test_files_of_other_kinds_are_refused(write, tmp_path):
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(ValueError, match=r"are read from CoNLL and JSON Lines"):
            read(write(name, "a,O\n"))
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere\.conll"):
        read(tmp_path / "nowhere.conll")
    with pytest.raises(ValueError, match="tfds:wikiann: words with tags are read from files"):
        read_tagged("tfds:wikiann", TagColumns())


ROWS = "".join(f"w{i}\t{('O', 'B-x')[i % 2]}\nend\tI-x\n\n" for i in range(40))


def sizes(source):
    return {name: len(found) for name, found in read_tagged(source, TagColumns()).items()}


def test_splits_are_found_by_name_as_those_of_labelled_texts(write, tmp_path):
    for name in ("ner.train", "ner.dev", "ner.test", "notes.md"):
        write(name, ROWS)
    assert sizes(tmp_path) == {"train": 40, "validation": 40, "test": 40}
    write("other/a-train.conll", ROWS)
    write("other/a-valid.jsonl.gz", gzip.compress(b'{"words": ["a"], "tags": ["O"]}'))
    assert sizes(tmp_path / "other") == {"train": 40, "validation": 1}
    files = {"train": tmp_path / "ner.dev", "validation": str(tmp_path / "notes.md")}
    assert sizes(files) == {"train": 40, "validation": 40}
    write("ner-train.conll", ROWS)
    with pytest.raises(ValueError, match=r"both .* are named as train rows"):
        sizes(tmp_path)


def test_one_file_is_divided_by_a_hash_of_its_words(write):
    path = write("all.conll", "".join(f"w{i}\tO\nx\tB-x\n\n" for i in range(1000)))
    found = read_tagged(path, TagColumns())
    assert sum(map(len, found.values())) == 1000
    assert 0.75 < len(found["train"]) / 1000 < 0.85
    again = read_tagged(path, TagColumns())
    assert [found[name].rows for name in found] == [again[name].rows for name in again]


def test_a_tag_that_training_never_saw_is_refused_with_its_place(write, tmp_path):
    write("train.conll", ROWS)
    write("dev.conll", ROWS + "a\tO\nb\tB-y\n")
    with pytest.raises(
        ValueError,
        match=r"dev\.conll:122: the label 'B-y' of the validation rows never occurs in the",
    ):
        read_tagged(tmp_path, TagColumns())
