"""Files of labelled texts: formats, and every way a file can be broken."""

import csv
import gzip

import pytest

from tfpt.pipelines.tables import read_table


def test_csv_has_a_header_and_standard_quoting(write):
    path = write("a.csv", 'id,text,label\r\n1,"one, ""two""\nthree",x\r\n2,four,y\r\n')
    table = read_table(path, text=["text"], label="label")
    assert table.rows == [('one, "two"\nthree',), ("four",)]
    assert table.labels == ["x", "y"]
    assert table.lines == [2, 4]


def test_tsv_has_no_quoting(write):
    path = write("a.tsv", 'a\tb\tlabel\n"one\ttwo" \u2028three\tx\n')
    table = read_table(path, text=["b", "a"], label="label")
    assert table.rows == [('two" \u2028three', '"one')]


def test_numbers_name_the_columns_of_a_file_without_a_header(write):
    for name, comma in (("a.csv", ","), ("a.tsv", "\t")):
        path = write(name, f"good{comma}1\nbad{comma}0\n")
        table = read_table(path, text=["0"], label="1")
        assert table.rows == [("good",), ("bad",)]
        assert table.labels == ["1", "0"]
        assert table.lines == [1, 2]


def test_json_lines_take_labels_of_any_plain_type(write):
    path = write("a.jsonl", '{"t": "a", "l": "x "}\n\n{"l": 3, "t": "b"}\n{"t": "c", "l": true}\n')
    table = read_table(path, text=["t"], label="l")
    assert table.rows == [("a",), ("b",), ("c",)]
    assert table.labels == ["x", "3", "true"]
    assert table.lines == [1, 3, 4]


def test_texts_without_labels_have_empty_ones(write):
    path = write("a.csv", "b,a,label\none,two,x\n,three,y\n")
    table = read_table(path, text=["a", "b", "label"], label="")
    assert table.rows == [("two", "one", "x"), ("three", "", "y")]
    assert table.labels == [(), ()]
    assert table.lines == [2, 3]
    assert table.placed_labels() == [[], []]


def test_lines_of_a_txt_are_texts_without_labels(write):
    path = write("a.txt", "one, two\n\n \nthree\u2028four\n")
    table = read_table(path, text=["any"], label="")
    assert table.rows == [("one, two",), ("three\u2028four",)]
    assert table.lines == [1, 4]
    with pytest.raises(ValueError, match=r"a\.txt: a line of a \.txt is one text; received"):
        read_table(path, text=["a", "b"], label="")
    with pytest.raises(ValueError, match=r"a\.txt: the name must end in \.csv, \.tsv, "):
        read_table(path, text=["a"], label="label")
    with pytest.raises(ValueError, match=r"b\.txt: there is no row in it"):
        read_table(write("b.txt", "\n\n"), text=["a"], label="")


def test_json_lines_are_also_called_json(write):
    path = write("a.json", '{"text": "a", "label": 100}\n{"text": "b", "label": "x"}\n')
    table = read_table(path, text=["text"], label="label")
    assert (table.rows, table.labels) == ([("a",), ("b",)], ["100", "x"])


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_byte_order_marks_blank_lines_and_windows_line_ends_are_passed_over(write, ending):
    comma = {"csv": ",", "tsv": "\t"}[ending]
    content = f"text{comma} label \r\n\r\nhi{comma} x \r\n\r\n".encode("utf-8-sig")
    table = read_table(write(f"a.{ending}", content), text=["text"], label="label")
    assert (table.rows, table.labels, table.lines) == ([("hi",)], ["x"], [3])


def test_texts_may_be_empty_or_longer_than_the_limit_of_the_csv_module(write):
    before = csv.field_size_limit()
    path = write("a.csv", f"text,label\n,x\n{'word ' * 40_000},y\n")
    assert [len(row[0]) for row in read_table(path, text=["text"], label="label").rows] == [0, 2e5]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv: there is no row"),
        ("a.jsonl", "\n", "a.jsonl: there is no row"),
        ("a.csv", "text,label\n", "a.csv: there is no row"),
        ("a.csv", "text,label\nhi\n", "a.csv:2: 1 columns, where the first line has 2"),
        ("a.tsv", "text\tlabel\na\tb\tc\n", "a.tsv:2: 3 columns, where the first line has 2"),
        ("a.csv", "text,label\nhi,x\nho, \n", "a.csv:3: the label is empty"),
        ("a.jsonl", '{"text": "a", "label": ""}', "a.jsonl:1: the label is empty"),
        ("a.csv", "text,tag\nhi,x\n", "a.csv: no column `label`; the header has 'text', 'tag'"),
        ("a.csv", "text,label,label\nhi,x,y\n", "a.csv: more than one column `label`"),
        ("a.csv", 'text,label\nhi,x\n"ho,y\nha,z\n', "a.csv:3: broken CSV .*unexpected end"),
        ("a.csv", 'text,label\n"hi" ho,x\n', "a.csv:2: broken CSV"),
        (
            "a.tsv",
            b"text\tlabel\nhi\tx\ncaf\xe9\ty\n",
            "a.tsv:3: the byte 0xe9 at offset 19 is not utf-8",
        ),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text"', "a.jsonl:2: not JSON"),
        ("a.jsonl", "[1]", "a.jsonl:1: each line must hold a JSON object"),
        (
            "a.json",
            '[{"text": "a"}]',
            "a.json:1: each line .* `jq -c .* writes a list",
        ),
        ("a.json", '{\n "text": "a"\n}', "a.json:1: not JSON .* one object a line"),
        ("a.jsonl", '{"txt": "a", "label": 1}', "a.jsonl:1: .* no field `text`; .* 'txt', 'label'"),
        ("a.jsonl", '{"text": null, "label": 1}', "a.jsonl:1: .*`text` must be text.*None"),
        ("a.jsonl", '{"text": "a", "label": 1.5}', "a.jsonl:1: .*`label` must be .* received 1.5"),
        ("a.jsonl", '{"text": "\\ud83d", "label": 1}', "a.jsonl:1: .* half of a surrogate pair"),
        ("a.txt", "text,label\nhi,x\n", "a.txt: the name must end in .csv, .tsv, .jsonl, .parq"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(write, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_table(write(name, content), text=["text"], label="label")


def test_a_column_number_past_the_last_is_refused(write):
    with pytest.raises(ValueError, match=r"no column 2; the 2 columns .* are 0 to 1"):
        read_table(write("a.csv", "hi,x\n"), text=["0"], label="2")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*a\.csv"):
        read_table(tmp_path / "a.csv", text=["text"], label="label")


def test_tables_are_read_through_compressions_and_from_other_file_systems(write, remote):
    content = "text\tlabel\ncaf\u00e9\tx\n"
    for path in (
        write("a.tsv.gz", gzip.compress(content.encode())),
        remote("b.tsv", content),
        remote("c.TSV.gz", gzip.compress(content.encode())),
    ):
        table = read_table(path, text=["text"], label="label")
        assert (table.rows, table.labels, table.lines) == ([("caf\u00e9",)], ["x"], [2])
        assert table.source == str(path)
    with pytest.raises(FileNotFoundError, match=r"no file ram://.*/d\.tsv"):
        read_table(f"{remote.root}/d.tsv", text=["text"], label="label")
