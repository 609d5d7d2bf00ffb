"""A corpus that a Beam pipeline cleans is the one that this machine's processes clean."""

import dataclasses
import json

import pytest
from click.testing import CliRunner
from test_beam_store import HERE, TWO_PROCESSES
from test_corpus_cleaning import ALL_BUT_OVERLAP, corpus  # noqa: F401  a fixture

from tfpt.cli import main
from tfpt.pipelines import (
    Cleaning,
    beam_cleaning,
    clean_documents,
    clean_documents_by_beam,
    part_work,
    read_documents,
)


@pytest.fixture
def texts(corpus, write):  # noqa: F811
    """The corpus in 5 files, several parts, and evaluation texts."""
    write("evaluation.jsonl", json.dumps({"text": " ".join(corpus[7])}) + "\n")
    for number in range(5):
        lines = [json.dumps({"text": list(document)}) for document in corpus[number::5]]
        folder = write(f"texts/{number}.jsonl", "\n".join(lines) + "\n").parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_work, "PART_BYTES", 2000)
        yield folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# The processes need seconds to load what finds personal data.
FEW_STEPS = Cleaning(unicode="nfc", exact_duplicates=True, near_duplicates=0.7)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (HERE, ALL_BUT_OVERLAP),
        pytest.param(TWO_PROCESSES, FEW_STEPS, marks=pytest.mark.slow),
    ],
)
def test_the_corpus_is_the_one_that_is_cleaned_without_beam(texts, tmp_path, options, steps, capfd):
    cleaning = dataclasses.replace(steps, overlap=(str(tmp_path / "evaluation.jsonl"),))
    here = clean_documents(read_documents(texts), tmp_path / "local", cleaning)
    capfd.readouterr()
    there = clean_documents_by_beam(read_documents(texts), tmp_path / "beam", cleaning, options)
    assert capfd.readouterr().err == ""
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")
    assert there.report == here.report
    assert list(there.documents) == list(here.documents)
    dropped = {step["name"]: sum(step["dropped"].values()) for step in here.report["steps"]}
    assert min(dropped["exact_duplicates"], dropped["near_duplicates"], dropped["overlap"]) > 0
    names = ["beam", "evaluation.jsonl", "local", "texts"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_pieces_of_work_may_be_done_twice(texts, tmp_path, monkeypatch):
    def twice(folder, steps, options):
        for step in steps:
            for number in [*range(step.num_pieces)] * 2:
                step.work(number)

    cleaning = Cleaning(exact_duplicates=True, near_duplicates=0.7)
    clean_documents(read_documents(texts), tmp_path / "local", cleaning)
    monkeypatch.setattr(beam_cleaning, "run_steps", twice)
    clean_documents_by_beam(read_documents(texts), tmp_path / "beam", cleaning)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")


def test_what_was_stopped_goes_on(texts, tmp_path, monkeypatch):
    def stopped(folder, steps, options):
        for number in (0, 3):
            steps[0].work(number)
        raise KeyboardInterrupt

    cleaning = Cleaning(exact_duplicates=True)
    documents = read_documents(texts)
    clean_documents(documents, tmp_path / "local", cleaning)
    monkeypatch.setattr(beam_cleaning, "run_steps", stopped)
    with pytest.raises(KeyboardInterrupt):
        clean_documents_by_beam(documents, tmp_path / "s", cleaning, HERE)
    monkeypatch.undo()
    parts = tmp_path / "s.partial" / "parts"
    assert sorted(path.name for path in parts.iterdir()) == ["00000", "00003"]
    clean_documents_by_beam(documents, tmp_path / "s", cleaning, HERE)
    assert contents(tmp_path / "s") == contents(tmp_path / "local")


def test_an_error_in_a_part_names_the_file_and_leaves_nothing(texts, tmp_path):
    (texts / "2.jsonl").write_text('{"text": "good"}\n{"text": 5}\n')
    with pytest.raises(ValueError, match=r"2\.jsonl:2: "):
        clean_documents_by_beam(read_documents(texts), tmp_path / "s", Cleaning(min_words=1), HERE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.jsonl", "texts"]


def test_all_files_with_an_error_are_named(texts, tmp_path):
    for name in ("0", "2", "3"):
        lines = ['{"text": 5}\n', *['{"text": "good"}\n'] * 150]
        (texts / f"{name}.jsonl").write_text("".join(lines))
    cleaning = Cleaning(exact_duplicates=True, near_duplicates=0.7)
    with pytest.raises(ValueError, match=r"0\.jsonl:1: .*\(and 2 more: .*2\.jsonl:1.*3\.jsonl:1"):
        clean_documents_by_beam(read_documents(texts), tmp_path / "s", cleaning, HERE)


def test_a_pipeline_that_fails_keeps_the_parts_that_are_done(texts, tmp_path, monkeypatch):
    def fail(folder, steps, options):
        steps[0].work(1)
        raise OSError("The connection to the cluster is lost.")

    cleaning, documents = Cleaning(exact_duplicates=True), read_documents(texts)
    monkeypatch.setattr(beam_cleaning, "run_steps", fail)
    with pytest.raises(OSError, match=r"is lost\. What is done is kept: repeat the command"):
        clean_documents_by_beam(documents, tmp_path / "s", cleaning, HERE)
    assert [path.name for path in (tmp_path / "s.partial" / "parts").iterdir()] == ["00001"]
    monkeypatch.undo()
    clean_documents_by_beam(documents, tmp_path / "s", cleaning, HERE)


def test_a_worker_with_other_libraries_is_refused(texts, tmp_path, monkeypatch):
    found = [{"py3langid": "1"}, {"py3langid": "2"}]
    monkeypatch.setattr(
        beam_cleaning, "library_versions", lambda _: found.pop(0) if len(found) > 1 else found[0]
    )
    with pytest.raises(ValueError, match="A worker has other libraries"):
        clean_documents_by_beam(read_documents(texts), tmp_path / "s", Cleaning(min_words=1), HERE)


def test_a_bucket_and_documents_of_ones_own_are_refused(texts, tmp_path):
    cleaning = Cleaning(min_words=1)
    with pytest.raises(ValueError, match="a file system that all machines share"):
        clean_documents_by_beam(read_documents(texts), "gs://bucket/clean", cleaning, HERE)
    with pytest.raises(ValueError, match="read by one process only"):
        clean_documents_by_beam([("w1",)], tmp_path / "s", cleaning, HERE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.jsonl", "texts"]


def test_the_command_cleans_by_beam(texts, tmp_path):
    out = str(tmp_path / "clean")
    options = ["--exact-duplicates", "--beam=--runner=DirectRunner --direct_num_workers=1"]
    result = CliRunner().invoke(main, ["clean", str(texts), "--out", out, *options])
    assert result.exit_code == 0, result.output
    clean_documents(read_documents(texts), tmp_path / "local", Cleaning(exact_duplicates=True))
    assert contents(tmp_path / "clean") == contents(tmp_path / "local")
