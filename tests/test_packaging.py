"""The wheel: what it holds, and that it is whole without the links of a clone."""

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tfpt

ROOT = Path(__file__).resolve().parents[1]
LINKED_ROOMS = ("pipelines", "export", "serving")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy that has no links, as a Windows checkout or an archive may be."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    no_caches = shutil.ignore_patterns("__pycache__")
    for room in ("tfpt", *LINKED_ROOMS):
        shutil.copytree(ROOT / room, source / room, symlinks=True, ignore=no_caches)
    for room in LINKED_ROOMS:
        (source / "tfpt" / room).unlink()
    built = tmp_path_factory.mktemp("wheel")
    # The build backend of this environment (the extra `test` brings it): nothing is downloaded.
    command = ["wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(built), str(source)]
    result = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def read(wheel, name):
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"tfpt-{tfpt.__version__}.dist-info/{name}").decode()


def test_nothing_generic_lands_beside_other_packages(names):
    assert {name.split("/")[0] for name in names} == {"tfpt", f"tfpt-{tfpt.__version__}.dist-info"}


def test_every_module_and_stub_of_the_rooms_is_inside(names):
    expected = {"tfpt/py.typed"}
    for folder in (ROOT / "tfpt", *(ROOT / room for room in LINKED_ROOMS)):
        prefix = Path("tfpt") if folder.name == "tfpt" else Path("tfpt", folder.name)
        for path in (*folder.rglob("*.py"), *folder.rglob("*.pyi")):
            expected.add((prefix / path.relative_to(folder)).as_posix())
    assert {name for name in names if name.startswith("tfpt/")} == expected
    assert {"tfpt/pipelines/packing.py", "tfpt/export/__init__.pyi"} <= expected


def test_the_command_is_declared(wheel):
    entry_points = configparser.ConfigParser()
    entry_points.read_string(read(wheel, "entry_points.txt"))
    assert dict(entry_points["console_scripts"]) == {"tfpt": "tfpt.cli:main"}


def test_version_python_and_licence_are_stated(wheel, names):
    metadata = read(wheel, "METADATA")
    assert f"\nVersion: {tfpt.__version__}\n" in metadata
    requires = metadata.partition("\nRequires-Python: ")[2].partition("\n")[0]
    assert set(requires.split(",")) == {">=3.11", "<3.14"}
    assert [name for name in names if name.endswith("/LICENSE")]


def test_the_wheel_alone_can_be_imported(wheel, tmp_path):
    """Unpacked, with this environment's dependencies, away from the clone."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import importlib, tfpt; "
        "rooms = ['tfpt', 'tfpt.models', 'tfpt.objectives', 'tfpt.recipes', 'tfpt.pipelines', "
        "'tfpt.export', 'tfpt.serving']; "
        "print(*[importlib.import_module(room).__file__ for room in rooms], sep='\\n'); "
        "print(tfpt.models.BERT_TINY.num_layers, tfpt.pipelines.Tokenizer.__name__)"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    *files, doors = result.stdout.splitlines()
    assert all(Path(file).is_relative_to(tmp_path) for file in files)
    assert len(files) == 7
    assert doors == "2 WordPiece"
