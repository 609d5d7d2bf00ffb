"""What is shown: bars on a terminal, lines in a file, tables of any width."""

import io
import os
import re
import subprocess
import sys
import time

import pytest
from rich.console import Console

from tfpt import console, pipelines

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def frames(self):
        """The states of the line that is written again and again."""
        return [frame.rstrip() for frame in re.split(r"[\r\n]+", CONTROL.sub("", self.getvalue()))]


@pytest.fixture
def terminal(monkeypatch):
    """A function from a width to a terminal of that width, in the place of standard error."""

    def attached(width):
        file = Terminal()
        shown = Console(file=file, force_terminal=True, width=width, highlight=False)
        monkeypatch.setattr(console, "err", shown)
        return file

    return attached


MEASURES = {"accuracy": 0.75, "macro_f1": 0.625}


def report(names, *, count=1):
    row = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "num_rows": count}
    return {
        "classes": dict.fromkeys(names, row),
        "macro_precision": 0.5,
        "macro_recall": 0.25,
        "macro_f1": 1 / 3,
        "num_rows": count * len(names),
        "accuracy": 0.75,
        "majority_accuracy": 0.5,
        "loss": 0.125,
        "confusion": [[count] * len(names)] * len(names),
    }


def test_in_a_file_a_bar_is_one_line_at_its_end(capsys):
    with console.progress("Reading") as move:
        move(1, "1 file", total=3)
        assert capsys.readouterr().err == ""
        move(3, "3 files")
    with console.progress("Writing"):
        pass
    assert capsys.readouterr().err == "Reading: 0:00:00, 3 files\nWriting: 0:00:00\n"


def test_in_a_file_what_failed_leaves_no_line(capsys):
    def fail():
        with console.progress("Reading") as move:
            move(1, "1 file")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_on_a_terminal_a_bar_is_one_line_of_at_most_its_width(terminal, width):
    file = terminal(width)
    with console.progress("Pre-training") as move:
        move(0, total=300)
        for step in range(1, 301):
            move(step, f"loss {step / 100:.3f}, 1,234 rows/s")
    frames = file.frames()
    assert max(map(len, frames)) <= width - 2
    assert "Pre-training" in frames[-2] or width < 60
    if width >= 80:
        assert "100%" in frames[-2]
        assert frames[-2].endswith("loss 3.000, 1,234 rows/s")


def test_a_bar_of_unknown_length_pulses_and_ends_full(terminal):
    file = terminal(100)
    with console.progress("Evaluating") as move:
        move(detail="[3/x] files")
        time.sleep(0.3)
    frames = [frame for frame in file.frames() if "Evaluating" in frame]
    assert "%" not in frames[0]
    assert "100%" in frames[-1]
    assert frames[-1].endswith("[3/x] files")


def test_a_long_line_is_whole_in_a_file(capsys):
    line = "step 1: validation " + ", ".join(f"measure {number} 0.1234" for number in range(20))
    console.err.print(line)
    console.out.print(line)
    assert capsys.readouterr() == (f"{line}\n", f"{line}\n")


def test_documents_that_are_read_move_a_bar_and_can_be_read_again(capsys, tmp_path):
    (tmp_path / "a.txt").write_text("one two\n\nthree four\n" * 50_000)
    documents = pipelines.read_documents(tmp_path / "a.txt")
    moved = []
    tracked = console.Tracked(documents, "Reading")
    assert list(tracked) == list(tracked) == list(documents)
    with console.reading(documents, "Once more") as read:
        moved = [documents.bytes_read for _ in read]
    assert moved == sorted(moved)
    expected = ["Reading", "Reading", "Once more"]
    lines = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == expected
    assert moved[-1] == documents.num_bytes == 1_000_000


def test_a_spinner_goes_on_while_standard_error_is_redirected():
    code = (
        "import os, time\n"
        "from tfpt import console\n"
        "with console.waiting('Starting'):\n"
        "    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n"
        "    os.write(2, b'noise')\n"
        "    time.sleep(0.5)\n"
    )
    ours, theirs = os.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    shown = b""
    while chunk := read_or_nothing(ours):
        shown += chunk
    os.close(ours)
    assert shown.count(b"Starting") > 1
    assert b"noise" not in shown


def read_or_nothing(descriptor):
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the other side is closed
        return b""


def test_names_of_classes_are_no_markup(capsys):
    console.report("runs/[a]", report(["[red]", "[/x]"]), MEASURES)
    printed = capsys.readouterr().out
    assert printed.startswith("runs/[a]\n")
    assert printed.count("[red]") == printed.count("[/x]") == 3
    assert printed.endswith("accuracy 0.7500 (majority class 0.5000), macro f1 0.6250\n")


def test_a_report_of_entities_counts_entities(capsys):
    row = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "num_entities": 1234}
    macro = {f"macro_{key}": row[key] for key in ("precision", "recall", "f1")}
    console.report("", {"classes": {"per": row}, "num_entities": 1234, **macro}, {"f1": 0.25})
    printed = capsys.readouterr().out
    assert printed.endswith("\nf1 0.2500\n")
    assert printed.count("1,234") == 2
    assert "entities" in printed
    assert "rows" not in printed


def test_a_report_without_classes_is_a_line(capsys):
    console.report("runs/[a]", {}, {"spearman": 0.82034, "pearson": 1.0})
    assert capsys.readouterr().out == "runs/[a]\nspearman 0.8203, pearson 1.0000\n"


def test_a_wide_table_is_whole_in_a_file(capsys):
    console.table("", ["name", *(f"column {number}" for number in range(12))], [["x"] * 13])
    printed = capsys.readouterr().out
    assert "column 11" in printed
    assert "…" not in printed


def test_a_confusion_matrix_too_wide_for_its_names_has_numbered_columns(capsys):
    names = [f"a class with the long name {number}" for number in range(12)]
    console.report("", report(names, count=1_000), MEASURES)
    lines = capsys.readouterr().out.splitlines()
    assert any("12 a class with the long name 11" in line for line in lines)
    assert max(map(len, lines)) <= 200
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize(("num_classes", "count"), [(30, 1), (20, 1_000_000)])
def test_a_confusion_matrix_that_fits_nowhere_is_left_out(capsys, num_classes, count):
    names = [f"class {number}" for number in range(num_classes)]
    console.report("", report(names, count=count), MEASURES)
    printed = capsys.readouterr().out
    assert names[-1] in printed
    assert "Confusion" not in printed
