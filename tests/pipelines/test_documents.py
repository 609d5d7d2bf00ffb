import json
import tracemalloc

import pytest

from tfpt.pipelines import documents as documents_module
from tfpt.pipelines.documents import Documents, read_documents

TWO_DOCUMENTS = [("One.", "Two two."), ("Three.",)]


@pytest.fixture
def write(tmp_path):
    """A function that writes a file below `tmp_path` and gives its path."""

    def write_file(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


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
        ('{"text": "a"', r"a\.jsonl, line 2 is not JSON: .* at column 13"),
        ("[1]", r"a\.jsonl, line 2 is not a JSON object, but list"),
        ('{"body": "a", "id": 1}', r"line 2 has no field 'text'; its fields are body, id"),
        ('{"text": null}', r"line 2: the field 'text' holds null; a string or a list"),
        ('{"text": ["a", 1]}', r"line 2: the field 'text' holds \[\"a\", 1\]"),
        ('{"text": "a\\ud83d"}', r"line 2: the field 'text' holds half of a surrogate pair"),
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
    with pytest.raises(FileNotFoundError, match=r"holds no \.txt or \.jsonl file.*glob"):
        read_documents(tmp_path)


def test_no_source_is_an_error():
    with pytest.raises(ValueError, match="empty list"):
        read_documents([])


@pytest.mark.parametrize("ending", ["txt.gz", "zst", "parquet"])
def test_formats_to_come_are_refused_at_the_call(write, ending):
    path = write(f"a.{ending}", b"\x1f\x8b")
    with pytest.raises(ValueError, match=rf"a\.{ending}: .* not supported yet.*plain text"):
        read_documents(path)


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


# ---- Bytes that are no text


@pytest.mark.parametrize("ending", ["txt", "jsonl"])
@pytest.mark.parametrize("padding", [0, 1_500_000])
def test_a_bad_byte_is_named_by_file_line_and_offset(write, ending, padding):
    good = b'{"text": "\xc3\xa9"}\n' * (padding // 15 + 2)
    path = write(f"a.{ending}", good + b'{"text": "caf\xe9"}\n')
    line, offset = good.count(b"\n") + 1, len(good) + 13
    with pytest.raises(ValueError, match=rf"a\.{ending}, line {line}: .*0xe9 at offset {offset} "):
        list(read_documents(path))
    assert list(read_documents(path, encoding="latin-1"))[-1][-1].endswith(
        'caf\u00e9"}' if ending == "txt" else "caf\u00e9"
    )


def test_a_character_cut_off_at_the_end_is_a_bad_byte(write):
    path = write("a.txt", "One.\n\u00e9".encode()[:-1])
    with pytest.raises(ValueError, match=r"line 2: the byte 0xc3 at offset 5 is not utf-8"):
        list(read_documents(path))


def test_utf_16_is_told_from_utf_8(write):
    with pytest.raises(ValueError, match="line 1: the byte 0xff at offset 0 is not utf-8"):
        list(read_documents(write("a.txt", b"\xff\xfe" + "One.".encode("utf-16-le"))))
    with pytest.raises(ValueError, match=r"NUL byte, in line 1.*encoding=\"utf-16\""):
        list(read_documents(write("b.txt", "One.".encode("utf-16-le"))))
    with pytest.raises(ValueError, match=r"b\.txt.* is not utf-16"):
        list(read_documents(write("b.txt", b"One."), encoding="utf-16"))


# ---- Streaming


def test_documents_can_be_read_again_and_see_what_changed(write):
    path = write("a.txt", "One.")
    documents = read_documents(path)
    assert list(documents) == list(documents) == [("One.",)]
    write("a.txt", "Two.")
    assert list(documents) == [("Two.",)]


@pytest.mark.parametrize("layout", ["lines", "text"])
def test_bytes_read_grows_to_num_bytes_and_starts_anew(write, layout):
    text = "\u00e9\u00e8 one.\n\n" * 5_000
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
    monkeypatch.setattr(documents_module, "MAX_PARAGRAPH", 100)
    monkeypatch.setattr(documents_module, "_MAX_DOCUMENT", 1_000)
    words = " ".join(f"w{number}" for number in range(1_000))
    documents = list(read_documents(write("a.txt", words)))
    sentences = [sentence for document in documents for sentence in document]
    assert " ".join(sentences) == words
    assert max(map(len, sentences)) <= 100
    assert max(sum(map(len, document)) for document in documents) < 1_100
    assert min(sum(map(len, document)) for document in documents[:-1]) >= 1_000


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


# ---- tensorflow-datasets


@pytest.fixture(scope="module")
def prepared_dataset(tmp_path_factory):
    """A dataset written by tensorflow-datasets into a folder of its own."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    folder = str(tmp_path_factory.mktemp("tfds"))
    texts = ["One. Two two.", "Thr\u00e9\u00e9."]
    train = {"text": texts, "id": [1, 2], "parts": tf.ragged.constant([["a", "b"], ["c"]])}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "text": tfds.features.Text(),
                "id": tfds.features.Scalar(tf.int64),
                "parts": tfds.features.Sequence(tfds.features.Text()),
            }
        ),
        split_datasets={"train": tf.data.Dataset.from_tensor_slices(train)},
        data_dir=folder,
        disable_shuffling=True,
    )
    tfds.core.add_data_dir(folder)
    return "tfds:tiny"


def test_a_tfds_record_is_a_document(prepared_dataset):
    documents = read_documents(prepared_dataset, layout="text")
    assert documents.num_bytes is None
    for _ in range(2):
        assert list(documents) == [("One.", "Two two."), ("Thr\u00e9\u00e9.",)]
    assert documents.bytes_read > 0
    assert list(read_documents(f"{prepared_dataset}[train[1:]]")) == [("Thr\u00e9\u00e9.",)]
    assert list(read_documents(prepared_dataset, field="parts")) == [("a", "b"), ("c",)]


def test_tfds_and_files_can_be_mixed(prepared_dataset, write):
    path = write("a.txt", "Zero.")
    documents = read_documents([path, f"{prepared_dataset}[train[:1]]"])
    assert list(documents) == [("Zero.",), ("One. Two two.",)]


@pytest.mark.parametrize(
    ("source", "field", "message"),
    [
        ("tfds:no_such_data_set", "text", r"cannot give tfds:no_such_data_set: .*TFDS_DATA_DIR"),
        ("tfds:tiny[dev]", "text", r"cannot give tfds:tiny\[dev\]"),
        ("tfds:tiny", "body", r"tfds:tiny has no field 'body'; it has id, parts, text"),
        ("tfds:tiny[", "text", r'A tfds source is "tfds:NAME"'),
    ],
)
def test_what_tfds_cannot_give_is_an_error_at_the_call(prepared_dataset, source, field, message):
    with pytest.raises(ValueError, match=message):
        read_documents(source, field=field)


def test_a_tfds_field_that_is_no_text_is_refused(prepared_dataset):
    with pytest.raises(ValueError, match=r"tfds:tiny, record 0: the field 'id' holds 1"):
        list(read_documents(prepared_dataset, field="id"))
