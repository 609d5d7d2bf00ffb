"""A store that a Beam pipeline writes is the one that this machine's processes write."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import apache_beam
import pytest
from click.testing import CliRunner
from parts import in_parts
from test_store_writer import FILES, contents

from tfpt.cli import main
from tfpt.pipelines import (
    beam_pipeline,
    beam_store,
    open_store,
    part_work,
    read_documents,
    shared_folder,
    store_writer,
    write_store,
    write_store_by_beam,
)

HERE = ["--runner=DirectRunner"]
TWO_PROCESSES = [*HERE, "--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.fixture
def texts(write):
    """A folder of files, one of them in another encoding, that are several parts."""
    for number in range(4):
        text = "\n\n".join(f"w{number} w{place}\nw{place}" for place in range(50))
        write(f"texts/{number}.txt", text.encode("utf-16" if number == 2 else "utf-8"))
    folder = write("texts/4.jsonl", '{"text": ["w1 w2", "w3"]}\n' * 20).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_work, "PART_BYTES", 1150)
        yield folder


@pytest.mark.parametrize("options", [HERE, pytest.param(TWO_PROCESSES, marks=pytest.mark.slow)])
def test_the_store_is_the_one_that_is_written_without_beam(
    texts, tokenizer, tmp_path, options, capfd
):
    documents, again = (read_documents(texts, encoding="auto") for _ in range(2))
    store = write_store(documents, tokenizer, tmp_path / "local")
    counts = write_store_by_beam(again, tokenizer, tmp_path / "beam", options)
    assert contents(tmp_path / "beam") == contents(store.path)
    assert counts == {"tokens": 660, "sentences": 440, "documents": 220}
    assert again.encodings == documents.encodings
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beam", "local", "texts"]
    assert capfd.readouterr().err == ""
    open_store(tmp_path / "beam", tokenizer)


def test_words_of_segmented_texts_are_kept(texts, tokenizer, tmp_path):
    documents = read_documents(texts, encoding="auto", segmented=True)
    write_store(documents, tokenizer, tmp_path / "local")
    write_store_by_beam(documents, tokenizer, tmp_path / "beam", HERE)
    here, there = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("local", "beam")
    )
    assert "word_starts.bin" in here
    assert there == here


def test_documents_and_store_may_lie_in_a_bucket(corpus, store, tokenizer, remote):
    text = "\n\n".join("\n".join(document) for document in corpus)
    source = remote("texts/corpus.txt", text)
    path = f"{remote.root}/stores/small"
    write_store_by_beam(read_documents(source), tokenizer, path, HERE)
    written = {name: shared_folder.read_bytes(f"{path}/{name}") for name in FILES}
    assert written == contents(store.path)
    assert not shared_folder.exists(f"{path}.partial")
    with pytest.raises(FileExistsError, match="exists already"):
        write_store_by_beam(read_documents(source), tokenizer, path, HERE)


def test_in_a_bucket_other_sources_do_not_go_on_with_a_store(tokenizer, remote, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    path = f"{remote.root}/s"
    documents = read_documents(remote("a.txt", "w1 w2"))
    monkeypatch.setattr(beam_store, "run_steps", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_store_by_beam(documents, tokenizer, path, HERE)
    monkeypatch.undo()
    with pytest.raises(FileExistsError, match="begun with other sources"):
        write_store_by_beam(read_documents(remote("b.txt", "w3")), tokenizer, path, HERE)
    assert write_store_by_beam(documents, tokenizer, path, HERE)["tokens"] == 2


def test_parts_that_are_written_already_are_kept(corpus, store, tokenizer, tmp_path, monkeypatch):
    documents = in_parts(corpus, 6)

    def stopped(folder, steps, options):
        for number in (0, 3, 3):  # a piece may be done twice
            steps[0].work(number)
        raise KeyboardInterrupt

    monkeypatch.setattr(beam_store, "run_steps", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_store_by_beam(documents, tokenizer, tmp_path / "s", HERE)
    monkeypatch.undo()
    parts = tmp_path / "s.partial" / "parts"
    assert sorted(path.name for path in parts.iterdir()) == ["00000", "00003"]
    read = []
    monkeypatch.setattr(type(documents.given[0]), "__iter__", reads(read))
    write_store_by_beam(documents, tokenizer, tmp_path / "s", HERE)
    assert sorted(read) == [1, 2, 4, 5]
    assert contents(tmp_path / "s") == contents(store.path)


def reads(numbers):
    def read(part):
        numbers.append(part.number)
        return iter(part.documents)

    return read


def test_attempts_at_the_same_part_do_not_disturb_each_other(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "part.json").write_text("whole")
    for _ in range(2):
        shared_folder.publish(source, str(tmp_path / "00001"), "part.json")
    (tmp_path / "00002").mkdir()  # appears while another attempt copies
    (tmp_path / "00002" / "other").touch()
    with pytest.raises(OSError, match="not empty"):
        shared_folder.publish(source, str(tmp_path / "00002"), "part.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00001", "00002", "source"]


@pytest.mark.parametrize("options", [HERE, pytest.param(TWO_PROCESSES, marks=pytest.mark.slow)])
def test_an_error_in_a_part_names_the_file_and_leaves_nothing(texts, tokenizer, tmp_path, options):
    (texts / "1.txt").write_bytes(b"w1\nw2 \xff\n")
    (texts / "3.txt").write_bytes(b"w1\x00\n" + b"w1\n" * 100)
    with pytest.raises(ValueError, match=r"1\.txt.*\(and 2 more: .*3\.txt"):
        write_store_by_beam(read_documents(texts), tokenizer, tmp_path / "s", options)
    assert [path.name for path in tmp_path.iterdir()] == ["texts"]


def test_an_empty_corpus_is_refused(tokenizer, write, tmp_path):
    documents = read_documents(write("empty/a.txt", "\n\n"))
    with pytest.raises(ValueError, match="The corpus is empty"):
        write_store_by_beam(documents, tokenizer, tmp_path / "s", HERE)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_documents_of_a_source_of_ones_own_are_refused(corpus, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="read by one process only"):
        write_store_by_beam(corpus, tokenizer, tmp_path / "s", HERE)
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_not_overwritten(texts, tokenizer, tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(FileExistsError, match="never overwritten"):
        write_store_by_beam(read_documents(texts), tokenizer, tmp_path / "s", HERE)


def test_without_beam_the_way_to_install_it_is_told(texts, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ValueError, match=r"pip install 'tfpt\[beam\]'"):
        write_store_by_beam(read_documents(texts), tokenizer, tmp_path / "s", HERE)
    assert [path.name for path in tmp_path.iterdir()] == ["texts"]


def test_a_step_begins_when_the_one_before_is_done(tmp_path):
    note = tmp_path / "note"
    note.touch()
    steps = [
        beam_pipeline.Step(
            "Count", lambda number: note.write_text(f"{note.read_text()}{number} "), 3
        ),
        beam_pipeline.Step("Double", lambda number: note.write_text(note.read_text() * 2), 2),
    ]
    beam_pipeline.run_steps(str(tmp_path), steps, HERE)
    first = note.read_text().split()
    assert sorted(first[:3]) == ["0", "1", "2"]
    assert first == first[:3] * 4


@pytest.mark.parametrize("where", ["here", "in a bucket"])
@pytest.mark.parametrize("failure", ["a lost connection", "out of memory", "cancelled"])
def test_a_pipeline_that_fails_keeps_the_parts_that_are_done(
    tokenizer, tmp_path, remote, monkeypatch, failure, where
):
    def fail(pipeline, *arguments):
        monkeypatch.undo()
        if failure == "cancelled":  # as of Flink: its runner says so, but raises nothing
            return SimpleNamespace(state="CANCELLED", wait_until_finish=lambda: None)
        raise ConnectionError("gone") if failure == "a lost connection" else RuntimeError("killed")

    folder = remote.root if where == "in a bucket" else str(tmp_path)
    documents = read_documents(remote("a.txt", "w1 w2"))
    monkeypatch.setattr(apache_beam.Pipeline, "run", fail)
    with pytest.raises(OSError, match="What is done is kept: repeat the command to go on"):
        write_store_by_beam(documents, tokenizer, f"{folder}/s", HERE)
    assert shared_folder.exists(f"{folder}/s.partial/plan.json")
    assert write_store_by_beam(documents, tokenizer, f"{folder}/s", HERE)["tokens"] == 2
    assert not shared_folder.exists(f"{folder}/s.partial")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--runner=NoSuchRunner"], "NoSuchRunner"),
        (["--direct_num_workers=many"], "direct_num_workers: invalid int value: 'many'"),
    ],
)
def test_wrong_options_are_told_before_anything_is_written(
    texts, tokenizer, tmp_path, options, said, capfd
):
    with pytest.raises(ValueError, match=f"Apache Beam refuses the options .*{said}"):
        write_store_by_beam(read_documents(texts), tokenizer, tmp_path / "s", options)
    assert [path.name for path in tmp_path.iterdir()] == ["texts"]
    assert capfd.readouterr().err == ""


def test_several_attempts_at_once_to_join_the_parts_give_one_store(
    corpus, store, tokenizer, tmp_path, monkeypatch
):
    whole, together = store_writer.write_whole, threading.Barrier(3)

    def at_once(path, text):
        together.wait(30)
        whole(path, text)
        together.wait(30)

    def thrice(folder, steps, options):
        for number in range(steps[0].num_pieces):
            steps[0].work(number)
        monkeypatch.setattr(store_writer, "write_whole", at_once)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(steps[1].work, [0] * 3))
        left.extend(path.name for path in Path(folder).glob("joined*"))

    left = []
    monkeypatch.setattr(beam_store, "run_steps", thrice)
    write_store_by_beam(in_parts(corpus, 6), tokenizer, tmp_path / "s", HERE)
    assert contents(tmp_path / "s") == contents(store.path)
    assert left == []


def test_a_failure_of_a_worker_is_one_sentence(tmp_path):
    steps = [beam_pipeline.Step("Read", lambda number: (tmp_path / "gone").read_text(), 1)]
    with pytest.raises(OSError, match=r"^The pipeline failed: .*FileNotFound.*gone.*$"):
        beam_pipeline.run_steps(str(tmp_path), steps, HERE)


def test_the_command_writes_the_same_store(texts, tokenizer, tmp_path):
    vocabulary = tokenizer.save(tmp_path / "vocab.txt")

    def run(name, *options):
        command = ["store", str(texts), "--encoding", "auto", "--vocabulary", str(vocabulary)]
        return CliRunner().invoke(main, [*command, "--out", str(tmp_path / name), *options])

    here, there = run("a"), run("b", f"--beam={HERE[0]} --direct_num_workers=1")
    assert there.exit_code == 0, there.output
    assert there.stdout.replace("/b:", "/a:") == here.stdout
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    there = run("c", "--beam=--runner=NoSuchRunner")
    assert there.exit_code == 1
    assert "NoSuchRunner" in there.stderr


def test_options_that_have_no_effect_are_warned_about(texts, tokenizer, tmp_path):
    vocabulary = str(tokenizer.save(tmp_path / "vocab.txt"))

    def run(*command):
        result = CliRunner().invoke(main, [*map(str, command), "--workers", "2"])
        assert result.exit_code == 0, result.output
        return [line for line in result.stderr.splitlines() if line.startswith("Warning")]

    beam, out = f"--beam={HERE[0]}", tmp_path / "s"
    store = ("store", texts, "--encoding", "auto", "--vocabulary", vocabulary, "--out", out)
    warning = "Warning: --workers has no effect with --beam."
    assert run(*store, beam) == [warning]
    assert run("store", "--verify", out, beam) == [
        "Warning: --beam has no effect with --verify.",
        "Warning: --workers has no effect with --verify.",
    ]
    clean = ("clean", texts, "--encoding", "auto", "--min-words", 1, "--out", tmp_path / "c")
    assert run(*clean, beam) == [warning]


def test_a_quote_that_is_not_closed_is_one_sentence():
    result = CliRunner().invoke(main, ["store", "a.txt", "--beam", "'--runner=x"])
    assert result.exit_code == 2
    assert "Invalid value for '--beam': '--runner=x: No closing quotation" in result.stderr
