"""A corpus is cleaned in parts: by several processes, stopped at any moment, gone on with."""

import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from parts import in_parts

from tfpt.pipelines import (
    Cleaning,
    Repetition,
    clean_documents,
    corpus_cleaning,
    docstring_sentences,
    part_work,
    read_documents,
)
from tfpt.pipelines.cleaning import duplicates, part_files
from tfpt.pipelines.cleaning.near_duplicates import num_bands, signature, similarity

ALL_BUT_OVERLAP = Cleaning(
    unicode="nfkc",
    min_words=3,
    max_words=1_000,
    repetition=Repetition(),
    keep_languages=("en", "fr", "zh"),
    min_confidence=0.0,
    personal_data=True,
    exact_duplicates=True,
    near_duplicates=0.7,
)
DUPLICATES = Cleaning(exact_duplicates=True, near_duplicates=0.7)


@pytest.fixture(scope="module")
def corpus(docstrings):
    """300 documents: docstrings, some of them again, some a little changed; and hard ones."""
    texts = [docstring_sentences(one.text) for one in docstrings["numpy"][:600]]
    texts = [text for text in texts if sum(map(len, text)) > 200][:200]
    again = texts[10:60]
    near = [[*text[:-1], text[-1] + " And more."] for text in texts[40:80]]
    hard = [
        ["ok"],
        ["\u0000\u200b"],
        ["\U0001f600 \U0001f600"],
        ["spam spam spam spam spam spam"],
        ["write to jane@example.com, or ring (212) 555-0123 if you like"],
        ["\u5e8a\u524d\u660e\u6708\u5149", "\u7591\u662f\u5730\u4e0a\u971c"],
        ["\u05d1\u05e8\u05d0\u05e9\u05d9\u05ea \u05d1\u05e8\u05d0 \u05d0\u05dc\u05d4\u05d9\u05dd"],
    ]
    documents = [tuple(text) for text in (*texts, *again, *near, *hard)]
    return [documents[place] for place in np.random.default_rng(3).permutation(len(documents))]


@pytest.fixture(scope="module")
def cleaned(corpus, tmp_path_factory):
    """The corpus as one process cleans it, in one part."""
    path = tmp_path_factory.mktemp("cleaned") / "c"
    return clean_documents(corpus, path, ALL_BUT_OVERLAP)


def contents(path):
    """The documents in order, and the report and the page to the byte."""
    lines = b"".join(file.read_bytes() for file in sorted(Path(path).glob("*.jsonl")))
    return lines, *((Path(path) / name).read_bytes() for name in ("report.json", "report.html"))


def stopped(*arguments, **named):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("num_parts", "num_workers"), [(1, 1), (7, 1), (7, 2)])
def test_parts_and_processes_do_not_change_a_byte(
    corpus, cleaned, tmp_path, num_parts, num_workers
):
    moved = []
    written = clean_documents(
        in_parts(corpus, num_parts, part2={"seconds": 0.3}),
        tmp_path / "c",
        ALL_BUT_OVERLAP,
        num_workers=num_workers,
        moved=lambda *added: moved.append(added),
    )
    assert contents(written.path) == contents(cleaned.path)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert len(list(written.path.glob("*.jsonl"))) == num_parts
    assert sum(documents for _, documents in moved) == len(corpus)


def test_what_is_written_is_read_as_documents_and_needs_no_cleaning(cleaned, tmp_path):
    documents = list(cleaned.documents)
    assert documents == list(read_documents(cleaned.path))
    assert len(documents) == cleaned.report["after"]["documents"] > 150
    again = clean_documents(read_documents(cleaned.path), tmp_path / "again", ALL_BUT_OVERLAP)
    assert list(again.documents) == documents
    assert ("write to <EMAIL>, or ring <PHONE> if you like",) in documents


def test_counts_of_the_report_add_up(corpus, cleaned):
    report = cleaned.report
    assert report == json.loads((cleaned.path / "report.json").read_text(encoding="utf-8"))
    assert [step["name"] for step in report["steps"]] == list(ALL_BUT_OVERLAP.steps)
    left = report["before"]["documents"]
    assert left == len(corpus)
    for step in report["steps"]:
        left -= sum(step["dropped"].values())
        assert step["after"]["documents"] == left
    documents = list(cleaned.documents)
    assert report["after"] == report["steps"][-1]["after"]
    assert report["after"] == {
        "documents": len(documents),
        "sentences": sum(map(len, documents)),
        "characters": sum(len(sentence) for document in documents for sentence in document),
    }
    dropped = {step["name"]: step["dropped"] for step in report["steps"]}
    assert dropped["unicode"] == {"nothing left": 1}
    assert dropped["length"]["too short"] == 2
    assert dropped["repetition"]["one 2-gram all over"] >= 1
    assert dropped["languages"]["another language"] >= 1
    assert 40 <= dropped["exact_duplicates"]["repeats an earlier document"] <= 60
    assert dropped["near_duplicates"]["repeats an earlier document"] >= 25
    lengths = np.array(report["lengths"])
    assert lengths[:, 1].sum() == len(corpus)
    assert lengths[:, 2].sum() == len(documents)
    assert all(len(shown) <= 5 for step in report["steps"] for shown in step["examples"].values())


def test_duplicates_are_those_that_a_comparison_of_all_with_all_finds(corpus, tmp_path):
    written = clean_documents(in_parts(corpus, 5), tmp_path / "c", DUPLICATES)
    first, signatures = {}, []
    for document in corpus:
        first.setdefault(duplicates.document_hash(document), document)
    for document in first.values():
        signatures.append(signature(document))
    near = [
        max((similarity(one, other) for other in signatures[:place]), default=0) >= 0.7
        for place, one in enumerate(signatures)
    ]
    expected = [one for one, drop in zip(first.values(), near, strict=True) if not drop]
    assert list(written.documents) == expected


def test_files_are_read_by_several_processes_and_what_was_detected_is_told(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(3):
        lines = "\n\n".join(f"w{number} w{place}\nw{place}" for place in range(50))
        (folder / f"{number}.txt").write_text(lines, encoding="utf-16" if number == 1 else "utf-8")
    documents = read_documents(folder, encoding="auto")
    cleaning = Cleaning(min_words=1)
    written = [
        clean_documents(documents, tmp_path / f"c{workers}", cleaning, num_workers=workers)
        for workers in (1, 2)
    ]
    assert contents(written[0].path) == contents(written[1].path)
    assert list(written[0].documents) == list(documents)
    assert set(documents.encodings.values()) == {"utf-8", "utf-16-le"}


def test_steps_that_are_off_leave_every_document(corpus, tmp_path):
    written = clean_documents(corpus, tmp_path / "c", Cleaning(count_languages=True))
    assert list(written.documents) == corpus
    found = written.report["steps"][0]["found"]
    assert sum(found.values()) == len(corpus)
    assert next(iter(found)) == "en"
    assert written.report["bytes_per_document"] == 0


def test_the_state_is_found_in_small_files_too(corpus, cleaned, tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "SORT_BYTES", 1024)
    written = clean_documents(in_parts(corpus, 3), tmp_path / "c", ALL_BUT_OVERLAP)
    assert contents(written.path) == contents(cleaned.path)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("near", [0.0, 0.5, 0.8])
def test_the_state_has_at_most_the_stated_size(tmp_path, monkeypatch, exact, near):
    """Of documents that nearly repeat the first, so that each is found in nearly every band."""
    if not (exact or near):
        return
    common = " ".join(f"w{number}" for number in range(200))
    documents = [(f"{common} x{number}",) for number in range(300)]
    largest = {"state": 0, "text": 0}

    def before(module, name):
        """Measure before each call, which removes a file or gives it its name."""
        real = getattr(module, name)

        def measured(*arguments, **named):
            sizes = {"state": 0, "text": 0}
            for path in tmp_path.glob("c.partial/**/*"):
                if path.suffix == ".jsonl":
                    sizes["text"] += path.stat().st_size
                elif path.is_file() and ".json" not in path.name:
                    sizes["state"] += path.stat().st_size
            largest.update({kind: max(largest[kind], sizes[kind]) for kind in sizes})
            return real(*arguments, **named)

        monkeypatch.setattr(module, name, measured)

    for module, name in ((Path, "unlink"), (Path, "rename"), (os, "rename"), (shutil, "rmtree")):
        before(module, name)
    monkeypatch.setattr(duplicates, "SORT_BYTES", 1024)  # written to several files by their bits
    cleaning = Cleaning(exact_duplicates=exact, near_duplicates=near)
    written = clean_documents(in_parts(documents, 3), tmp_path / "c", cleaning, num_workers=1)
    assert len(list(written.documents)) == (1 if near else 300)
    most = cleaning.bytes_per_document
    if near:  # this is one process; there may be one for each band
        most -= 16 * (num_bands(near) - 1)
    assert 0.9 * most <= largest["state"] / len(documents) <= most
    text = sum(len(part_files.document_line(document)) for document in documents)
    assert text <= largest["text"] <= 2 * text


def test_where_room_on_disk_cannot_be_taken_at_once_nothing_else_changes(
    corpus, cleaned, tmp_path, monkeypatch
):
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    written = clean_documents(corpus, tmp_path / "c", ALL_BUT_OVERLAP)
    assert contents(written.path) == contents(cleaned.path)


def test_what_a_process_is_sent_does_not_grow_with_the_number_of_parts(tmp_path, monkeypatch):
    sizes = {}

    def sent(todo, work, moved, num_workers):
        sizes[len(todo)] = max(len(pickle.dumps((work, *one))) for one in todo.items())

    monkeypatch.setattr(part_work, "work_on", sent)
    for num_parts in (10, 1_000):
        starts = list(range(num_parts + 1))
        corpus_cleaning._finish_parts(tmp_path, starts, DUPLICATES, 2)
    assert sizes[1_000] <= sizes[10] + 20


def test_parts_of_which_nothing_is_left_are_empty_files(corpus, tmp_path):
    documents = [*[("x",)] * 30, *corpus[:30]]
    written = clean_documents(
        in_parts(documents, 6), tmp_path / "c", Cleaning(min_words=2, near_duplicates=0.9)
    )
    sizes = [path.stat().st_size for path in sorted(written.path.glob("*.jsonl"))]
    assert sizes[:3] == [0, 0, 0]
    assert len(list(written.documents)) == written.report["after"]["documents"] > 20


@pytest.mark.parametrize("place", ["clean_part", "decide_duplicates", "finish_part", "write_page"])
def test_what_was_stopped_goes_on_with_what_is_whole(corpus, cleaned, tmp_path, monkeypatch, place):
    documents, called = in_parts(corpus, 4), itertools.count()
    module = part_files if place == "clean_part" else corpus_cleaning
    whole = getattr(module, place)
    at = 2 if place in ("clean_part", "finish_part") else 0

    def until(*arguments):
        return stopped() if next(called) == at else whole(*arguments)

    monkeypatch.setattr(module, place, until)
    with pytest.raises(KeyboardInterrupt):
        clean_documents(documents, tmp_path / "c", ALL_BUT_OVERLAP)
    assert [path.name for path in tmp_path.iterdir()] == ["c.partial"]
    written = clean_documents(documents, tmp_path / "c", ALL_BUT_OVERLAP)
    assert contents(written.path) == contents(cleaned.path)
    assert next(called) == {"clean_part": 5, "finish_part": 5}.get(place, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("damage", ["shorter", "gone"])
def test_a_part_that_was_damaged_meanwhile_is_cleaned_anew(
    corpus, cleaned, tmp_path, monkeypatch, damage
):
    documents = in_parts(corpus, 4)
    monkeypatch.setattr(corpus_cleaning, "decide_duplicates", stopped)
    with pytest.raises(KeyboardInterrupt):
        clean_documents(documents, tmp_path / "c", ALL_BUT_OVERLAP)
    monkeypatch.undo()
    path = tmp_path / "c.partial" / "parts" / "00001" / part_files.SIGNATURES
    path.write_bytes(path.read_bytes()[:-4])
    if damage == "gone":
        path.unlink()
    written = clean_documents(documents, tmp_path / "c", ALL_BUT_OVERLAP)
    assert contents(written.path) == contents(cleaned.path)


def test_other_sources_or_settings_do_not_go_on(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_cleaning, "decide_duplicates", stopped)
    with pytest.raises(KeyboardInterrupt):
        clean_documents(in_parts(corpus, 4), tmp_path / "c", DUPLICATES)
    with pytest.raises(FileExistsError, match="begun with other sources"):
        clean_documents(in_parts(corpus[1:], 4), tmp_path / "c", DUPLICATES)
    with pytest.raises(FileExistsError, match="another cleaning"):
        clean_documents(in_parts(corpus, 4), tmp_path / "c", Cleaning(min_words=1))
    assert (tmp_path / "c.partial" / "parts" / "00003").is_dir()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_leaves_nothing(corpus, tmp_path, num_workers):
    documents = in_parts(corpus, 5, part3={"fails": "error"})
    with pytest.raises(ValueError, match="a bad byte in part 3"):
        clean_documents(documents, tmp_path / "c", DUPLICATES, num_workers=num_workers)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_dies_is_a_clear_error(corpus, tmp_path):
    documents = in_parts(corpus, 5, part3={"fails": "death"})
    with pytest.raises(OSError, match="ended from outside"):
        clean_documents(documents, tmp_path / "c", DUPLICATES, num_workers=2)
    # What was made of the other parts stays, to be gone on with.
    assert [path.name for path in tmp_path.iterdir()] == ["c.partial"]


def test_nothing_is_overwritten(corpus, cleaned):
    with pytest.raises(FileExistsError, match="A cleaned corpus is never overwritten"):
        clean_documents(corpus, cleaned.path, DUPLICATES)


SCRIPT = """
import json, sys
sys.path.insert(0, {here!r})
from parts import in_parts
from tfpt import pipelines

if __name__ == "__main__":
    corpus = [tuple(document) for document in json.load(open({folder!r} + "/corpus.json"))]
    slow = {{f"part{{n}}": {{"seconds": 0.3}} for n in range(12)}}
    cleaning = pipelines.Cleaning(exact_duplicates=True, near_duplicates=0.7)
    print("begun", flush=True)
    documents = in_parts(corpus, 12, **slow)
    pipelines.clean_documents(documents, {folder!r} + "/c", cleaning, num_workers=2)
    print("written", flush=True)
"""


def test_what_was_killed_is_gone_on_with(corpus, tmp_path):
    whole = clean_documents(corpus, tmp_path / "whole", DUPLICATES)
    (tmp_path / "corpus.json").write_text(json.dumps(corpus))
    script = tmp_path / "clean.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), folder=str(tmp_path)))
    parts = tmp_path / "c.partial" / "parts"

    def start():
        return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)

    for wanted in (2, 6):  # killed twice, after so many parts
        process = start()
        deadline = time.monotonic() + 120
        while len(list(parts.glob("?????"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None, "it was done before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = start()
    output, _ = last.communicate(timeout=120)
    assert output.split() == ["begun", "written"]
    assert contents(tmp_path / "c") == contents(whole.path)
    assert not parts.parent.exists()


def test_poems_keep_all_but_their_short_and_repeated_ones(shared_data, tmp_path):
    chapters = json.loads((shared_data("lm_zh_classical") / "论语" / "lunyu.json").read_text())
    sayings = [(saying,) for chapter in chapters for saying in chapter["paragraphs"]]
    cleaning = Cleaning(
        unicode="nfc",
        min_words=8,
        keep_languages=("zh",),
        min_confidence=0.0,
        exact_duplicates=True,
        near_duplicates=0.8,
    )
    report = clean_documents([*sayings, *sayings[:50]], tmp_path / "c", cleaning).report
    after = {step["name"]: step["after"]["documents"] for step in report["steps"]}
    assert after["length"] > 0.9 * after["unicode"]
    assert after["languages"] > 0.9 * after["length"]
    assert after["languages"] - after["exact_duplicates"] >= 45
    assert after["near_duplicates"] > 0.9 * after["exact_duplicates"]
