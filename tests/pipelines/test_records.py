"""Records by their columns: JSON Lines, CSV and TSV, whole and in stretches."""

import csv
import gzip
import itertools
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpt.pipelines import records
from tfpt.pipelines.streams import whole_file


def read(path, *names, encoding="utf-8", extent=None):
    extent = extent or whole_file(str(path))
    return list(records.read_columns(extent, names, encoding))


def test_csv_has_a_header_and_standard_quoting(write):
    path = write("a.csv", 'id,text\r\n1,"one, ""two""\r\nthree"\r\n\r\n2,four\r\n')
    assert read(path, "text", "id") == [(2, ('one, "two"\r\nthree', "1")), (5, ("four", "2"))]


def test_tsv_has_no_quoting(write):
    path = write("a.tsv", 'a\tb\n"one\ttwo" \u2028three\n\nfour\t\r\n')
    assert read(path, "a", "b") == [(2, ('"one', 'two" \u2028three')), (4, ("four", ""))]


def test_json_lines_have_values_of_any_type(write):
    path = write("a.jsonl", '{"a": 1, "b": ["x"]}\n\n \t{"b": null,\r"a": "\u4f60"}\r\n')
    assert read(path, "a", "b") == [(1, (1, ["x"])), (3, ("\u4f60", None))]


@pytest.mark.parametrize("comma", [",", "\t"])
def test_numbers_name_the_columns_of_a_file_without_a_header(write, comma):
    path = write("a.csv" if comma == "," else "a.tsv", f"x{comma}y\nz{comma}w\n")
    assert read(path, "1", "0") == [(1, ("y", "x")), (2, ("w", "z"))]
    assert read(path, "x") == [(2, ("z",))]
    with pytest.raises(ValueError, match=r"there is no column 2; the 2 columns .* are 0 to 1"):
        read(path, "2")


def test_a_file_without_a_record_has_none(write):
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        assert read(write(name, ""), "text") == []
        assert read(write(name, "\n\r\n"), "text") == []


def test_fields_longer_than_the_limit_of_the_csv_module_are_read(write):
    before = csv.field_size_limit()
    path = write("a.csv", f"text,label\n{'word ' * 40_000},x\n")
    rows = records.read_columns(whole_file(str(path)), ["text"], "utf-8")
    assert len(next(rows)[1][0]) == 200_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\n\nhi\n", r"a\.csv:3: 1 columns, where the first line has 2"),
        ("a.tsv", "text\tb\na\tb\tc\n", r"a\.tsv:2: 3 columns, where the first line has 2"),
        ("a.csv", "txt,tag\nhi,x\n", r"a\.csv: no column `text`; the header has 'txt', 'tag'"),
        ("a.tsv", "text\ttext\na\tb\n", r"a\.tsv: more than one column `text`"),
        ("a.csv", 'text\nhi\n"ho\nha\n', r"a\.csv:3: broken CSV .*unexpected end"),
        ("a.csv", 'text\n"hi" ho\n', r"a\.csv:2: broken CSV .* ends? in a \.tsv|broken CSV"),
        ("a.jsonl", '{"text": 1}\n{"text"', r"a\.jsonl:2: not JSON .*at column 8"),
        ("a.jsonl", "\n[1]\n", r"a\.jsonl:2: each line must hold a JSON object; received '\[1\]'"),
        ("a.jsonl", '{"txt": 1, "b": 2}', r"no field `text`; the fields are 'txt', 'b'"),
        ("a.jsonl", '{"text": ' + "9" * 5000 + "}", r"a\.jsonl:1: not read as JSON \(.*digits"),
        ("a.jsonl", '{"text": ' + "[" * 200_000, r"a\.jsonl:1: not "),
        ("a.jsonl", '{"text": 1}\n\0\n', r"a\.jsonl:2: the NUL at offset 12"),
        ("a.csv", b"text\ncaf\xe9\n", r"a\.csv:2: the byte 0xe9 at offset 8 is not utf-8"),
    ],
)
def test_a_broken_record_is_named_by_file_and_line(write, name, content, message):
    with pytest.raises(ValueError, match=message):
        read(write(name, content), "text")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_a_line_too_long_for_a_record_is_refused(write, name, monkeypatch):
    monkeypatch.setattr(records, "MAX_RECORD", 100)
    quoted = '"' + "x" * 150 + '"'
    row = f'{{"text": {quoted}}}' if name == "a.jsonl" else quoted
    head = "" if name == "a.jsonl" else "text\n"
    line = 1 if name == "a.jsonl" else 2
    with pytest.raises(ValueError, match=rf"{name}:{line}: the line has more than 100 characters"):
        read(write(name, f"{head}{row}\n"), "text")


def test_a_quotation_mark_that_is_never_closed_ends_at_the_limit(write, monkeypatch):
    monkeypatch.setattr(records, "MAX_RECORD", 1_000)
    path = write("a.csv", 'text\n"one\n' + "two\n" * 1_000)
    with pytest.raises(ValueError, match=r"a\.csv:2: broken CSV .*field limit \(1000\)"):
        read(path, "text")


def test_records_are_a_stream(write):
    sentence = "A sentence of about fifty characters, more or less."
    contents = {
        "a.csv": "text\n" + f'"{sentence}"\n' * 40_000,
        "a.tsv": "text\n" + f"{sentence}\n" * 40_000,
        "a.jsonl": json.dumps({"text": sentence}).join(["", "\n"]) * 40_000,
        "a.jsonl.gz": gzip.compress((f'{{"text": "{sentence}"}}\n' * 40_000).encode(), 1),
    }
    for name, content in contents.items():
        rows = records.read_columns(whole_file(str(write(name, content))), ["text"], "utf-8")
        tracemalloc.start()
        try:
            assert sum(values == (sentence,) for _, values in rows) == 40_000
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


# ---- Stretches

CELL = st.text(st.sampled_from("ab \u00e9\u4f60\U0001f600\u2028\ufeff\u0a0a\u0d0a"), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(CELL, CELL), max_size=12),
    ending=st.sampled_from([".jsonl", ".tsv"]),
    line_end=st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16-le", "utf-32-be", "utf-16"]),
    part_bytes=st.integers(1, 40),
)
def test_stretches_give_the_rows_of_the_file(
    tmp_path_factory, rows, ending, line_end, encoding, part_bytes
):
    from tfpt.pipelines.decoding import resolve_encoding

    if ending == ".tsv":
        line_end = line_end.replace(" ", "")
        lines = ["a\tb", *("\t".join(row) for row in rows)]
    else:
        lines = [json.dumps({"a": a, "b": b}, ensure_ascii=False) for a, b in rows]
    path = tmp_path_factory.mktemp("cut") / f"a{ending}"
    path.write_bytes("".join(line + line_end for line in lines).encode(encoding))
    whole, resolved = whole_file(str(path)), resolve_encoding(str(path), encoding)
    extents = records.cut_records(whole, resolved, part_bytes)
    assert sum(extent.num_bytes for extent in extents) == whole.num_bytes

    def rows_of(extent):
        read = records.read_columns(extent, ["b", "a"], resolved)
        return [(records.row_place(extent, resolved, row), values) for row, values in read]

    expected = rows_of(whole)
    assert [values for _, values in expected] == [(b, a) for a, b in rows]
    assert [row for extent in extents for row in rows_of(extent)] == expected


def test_a_large_file_is_cut_near_the_sizes_that_were_asked_for(write):
    content = "".join(json.dumps({"text": "x" * (i % 90)}) + "\n" for i in range(5_000))
    extent = whole_file(str(write("a.jsonl", content)))
    extents = records.cut_records(extent, "utf-8", 20_000)
    assert len(extents) == len(content) // 20_000 + 1
    assert all(20_000 <= one.num_bytes < 20_200 for one in extents[:-1])


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz", "a.tsv.xz"])
def test_csv_and_compressed_files_are_one_stretch(write, name):
    extent = whole_file(str(write(name, b"a\n" * 1000)))
    assert records.cut_records(extent, "utf-8", 10) == [extent]


def test_an_encoding_with_states_is_not_cut(write):
    text = json.dumps({"text": "\u65e5\u672c"}, ensure_ascii=False) + "\n"
    for encoding in ("iso2022_jp", "utf-7", "hz", "cp037", "unicode_escape"):
        extent = whole_file(str(write("a.jsonl", (text * 100).encode(encoding, "replace"))))
        assert records.cut_records(extent, encoding, 10) == [extent]


def test_a_stretch_of_records_names_the_line_of_the_file(write):
    good = '{"text": "one"}\n' * 50
    path = str(write("a.jsonl", f"{good}[2]\n{good}"))
    extents = records.cut_records(whole_file(path), "utf-8", 100)
    assert len(extents) > 10
    with pytest.raises(ValueError, match=r"a\.jsonl:51: each line must hold a JSON object"):
        list(itertools.chain.from_iterable(read(path, "text", extent=e) for e in extents))


def test_parquet_is_not_read_through_a_compression(write):
    with pytest.raises(ValueError, match=r"a\.parquet\.gz: Parquet is compressed inside"):
        records.check_records(str(write("a.parquet.gz", b"")))
