"""The layout of the project: which room may import which, and how files are named and sized."""

import ast
import configparser
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What a unit (a room, or a module of tfpt/) imports lies above it in this list, or in its own row
# where the row is open. Nothing imports a unit of a row below its own.
ROWS: list[tuple[set[str], str]] = [
    (
        {
            *("features", "config", "field_values", "console", "environment"),
            *("xla_flags", "pages", "drawing", "tensorboard_parts"),
        },
        "open",
    ),
    (
        {
            *("pipelines", "models", "distribution", "optimization", "schedules", "serving"),
            "record_files",
            "workers",
        },
        "closed",
    ),
    (
        {
            *("objectives", "peft", "checkpoints", "model_state", "state_files", "evaluation"),
            *(
                "show_batch",
                "flops",
                "weights",
                "taking_over",
                "importing",
                "transfer",
                *("extraction", "plans"),
            ),
            *("regression_report", "multi_label_report", "entities", "embedding_report"),
            *("answer_spans", "answer_scores", "answer_report"),
            *("calibration", "worst_rows", "epoch_records", "evaluation_page", "evaluation_plots"),
            *("evaluation_logs", "confusion_drawing"),
        },
        "open",
    ),
    (
        {
            *("callbacks", "failures", "watching", "watched_rows", "preemption", "training"),
            *("clock", "dry_run", "preparation", "seeds", "sweeps"),
        },
        "open",
    ),
    ({"export"}, "open"),
    ({"recipes"}, "open"),
    (
        {
            "cli",
            "clean_command",
            "train_commands",
            "serve_commands",
            "service_commands",
            "weight_commands",
            "command",
            "recipe_names",
            "__main__",
        },
        "open",
    ),
]
LEVEL = {unit: level for level, (units, _) in enumerate(ROWS) for unit in units}
# Modules whose decorated functions are commands.
COMMANDS = (
    "cli",
    "clean_command",
    "train_commands",
    "serve_commands",
    "service_commands",
    "weight_commands",
)
LINKED_ROOMS = ("pipelines", "export", "serving")
FORBIDDEN_NAMES = {"util", "utils", "common", "core", "base", "helper", "helpers", "misc"}
MAX_LINES = 400
MAX_ARGUMENTS = 7


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the project by its name, as `tfpt.pipelines.masking`."""
    found = {}
    for folder in (ROOT / "tfpt", *(ROOT / room for room in LINKED_ROOMS)):
        package = "tfpt" if folder.name == "tfpt" else f"tfpt.{folder.name}"
        for path in sorted(folder.rglob("*.py")):
            places = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *places]).removesuffix(".__init__")] = path
    return found


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> Iterator[str]:
    """The modules of the project that a file imports, also inside functions."""
    for node in ast.walk(tree(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules() else node.module for name in submodules]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            names = [str(getattr(argument, "value", "")) for argument in node.args]
        yield from (name for name in names if name.split(".")[0] == "tfpt")


def unit(module: str) -> str:
    """`pipelines` for `tfpt.pipelines.masking`; empty for `tfpt` itself."""
    return f"{module}.".split(".")[1]


def test_every_unit_has_its_row():
    units = {unit(module) for module in modules()} - {""}
    assert units <= set(LEVEL), "place the new unit in ROWS, and in the design"


def test_imports_point_down_only():
    for module, path in modules().items():
        for name in imported(path):
            here, there = unit(module), unit(name)
            if there == "" or here == there:
                continue
            if not here:
                assert there == "xla_flags", f"{path}: tfpt/__init__.py imports {name}"
                continue
            is_open = ROWS[LEVEL[here]][1] == "open"
            assert LEVEL[there] < LEVEL[here] or (LEVEL[there] == LEVEL[here] and is_open), (
                f"{path} imports {name}: {here} may not import {there}"
            )


def test_serving_imports_nothing_else_of_the_project():
    for module, path in modules().items():
        if unit(module) == "serving":
            assert {unit(name) for name in imported(path)} <= {"serving"}, path


def test_modules_import_each_other_without_circles():
    graph = {
        module: {name for name in imported(path) if name in modules() and name != "tfpt"}
        for module, path in modules().items()
    }
    # A room's front doors are lazy: importing the package runs none of its modules.
    lazy = {module for module, path in modules().items() if path.name == "__init__.py"}
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        assert module not in way, " -> ".join([*way, module])
        if module not in done:
            for name in sorted(graph[module] - lazy):
                visit(name, [*way, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_imports_are_absolute():
    for path in modules().values():
        for node in ast.walk(tree(path)):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}:{node.lineno}"


def test_no_file_has_a_name_that_says_nothing():
    for path in (*modules().values(), *(ROOT / "tests").rglob("*.py")):
        words = set(path.relative_to(ROOT).with_suffix("").parts)
        assert not words & FORBIDDEN_NAMES, path


def test_files_can_be_read_in_one_pass():
    for path in (*modules().values(), *(ROOT / "tests").rglob("*.py")):
        num_lines = len(path.read_text(encoding="utf-8").splitlines())
        assert num_lines <= MAX_LINES, f"{path} has {num_lines} lines"


def test_functions_take_few_arguments():
    for module, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if unit(module) in COMMANDS and node.decorator_list:
                    continue  # a command: its arguments are the options, nobody else calls it
                names = [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)]
                count = len([name for name in names if name not in ("self", "cls")])
                assert count <= MAX_ARGUMENTS, (
                    f"{path}:{node.lineno} {node.name}: {count} arguments"
                )


def test_modules_have_a_docstring():
    for path in modules().values():
        assert ast.get_docstring(tree(path)), path


def test_front_doors_lead_somewhere():
    """What an `__init__.pyi` lists exists, without importing it."""
    for init in (path for path in modules().values() if path.with_suffix(".pyi").exists()):
        for node in ast.walk(tree(init.with_suffix(".pyi"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1, f"{init}i: lazy_loader reads `from .module import name`"
                defined = set(top_level_names(tree(init.parent / f"{node.module}.py")))
                missing = {alias.name for alias in node.names} - defined
                assert not missing, f"{init}i: {node.module} has no {missing}"


def top_level_names(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_the_rooms_are_those_of_the_design():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == {"tfpt", *LINKED_ROOMS}
    rooms = {path.parent.name for path in (ROOT / "tfpt").glob("*/__init__.py")}
    assert rooms == {"models", "objectives", "peft", "recipes", "weights", *LINKED_ROOMS}


@pytest.mark.parametrize("room", LINKED_ROOMS)
def test_rooms_beside_tfpt_are_linked_into_it(room):
    link = ROOT / "tfpt" / room
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{room}"


def test_every_package_is_installed():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    packages = {module for module, path in modules().items() if path.name == "__init__.py"}
    assert set(settings["options"]["packages"].split()) == packages
    mapping = dict(
        line.split(" = ") for line in settings["options"]["package_dir"].strip().splitlines()
    )
    assert mapping == {"tfpt": "tfpt"} | {f"tfpt.{room}": room for room in LINKED_ROOMS}


def test_the_version_stands_in_one_place():
    import tfpt

    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    assert settings["metadata"]["version"] == "attr: tfpt.__version__"
    places = [path for path in modules().values() if f'"{tfpt.__version__}"' in path.read_text()]
    assert places == [ROOT / "tfpt" / "__init__.py"]
    assert not re.search(r"^version", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == tfpt.__version__


@pytest.mark.parametrize(
    "module",
    [
        "tfpt",
        *(f"tfpt.{room}" for room in ("models", "objectives", "recipes", *LINKED_ROOMS)),
        *(f"tfpt.{name}" for name in ("features", "config", "cli")),
    ],
)
def test_importing_loads_no_tensorflow(module):
    code = f"import sys, {module}; print(*{{'tensorflow', 'keras'}} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "\n", "")
