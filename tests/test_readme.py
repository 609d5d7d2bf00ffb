"""README.md does what it says: every command and every program in it is run.

A new block is run as well, in the order of the page; its commands in the process of the test, which
saves half of the time, except for servers. What needs Docker, a TPU or a cluster says so
in a comment before its block (`<!-- needs Docker -->`) and is read only. The folders that the page
speaks of are made of docstrings: `texts/` and `kept/`, sentences and documents, and `reviews/`,
labelled texts.
"""

import contextlib
import csv
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tfpt import config
from tfpt.cli import main
from tfpt.pipelines import docstring_documents, docstring_sentences
from tfpt.recipes import bert, classify

README = Path(__file__).resolve().parents[1] / "README.md"
MARKS = ("needs Docker", "needs a TPU", "needs a cluster")
# `make demo` has a test under the marker `slow`; `make test` would run this test.
MAKE = {"make demo", "make test"}
# Commands that the page need not show, and why.
EXCUSED = {
    "demo": "make demo runs it",
    "data-service": "pipelines/BEYOND_ONE_MACHINE.md shows it, test_data_service.py runs it",
}
ROWS = {"train": 100, "validation": 30, "test": 30}  # of each label
LABELS = ("python", "keras")


@dataclass(frozen=True)
class Block:
    """A fenced block of the page."""

    line: int  # of the page, from 1: that of the first line inside
    language: str
    mark: str  # the comment before it
    text: str

    @property
    def commands(self) -> list[str]:
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [shlex.join(command) for command in words if command]

    @property
    def is_server(self) -> bool:
        return any(command.startswith("tfpt serve ") for command in self.commands)


def blocks() -> list[Block]:
    """The blocks that are run or read; fails on one of which it is not said what to do with it."""
    found: list[Block] = []
    lines = README.read_text(encoding="utf-8").splitlines()
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith("```")]
    for first, last in zip(fences[::2], fences[1::2], strict=True):
        language = lines[first].strip().removeprefix("```")
        before = next((line for line in reversed(lines[:first]) if line.strip()), "")
        comment = re.fullmatch(r"<!-- (.*) -->", before.strip())
        mark = comment[1] if comment else ""
        place = f"README.md:{first + 1}"
        assert language in ("sh", "python"), f"{place}: a block of {language!r} cannot be run"
        assert mark in ("", *MARKS), f"{place}: `{mark}` is none of {', '.join(MARKS)}"
        found.append(Block(first + 2, language, mark, "\n".join(lines[first + 1 : last]) + "\n"))
    return found


def shell_blocks() -> list[Block]:
    return [block for block in blocks() if block.language == "sh" and not block.mark]


@pytest.fixture(scope="module")
def texts_and_reviews(docstrings):
    """A function that makes both folders in another one."""

    def make(folder: Path) -> None:
        for name in ("texts", "kept", "reviews"):
            (folder / name).mkdir()
        for library, found in docstrings.items():
            lines = ["\n".join(document) + "\n" for document in docstring_documents(found)]
            for name, part in (("texts", lines[10:]), ("kept", lines[:10])):
                path = folder / name / f"{library}.txt"
                path.write_text("\n".join(part), encoding="utf-8")
        rows = {
            label: [(" ".join(docstring_sentences(one.text)), label) for one in docstrings[label]]
            for label in LABELS
        }
        for split, count in ROWS.items():
            with open(
                folder / "reviews" / f"{split}.csv", "w", newline="", encoding="utf-8"
            ) as file:
                writer = csv.writer(file)
                writer.writerow(["text", "label"])
                for label in LABELS:
                    writer.writerows(rows[label][:count])
                    del rows[label][:count]

    return make


@pytest.fixture
def folder(tmp_path, texts_and_reviews):
    texts_and_reviews(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The variables of a shell that finds `tfpt`, as after an installation."""
    programs = tmp_path_factory.mktemp("bin")
    script = programs / "tfpt"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tfpt "$@"\n')
    script.chmod(0o755)
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "PYTHONPATH": str(README.parent),
    }


def invoke(command: str, block: Block) -> str:
    """What a command of `tfpt` prints."""
    program, *words = shlex.split(command)
    assert program == "tfpt", f"README.md:{block.line}: {program} is not known here"
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, f"README.md:{block.line}: {command}\n{result.output}"
    return result.stdout


@contextlib.contextmanager
def server_of(block, ports, *, folder, environment):
    """The server of a block, which answers until it is left."""
    (command,) = block.commands
    server = subprocess.Popen(
        shlex.split(with_ports(command, ports)),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout.readline().startswith("Serving "), f"README.md:{block.line}"
        yield
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0


def with_ports(text: str, ports: dict[str, str]) -> str:
    """The text with ports that are free in the place of those of the page."""
    return re.sub(r"\b850[01]\b", lambda port: ports[port[0]], text)


def free_ports() -> dict[str, str]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return {"8501": str(one.getsockname()[1]), "8500": str(two.getsockname()[1])}


def test_the_page_begins_with_what_to_do_first():
    assert set(blocks()[0].commands) == MAKE


def test_every_command_is_shown():
    page = README.read_text(encoding="utf-8")
    shown = {name for name in main.commands if re.search(rf"\btfpt {name}\b", page)}
    assert set(main.commands) - shown == set(EXCUSED)


def test_every_command_of_the_shell_runs(folder, environment, monkeypatch):
    monkeypatch.chdir(folder)
    ports = free_ports()
    printed = []
    with contextlib.ExitStack() as servers:
        for block in shell_blocks():
            if block.is_server:
                servers.enter_context(
                    server_of(block, ports, folder=folder, environment=environment)
                )
                continue
            for command in block.commands:
                if command not in MAKE:
                    printed += invoke(with_ports(command, ports), block).splitlines()
    answers = [json.loads(line) for line in printed if line.startswith('{"label"')]
    assert len(answers) == 2
    assert all(answer["label"] in LABELS for answer in answers)
    assert any(line.startswith("accuracy ") for line in printed)
    check_marked(folder)


def check_marked(folder):
    """Read the blocks that cannot run here: the folders they name are there, and the options."""
    for block in (block for block in blocks() if block.mark):
        if block.language == "python":
            compile(block.text, f"README.md:{block.line}", "exec")
            continue
        for word in shlex.split(block.text, comments=True):
            for name in re.findall(r"\$PWD/([^:\s]+)", word):
                assert (folder / name).is_dir(), f"README.md:{block.line}: no folder {name}"
        for command in block.commands:
            check_options(command, block)


def check_options(command, block):
    """That `tfpt` knows the options and the fields of a command, which is not run."""
    program, *words = shlex.split(command)
    if program != "tfpt":
        return
    subcommand = main.commands[words[0]]
    try:
        given = subcommand.make_context(words[0], words[1:], resilient_parsing=False).params
    except click.UsageError as error:
        pytest.fail(f"README.md:{block.line}: {error.format_message()}")
    recipe = {"bert": bert, "classify": classify}.get(given.get("recipe", ""))
    if recipe is not None:
        config.override(recipe.config(), given["assignments"])


def test_every_program_in_python_runs(folder, environment):
    programs = [block for block in blocks() if block.language == "python" and not block.mark]
    # One after the other, as a reader types them in, and with the lines of the page in a traceback.
    lines = [""] * len(README.read_text(encoding="utf-8").splitlines())
    for block in programs:
        own = block.text.splitlines()
        lines[block.line - 1 : block.line - 1 + len(own)] = own
    (folder / "README.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "README.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    printed = result.stdout
    assert re.search(r"'label': array\(\['(python|keras)'\], dtype=object\)", printed)
    assert (folder / "models" / "reviews" / "1" / "saved_model.pb").is_file()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```console\n$ tfpt check\n```\n", "a block of 'console' cannot be run"),
        ("```\ntfpt check\n```\n", "a block of '' cannot be run"),
        ("<!-- needs luck -->\n```sh\ntfpt check\n```\n", "`needs luck` is none of needs Docker"),
    ],
)
def test_a_block_that_nobody_runs_is_noticed(tmp_path, monkeypatch, text, complaint):
    monkeypatch.setattr(sys.modules[__name__], "README", tmp_path / "README.md")
    README.write_text(text)
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        blocks()


@pytest.mark.parametrize(
    "command",
    [
        "tfpt pretrain bert --set training.strategy=mirrored --out runs/bert --data x",
        "tfpt pretrain bert --set training.strategies=tpu --out runs/bert",
        "tfpt finetune classify --set training.epochs=none --out runs/x",
    ],
)
def test_a_marked_command_with_a_wrong_option_is_noticed(command):
    block = Block(1, "sh", "needs a TPU", f"{command}\n")
    with pytest.raises((pytest.fail.Exception, ValueError)):
        check_options(block.commands[0], block)
