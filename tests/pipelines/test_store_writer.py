"""A store is written in parts: by several processes, stopped at any moment, gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from parts import in_parts

from tfpt.pipelines import (
    Tokenizer,
    open_store,
    read_documents,
    store_parts,
    store_writer,
    verify_store,
    write_store,
)
from tfpt.pipelines.store import ARRAYS

FILES = (*ARRAYS, "store.json", "vocab.txt", "vocab.settings.json")


def contents(path):
    return {name: (Path(path) / name).read_bytes() for name in FILES}


@pytest.mark.parametrize(("num_parts", "num_workers"), [(1, 1), (7, 1), (7, 2)])
def test_parts_and_processes_do_not_change_a_byte(
    corpus, store, tokenizer, tmp_path, num_parts, num_workers
):
    moved = []
    written = write_store(
        in_parts(corpus, num_parts),
        tokenizer,
        tmp_path / "s",
        num_workers=num_workers,
        moved=lambda *added: moved.append(added),
    )
    assert contents(written.path) == contents(store.path)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert sum(documents for _, documents in moved) == len(corpus)
    verify_store(written)


def test_parts_without_a_document_are_nothing(corpus, store, tokenizer, tmp_path):
    documents = in_parts([*corpus[:30], *[("\u0000",)] * 60, *corpus[30:]], 12)
    assert contents(write_store(documents, tokenizer, tmp_path / "s").path) == contents(store.path)


def test_what_was_stopped_goes_on_with_the_parts_that_are_whole(
    corpus, store, tokenizer, tmp_path, monkeypatch
):
    documents, written = in_parts(corpus, 6), []
    whole = store_parts.write_part

    def until_the_third(part, *arguments):
        if part.number == 2 and len(written) < 3:
            raise KeyboardInterrupt
        written.append(part.number)
        return whole(part, *arguments)

    monkeypatch.setattr(store_writer, "write_part", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_store(documents, tokenizer, tmp_path / "s")
    assert [path.name for path in tmp_path.iterdir()] == ["s.partial"]
    written.append(None)  # the second call begins
    assert contents(write_store(documents, tokenizer, tmp_path / "s").path) == contents(store.path)
    assert written == [0, 1, None, 2, 3, 4, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("damage", ["shorter", "flipped", "gone"])
def test_a_part_that_was_damaged_meanwhile_is_written_anew(
    corpus, store, tokenizer, tmp_path, monkeypatch, damage
):
    documents = in_parts(corpus, 4)

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(store_writer, "join_parts", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_store(documents, tokenizer, tmp_path / "s")
    monkeypatch.undo()
    path = tmp_path / "s.partial" / "parts" / "00001" / "sentence_offsets.bin"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data[:-8] if damage == "shorter" else data)
    if damage == "gone":
        path.unlink()
    assert contents(write_store(documents, tokenizer, tmp_path / "s").path) == contents(store.path)


def test_other_sources_or_another_vocabulary_do_not_go_on_with_a_store(
    corpus, tokenizer, tmp_path, monkeypatch
):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(store_writer, "join_parts", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_store(in_parts(corpus, 4), tokenizer, tmp_path / "s")
    before = sorted((tmp_path / "s.partial" / "parts").rglob("*"))
    with pytest.raises(FileExistsError, match="begun with other sources"):
        write_store(in_parts(corpus[1:], 4), tokenizer, tmp_path / "s")
    other = Tokenizer([*tokenizer.vocabulary, "more"])
    with pytest.raises(FileExistsError, match="another vocabulary"):
        write_store(in_parts(corpus, 4), other, tmp_path / "s")
    assert sorted((tmp_path / "s.partial" / "parts").rglob("*")) == before


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_in_a_part_leaves_nothing(corpus, tokenizer, tmp_path, num_workers):
    documents = in_parts(corpus, 5, part3={"fails": "error"})
    with pytest.raises(ValueError, match="a bad byte in part 3"):
        write_store(documents, tokenizer, tmp_path / "s", num_workers=num_workers)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_dies_is_a_clear_error_and_loses_no_part(corpus, store, tokenizer, tmp_path):
    documents = in_parts(corpus, 5, part3={"fails": "death", "seconds": 2.0})
    with pytest.raises(OSError, match="ended from outside"):
        write_store(documents, tokenizer, tmp_path / "s", num_workers=2)
    assert [path.name for path in tmp_path.iterdir()] == ["s.partial"]
    whole = [path.name for path in (tmp_path / "s.partial" / "parts").glob("?????")]
    assert {"00000", "00001"} <= set(whole)
    again = write_store(in_parts(corpus, 5), tokenizer, tmp_path / "s", num_workers=1)
    assert contents(again.path) == contents(store.path)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_store_is_written_by_one_process_at_a_time(corpus, tokenizer, tmp_path, monkeypatch):
    def again(*arguments):
        with pytest.raises(FileExistsError, match="by another process"):
            write_store(in_parts(corpus, 2), tokenizer, tmp_path / "s")
        return join(*arguments)

    join = store_writer.join_parts
    monkeypatch.setattr(store_writer, "join_parts", again)
    write_store(in_parts(corpus, 2), tokenizer, tmp_path / "s")


def test_offsets_of_later_parts_are_shifted_also_in_pieces(
    corpus, store, tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr(store_writer, "_OFFSETS_AT_ONCE", 7)
    documents = in_parts(corpus, 3)
    assert contents(write_store(documents, tokenizer, tmp_path / "s").path) == contents(store.path)


def test_files_are_joined_where_the_kernel_cannot_copy(
    corpus, store, tokenizer, tmp_path, monkeypatch
):
    def refuse(*arguments):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    documents = in_parts(corpus, 3)
    assert contents(write_store(documents, tokenizer, tmp_path / "s").path) == contents(store.path)


class Snapshots:
    """What lies in a folder before each step that changes a file: what a kill there would leave.

    What a program has not yet handed to the system is lost in both.
    """

    def __init__(self, folder, target):
        self.folder, self.target, self.taken, self.on = folder, target, 0, True
        sys.addaudithook(self._note)  # there is no way to take one off

    def _note(self, event, arguments):
        if not self.on or event not in ("open", "os.mkdir", "os.rename", "shutil.rmtree"):
            return
        if str(arguments[0]).startswith(str(self.folder)):
            self.on = False
            shutil.copytree(self.folder, self.target / str(self.taken))
            self.taken, self.on = self.taken + 1, True


def test_it_may_be_killed_at_each_step(corpus, store, tokenizer, tmp_path):
    documents = in_parts(corpus, 2)
    (tmp_path / "work").mkdir()
    (tmp_path / "killed").mkdir()
    snapshots = Snapshots(tmp_path / "work", tmp_path / "killed")
    write_store(documents, tokenizer, tmp_path / "work" / "s")
    snapshots.on = False
    states = set()
    for number in range(snapshots.taken):
        folder = tmp_path / "killed" / str(number)
        states |= {path.relative_to(folder) for path in folder.rglob("*")}
        was_whole = (folder / "s").exists()
        if was_whole:
            with pytest.raises(FileExistsError, match="never overwritten"):
                write_store(documents, tokenizer, folder / "s")
        else:
            write_store(documents, tokenizer, folder / "s")
        assert contents(folder / "s") == contents(store.path)
        assert [path.name for path in folder.iterdir()] == ["s"]
    partial = Path("s.partial")
    assert snapshots.taken > 40
    assert {partial / "plan.json", partial / "parts" / "00001", Path("s")} <= states
    assert {partial / "joined" / name for name in FILES} <= states


SCRIPT = """
import json, sys
sys.path.insert(0, {here!r})
from parts import in_parts
from tfpt import pipelines

if __name__ == "__main__":
    corpus = [tuple(document) for document in json.load(open({folder!r} + "/corpus.json"))]
    slow = {{f"part{{n}}": {{"seconds": 0.3}} for n in range(12)}}
    tokenizer = pipelines.load_tokenizer({folder!r} + "/vocab.txt")
    print("begun", flush=True)
    pipelines.write_store(in_parts(corpus, 12, **slow), tokenizer, {folder!r} + "/s", num_workers=2)
    print("written", flush=True)
"""


def test_a_killed_process_leaves_no_process_behind_and_is_gone_on_with(
    corpus, store, tokenizer, tmp_path
):
    tokenizer.save(tmp_path / "vocab.txt")
    (tmp_path / "corpus.json").write_text(json.dumps(corpus))
    script = tmp_path / "write.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), folder=str(tmp_path)))
    parts = tmp_path / "s.partial" / "parts"

    def start():
        return subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    for wanted in (2, 6):  # killed twice, after so many parts
        process = start()
        deadline = time.monotonic() + 120
        while len(list(parts.glob("?????"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None, "it was done before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        while _alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(process.pid)
    last = start()
    output, _ = last.communicate(timeout=120)
    assert output.split() == ["begun", "written"]
    assert contents(tmp_path / "s") == contents(store.path)
    assert not parts.exists()
    open_store(tmp_path / "s")


def _alive(session: int) -> bool:
    """Whether a process of the session is left, but for those that only wait to be collected."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            return True
    return False


def test_files_are_read_by_several_processes_and_what_was_detected_is_told(tokenizer, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(4):
        lines = "\n\n".join(f"w{number} w{place}\nw{place}" for place in range(200))
        (folder / f"{number}.txt").write_text(lines, encoding="utf-16" if number == 2 else "utf-8")
    documents = read_documents(folder, encoding="auto")
    written = [
        write_store(documents, tokenizer, tmp_path / f"s{workers}", num_workers=workers)
        for workers in (1, 2)
    ]
    assert contents(written[0].path) == contents(written[1].path)
    assert written[0].num_documents == 800
    assert set(documents.encodings.values()) == {"utf-8", "utf-16-le"}


def test_a_source_that_changed_meanwhile_does_not_go_on_with_a_store(
    tokenizer, tmp_path, monkeypatch
):
    path = tmp_path / "text.txt"
    path.write_text("w1 w2\n\nw3\n")

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(store_writer, "join_parts", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_store(read_documents(path), tokenizer, tmp_path / "s")
    monkeypatch.undo()
    path.write_text("w1 w2\n\nw3\n\nw4\n")
    with pytest.raises(FileExistsError, match="other sources, or they have changed"):
        write_store(read_documents(path), tokenizer, tmp_path / "s")
