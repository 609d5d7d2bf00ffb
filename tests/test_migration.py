"""docs/migration.md does what it says: its commands and its program run, its names are there."""

import dataclasses
import importlib
import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfpt import models
from tfpt.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "migration.md"


def blocks(language: str) -> list[str]:
    found = re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S
    )
    assert found
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With a small checkpoint under the name of a large one, texts and labelled texts."""
    shutil.copytree(ROOT / "tests" / "data" / "hugging_face" / "bert", tmp_path / "minilm")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text(
        "cats doored\nthe matdog sat\n\ncats doored\na cat\n\n" * 9
    )
    (tmp_path / "reviews").mkdir()
    rows = "text,label\n" + "a cat sat,yes\nthe dog lay,no\n" * 20
    for name in ("train", "validation"):
        (tmp_path / "reviews" / f"{name}.csv").write_text(rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_runs(folder):
    for block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            program, *words = shlex.split(line)
            assert program == "tfpt"
            result = CliRunner().invoke(main, words)
            assert result.exit_code == 0, f"{line}\n{result.output}"
    for name in ("reviews", "domain"):
        assert (folder / "checkpoints" / name / "model.safetensors").is_file()


def test_the_program_runs(folder):
    (program,) = blocks("python")
    exec(compile(program, str(PAGE), "exec"), {})
    assert (folder / "checkpoints" / "encoder" / "config.json").is_file()


def test_every_name_of_tfpt_in_the_tables_is_there():
    """The right columns: functions by import, settings by the fields of their dataclass."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    right = "\n".join(row.split("|")[-2] for row in rows)
    names = re.findall(r"(?<!--set )\b(models|objectives|pipelines|training|weights)\.(\w+)", right)
    assert len(names) > 10
    for module, name in names:
        assert hasattr(importlib.import_module(f"tfpt.{module}"), name), f"{module}.{name}"
    fields = {field.name for field in dataclasses.fields(models.Model)}
    (of_model,) = re.findall(r"`models.Model` \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE.read_text())
    for row in of_model.splitlines():
        assert set(re.findall(r"`(\w+)`", row.split("|")[-2])) <= fields
