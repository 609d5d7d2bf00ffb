import bz2
import gzip
import json
import lzma
import tracemalloc

import pytest
from backports import zstd

from tfpt.pipelines import parts
from tfpt.pipelines.documents import Documents, read_documents

TWO_DOCUMENTS = [("One.", "Two two."), ("Three.",)]


def write_jsonl(write, name, *records):
    return write(name, "".join(json.dumps(record) + "\n" for record in records))


# ---- Layouts


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_lines_are_sentences_and_blank_lines_part_documents(write, line_end):
    text = "\n\n One.\nTwo two.  \n\n \t\n\nThree.".replace("\n", line_end)
    assert list(read_documents(write("a.txt", text))) == TWO_DOCUMENTS


def test_the_end_of_a_file_ends_a_document(write):
    paths = [write("a.txt", "One.\nTwo two."), write("b.txt", "Three.\n")]
    assert list(read_documents(paths)) == TWO_DOCUMENTS


def test_running_text_is_one_document_a_file(write):
    write("a.txt", "One is here. Two\nis here!\n\nThree is, too.\n")
    write("b.txt", "")
    write("c.txt", "A heading\n\nText.")
    documents = list(read_documents(write("a.txt", "One. Two! Three.").parent, layout="text"))
    assert documents == [("One.", "Two!", "Three."), ("A heading", "Text.")]


def test_only_line_ends_part_lines(write):
    text = "a\u2028b\x0bc\x85d\n"
    assert list(read_documents(write("a.txt", text))) == [("a\u2028b\x0bc\x85d",)]


def test_a_byte_order_mark_is_dropped(write):
    assert list(read_documents(write("a.txt", "\ufeffOne.\n".encode()))) == [("One.",)]
    utf16 = write("b.txt", "One.\n\nTwo.\n".encode("utf-16"))
    assert list(read_documents(utf16, encoding="utf-16")) == [("One.",), ("Two.",)]


def test_the_bert_sample_text_has_its_documents(shared_data):
    path = next(shared_data("lm_samples").rglob("sample_text.txt"))
    documents = list(read_documents(path))
    expected = [part.split("\n") for part in path.read_text().strip().split("\n\n")]
    assert [list(document) for document in documents] == expected
    assert len(documents) > 2


# ---- JSONL


@pytest.mark.parametrize("layout", ["lines", "text"])
def test_a_json_record_is_a_document(write, layout):
    path = write_jsonl(write, "a.jsonl", {"body": "One.\nTwo two."}, {"id": 1, "body": "Three."})
    write("a.jsonl", path.read_bytes().replace(b"\n", b"\n \n"))  # blank lines do not matter
    assert list(read_documents(path, field="body", layout=layout)) == TWO_DOCUMENTS


def test_the_lines_of_a_record_are_sentences_and_running_text_is_split(write):
    path = write_jsonl(write, "a.jsonl", {"text": "One. Two.\n\nThree."})
    assert list(read_documents(path)) == [("One. Two.", "Three.")]
    assert list(read_documents(path, layout="text")) == [("One.", "Two.", "Three.")]


def test_a_list_of_sentences_is_taken_as_it_is(write):
    path = write_jsonl(write, "a.jsonl", {"text": ["One. Two.", "", " Three. "]}, {"text": []})
    assert list(read_documents(path, layout="text")) == [("One. Two.", "Three.")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"', r"a\.jsonl:2: not JSON \(.* at column 13\)"),
        ("[1]", r"a\.jsonl:2: each line must hold a JSON object; received '\[1\]'"),
        ('{"body": "a", "id": 1}', r":2: there is no field `text`; the fields are 'body', 'id'"),
        ('{"text": null}', r":2: the field `text` holds null; a string or a list"),
        ('{"text": ["a", 1]}', r":2: the field `text` holds \[\"a\", 1\]"),
        ('{"text": "a\\ud83d"}', r":2: the field `text` holds half of a surrogate pair"),
    ],
)
def test_a_broken_record_is_named_by_file_and_line(write, line, message):
    documents = read_documents(write("a.jsonl", '{"text": "fine"}\n' + line + "\n"))
    with pytest.raises(ValueError, match=message):
        list(documents)


# ---- Sources


def test_globs_and_folders_are_read_sorted_by_path(write, tmp_path):
    for name in ("c.txt", "a/b.txt", "a/a.jsonl", "a/.hidden.txt", "a/notes.md", "b.txt"):
        write(name, '{"text": "a/a.jsonl"}' if name.endswith("jsonl") else name)

    def names(source):
        return [document[0] for document in read_documents(source)]

    assert names(tmp_path) == ["a/a.jsonl", "a/b.txt", "b.txt", "c.txt"]
    assert names(f"{tmp_path}/*.txt") == ["b.txt", "c.txt"]
    assert names(f"{tmp_path}/**/*.txt") == ["a/b.txt", "b.txt", "c.txt"]
    assert names([tmp_path / "c.txt", f"{tmp_path}/*.txt"]) == ["c.txt", "b.txt"]
    assert names(tmp_path / "a" / "notes.md") == ["a/notes.md"]


def test_a_file_with_glob_characters_in_its_name_is_found(write):
    assert list(read_documents(write("wiki[1].txt", "One."))) == [("One.",)]


def test_a_glob_without_a_match_is_an_error_at_the_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"No file matches wiki/\*\.txt .*{tmp_path.name}"):
        read_documents("wiki/*.txt")
    with pytest.raises(FileNotFoundError, match=r"There is no file .*wiki\.txt"):
        read_documents(tmp_path / "wiki.txt")
    with pytest.raises(FileNotFoundError, match=r"holds no file that ends in \.txt, .*glob"):
        read_documents(tmp_path)


def test_a_token_store_is_no_text(store):
    with pytest.raises(ValueError, match="is a token store, not text"):
        read_documents(store.path)


def test_no_source_is_an_error():
    with pytest.raises(ValueError, match="empty list"):
        read_documents([])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.zip", r"a\.zip: \.zip files are not supported\. This is an archive: unpack it"),
        ("a.tar.gz", r"a\.tar\.gz: \.tar files are not supported\. This is an archive"),
        ("a.arrow", r"\.arrow files are not supported.*binary: convert it to Parquet"),
        ("a.pdf", r"\.pdf files are not supported.*plain text"),
        ("a.json", r"\.json files are not supported.*convert it to JSON Lines"),
        ("a.parquet.gz", r"Parquet is compressed inside"),
    ],
)
def test_other_formats_are_refused_at_the_call(write, name, message):
    with pytest.raises(ValueError, match=message):
        read_documents(write(name, b"\x1f\x8b"))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"layout": "words"}, '"lines" or "text"; received layout=\'words\''),
        ({"language": "English"}, "ISO 639 code"),
        ({"encoding": "utf-9"}, "'utf-9'"),
        ({"encoding": "hex"}, "'hex'"),
    ],
)
def test_arguments_are_checked_at_the_call(write, argument, message):
    with pytest.raises(ValueError, match=message):
        read_documents(write("a.txt", "One."), **argument)


# ---- Compression and encodings


@pytest.mark.parametrize(
    ("ending", "compress"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", zstd.compress),
    ],
)
def test_every_format_is_read_through_every_compression(write, ending, compress):
    contents = {
        "a.txt": "One.\nTwo two.\n\nThree.\n",
        "b.jsonl": '{"text": "One.\\nTwo two."}\n{"text": "Three."}\n',
        "c.csv": 'id,text\n1,"One.\nTwo two."\n2,Three.\n',
        "d.tsv": "text\tid\nOne.\t1\nThree.\t2\n",
        "e": "One.\nTwo two.\n\nThree.\n",
    }
    for name, content in contents.items():
        documents = read_documents(write(name + ending, compress(content.encode())))
        expected = [("One.",), ("Three.",)] if name == "d.tsv" else TWO_DOCUMENTS
        assert list(documents) == expected
        assert documents.bytes_read == documents.num_bytes


def test_columns_of_tables_are_named_or_counted(write):
    table = "One. Two.,x\nThree.,y\n"
    assert list(read_documents(write("a.csv", table), field="0", layout="text")) == [
        ("One.", "Two."),
        ("Three.",),
    ]
    named = write("b.csv", f"body,label\n{table}")
    assert list(read_documents(named, field="body"))[1] == ("Three.",)
    with pytest.raises(ValueError, match=r"b\.csv: no column `text`; the header has 'body'"):
        list(read_documents(named))


def test_a_damaged_file_is_named_while_it_is_read(write):
    path = write("a.txt.gz", gzip.compress(b"One.\n\n" * 100)[:-4])
    with pytest.raises(ValueError, match=r"a\.txt\.gz is cut off"):
        list(read_documents(path))


@pytest.mark.parametrize("ending", ["txt", "jsonl"])
def test_a_bad_byte_is_named_by_file_line_and_offset(write, ending):
    good = b'{"text": "\xc3\xa9"}\n' * 5
    path = write(f"a.{ending}", good + b'{"text": "caf\xe9"}\n')
    with pytest.raises(ValueError, match=rf"a\.{ending}:6: .*0xe9 at offset {len(good) + 13} "):
        list(read_documents(path))
    assert list(read_documents(path, encoding="latin-1"))[-1][-1].endswith(
        'caf\u00e9"}' if ending == "txt" else "caf\u00e9"
    )


def test_a_nul_is_refused(write):
    with pytest.raises(ValueError, match=r"a\.txt:2: the NUL at offset 6 .*encoding=\"utf-16\""):
        list(read_documents(write("a.txt", "One.\nT\0wo.")))


def test_encodings_are_detected_file_by_file_and_told(write, tmp_path):
    text = "\u5b78\u800c\u6642\u7fd2\u4e4b\uff0c\u4e0d\u4ea6\u8aaa\u4e4e\uff1f\n" * 5
    write("a.txt", text)
    write("b.txt.gz", gzip.compress(text.encode("big5")))
    write("c.txt", text.encode("utf-16"))
    write("d.csv", f"text\n{text}".encode("gb18030"))
    write("e.jsonl", json.dumps({"text": "plain"}))
    documents = read_documents(tmp_path, encoding="auto")
    assert documents.encodings == {}
    found = list(documents)
    assert found[:3] == [(text[:-1].split("\n")[0],) * 5] * 3
    assert {
        name.rpartition("/")[2]: encoding for name, encoding in documents.encodings.items()
    } == {
        "a.txt": "utf-8",
        "b.txt.gz": "big5hkscs",
        "c.txt": "utf-16-le",
        "d.csv": "gb18030",
        "e.jsonl": "utf-8",
    }


def test_what_is_named_is_not_detected(write):
    documents = read_documents(write("a.txt", "One."))
    assert list(documents) == [("One.",)]
    assert documents.encodings == {}


def test_other_file_systems_are_read_alike(remote):
    remote("in/a.txt", "One.\nTwo two.\n\nThree.")
    remote("in/deep/b.jsonl.gz", gzip.compress(b'{"text": "Four."}\n'))
    for source in (remote.root, f"{remote.root}/**", f"{remote.root}/in/*/*", f"{remote.root}/in"):
        documents = read_documents(source)
        assert list(documents)[-1] == ("Four.",)
        assert documents.bytes_read == documents.num_bytes
    assert list(read_documents(f"{remote.root}/in/a.txt")) == TWO_DOCUMENTS
    with pytest.raises(FileNotFoundError, match=r"No file matches ram://\w+/\*\.csv\. Check"):
        read_documents(f"{remote.root}/*.csv")


# ---- Streaming


def test_documents_can_be_read_again_and_see_what_changed(write):
    path = write("a.txt", "One.")
    documents = read_documents(path)
    assert list(documents) == list(documents) == [("One.",)]
    write("a.txt", "Two.")
    assert list(documents) == [("Two.",)]


@pytest.mark.parametrize("layout", ["lines", "text"])
def test_bytes_read_grows_to_num_bytes_and_starts_anew(write, layout):
    text = "\u00e9\u00e8 one.\n\n" * 20_000
    write_jsonl(write, "c.jsonl", {"text": "One."}, {"text": "Two."})
    write("b.txt", "One.\nTwo.")
    folder = write("a.txt", text).parent
    documents = read_documents(folder, layout=layout)
    assert documents.num_bytes == sum(path.stat().st_size for path in folder.iterdir())
    for _ in range(2):
        seen = []
        for _ in documents:
            seen.append(documents.bytes_read)
        assert seen == sorted(seen)
        assert 0 < seen[0] < documents.num_bytes
        assert documents.bytes_read == documents.num_bytes
    next(iter(documents))
    assert documents.bytes_read == seen[0]


def test_a_long_line_and_a_long_document_are_cut(write, monkeypatch):
    monkeypatch.setattr(parts, "MAX_LINE", 100)
    monkeypatch.setattr(parts, "_MAX_DOCUMENT", 1_000)
    words = " ".join(f"w{number}" for number in range(1_000))
    documents = list(read_documents(write("a.txt", words)))
    sentences = [sentence for document in documents for sentence in document]
    assert " ".join(sentences) == words
    assert max(map(len, sentences)) <= 105  # a piece, and what was left of the one before
    assert max(sum(map(len, document)) for document in documents) < 1_100
    assert min(sum(map(len, document)) for document in documents[:-1]) >= 1_000


def test_white_space_within_a_long_line_is_no_blank_line(write, monkeypatch):
    monkeypatch.setattr(parts, "MAX_LINE", 10)
    path = write("a.txt", "One." + " " * 50 + "two.\n \nThree.")
    assert list(read_documents(path)) == [("One.", "two."), ("Three.",)]


@pytest.mark.parametrize("layout", ["lines", "text"])
def test_a_long_record_is_cut_alike(write, layout, monkeypatch):
    monkeypatch.setattr(parts, "MAX_LINE", 100)
    monkeypatch.setattr(parts, "_MAX_DOCUMENT", 1_000)
    words = " ".join(f"w{number}." for number in range(1_000))
    documents = list(read_documents(write_jsonl(write, "a.jsonl", {"text": words}), layout=layout))
    assert " ".join(sentence for document in documents for sentence in document) == words
    assert max(sum(map(len, document)) for document in documents) < 1_110


def test_a_large_file_is_not_held_in_memory(write):
    sentence = "A sentence of about fifty characters, more or less.\n"
    documents = read_documents(write("a.txt", (sentence * 20 + "\n") * 5_000))  # 5 MB
    tracemalloc.start()
    try:
        assert sum(1 for _ in documents) == 5_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_any_source_can_be_wrapped():
    documents = Documents(lambda: iter([["One.", ""], [], [""], ("Two.", "Three.")]))
    assert list(documents) == list(documents) == [("One.",), ("Two.", "Three.")]
    assert documents.num_bytes is None
