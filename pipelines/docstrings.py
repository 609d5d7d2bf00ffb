"""Real English text that every machine with this stack has: the docstrings of its Python packages.

They are read from source files with `ast`; nothing is imported or run.
"""

import ast
import contextlib
import dataclasses
import gc
import importlib.metadata
import inspect
import itertools
import logging
import os
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import sentencex

from tfpt.pipelines.documents import Documents

STANDARD_LIBRARY = "python"
MIN_LENGTH = 40  # characters; what is shorter says little more than the name of the function

# Tests say little in their docstrings, and vendored packages are other libraries' text.
_SKIPPED_FOLDERS = {
    *("__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"),
    *("_vendor", "_vendored", "vendor"),
}
_HOLDERS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("body", "handlers", "orelse", "finalbody")

# What a list item starts with; of ":param x: ..." nothing is cut off.
_ITEM = re.compile(r"(?:[-*+\u2022]|\(?\d{1,2}[.)])\s+|(?=:\w)")

# Surrogates, which no UTF-8 can hold, and NUL: from escapes in the source.
_UNENCODABLE = re.compile("[\ud800-\udfff\0]")

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Docstring:
    """One docstring, and where it comes from."""

    text: str  # indentation removed, as `inspect.cleandoc` does
    library: str  # top-level package or module, e.g. "numpy"; "python" for the standard library
    path: str  # the source file
    name: str  # e.g. "numpy.linalg.solve"; a topic of `help()` is "pydoc_data.topics.NAME"


class _Source(NamedTuple):
    library: str
    path: str
    module: str


def collect_docstrings(
    roots: Iterable[str | os.PathLike[str]] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Docstring]:
    """Collect the docstrings of modules, classes and functions.

    Left out are those shorter than 40 characters, all but the first of equal ones, tests, and
    packages vendored inside others. What comes out is sorted by library, file and place, so it
    depends on the installed packages only. Files that Python cannot parse are skipped; their number
    is logged. No package is imported.

    Args:
        roots: Folders that hold packages and modules, each of them a library. None stands for the
            standard library, the help texts of `pydoc_data.topics` and all packages installed in
            the running environment.
        progress: Called with the number of files read and the number of all files.

    Raises:
        FileNotFoundError: A root that is no folder.
        ValueError: No docstring found.
    """
    sources = _installed_sources() if roots is None else _sources_below(roots)
    found: dict[str, Docstring] = {}  # by text: the first one stays
    num_skipped = 0
    with _parsing():
        for number, source in enumerate(sources, 1):
            try:
                for name, text in _texts_in_file(source):
                    found.setdefault(text, Docstring(text, source.library, source.path, name))
            except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
                num_skipped += 1
            if progress is not None:
                progress(number, len(sources))
    _logger.info("%d of %d source files could not be parsed", num_skipped, len(sources))
    if not found:
        raise ValueError(f"No docstring in the {len(sources)} Python files below {roots}.")
    return list(found.values())


def docstring_documents(docstrings: Iterable[Docstring]) -> Documents:
    """Make a corpus of docstrings: those of one file are one document.

    Args:
        docstrings: In the order of `collect_docstrings`, or a part of it in that order.
    """
    docstrings = list(docstrings)
    documents: Documents

    def files() -> Iterator[list[str]]:
        for _, group in itertools.groupby(docstrings, key=lambda docstring: docstring.path):
            sentences: list[str] = []
            for docstring in group:
                documents.advance(len(docstring.text))
                sentences.extend(docstring_sentences(docstring.text))
            yield sentences

    num_bytes = sum(len(docstring.text) for docstring in docstrings)
    documents = Documents(files, num_bytes=num_bytes)
    return documents


def docstring_sentences(text: str) -> list[str]:
    """Split a docstring into sentences of at least two words; code and its output are dropped.

    Args:
        text: Without indentation, as `Docstring.text`.
    """
    sentences = []
    for paragraph in _paragraphs(_prose(text.splitlines())):
        for sentence in sentencex.segment("en", paragraph):
            if len(words := sentence.split()) > 1:
                sentences.append(" ".join(words))
    return sentences


def _installed_sources() -> list[_Source]:
    standard = Path(sysconfig.get_path("stdlib"))
    sources = [source._replace(library=STANDARD_LIBRARY) for source in _sources_below([standard])]
    # Of site-packages, what a distribution has installed, not what else lies there.
    installed = set(importlib.metadata.packages_distributions())
    folders = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    sources += [source for source in _sources_below(folders) if source.library in installed]
    return sorted(sources)


def _sources_below(roots: Iterable[str | os.PathLike[str]]) -> list[_Source]:
    """The Python files below each root, sorted; its folders and files are the libraries."""
    sources = []
    for root in map(Path, roots):
        if not root.is_dir():
            raise FileNotFoundError(f"{root} is not a folder; name folders that hold packages.")
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = [name for name in subfolders if name not in _SKIPPED_FOLDERS]
            for file in files:
                if (
                    not file.endswith(".py")
                    or file.startswith("test_")
                    or file.endswith("_test.py")
                ):
                    continue
                path = Path(folder, file)
                module = path.relative_to(root).with_suffix("").parts
                sources.append(_Source(module[0], str(path), ".".join(module)))
    return sorted(sources)


@contextlib.contextmanager
def _parsing() -> Iterator[None]:
    """Parse many files: without their SyntaxWarnings, and a fifth faster without the collector.

    Syntax trees hold no cycles, so nothing piles up.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if collecting:
            gc.enable()


def _texts_in_file(source: _Source) -> Iterator[tuple[str, str]]:
    """(name, text) of each docstring of a file that is long enough."""
    content = Path(source.path).read_bytes()
    is_topics = source.module == "pydoc_data.topics"
    if b'"""' not in content and b"'''" not in content and not is_topics:
        return  # One of six files; a short docstring in single quotes is not worth the parsing.
    tree = ast.parse(content)
    texts = _topics(tree) if is_topics else _docstrings(tree)
    for name, text in texts:
        text = inspect.cleandoc(text).strip()
        if len(text) >= MIN_LENGTH and not _UNENCODABLE.search(text):
            yield ".".join(filter(None, [source.module.removesuffix(".__init__"), name])), text


def _docstrings(node: ast.AST, name: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of the docstring of a module, class or function and of those defined in it."""
    text = ast.get_docstring(node, clean=False)  # type: ignore[arg-type]
    if text:
        yield name, text
    for child in _definitions(node):
        yield from _docstrings(child, f"{name}.{child.name}" if name else child.name)


def _definitions(node: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The classes and functions in the body of `node`, also those under `if`, `try` or `with`."""
    for block in _BLOCKS:
        for child in getattr(node, block, ()):
            if isinstance(child, _HOLDERS):
                yield child
            elif isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
                yield from _definitions(child)


def _topics(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(name, text) of the entries of the dict of help texts, a literal in the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                    yield str(key.value), str(value.value)


def _prose(lines: Iterable[str]) -> Iterator[str]:
    """The lines that are no code: no examples with ">>>", no ``` blocks, no blocks after "::"."""
    in_fence = in_example = False
    literal: int | None = None  # indentation of the paragraph that announced a literal block
    for line in lines:
        words = line.strip()
        indentation = len(line) - len(line.lstrip())
        if words.startswith("```"):
            in_fence = not in_fence
            yield ""
        elif in_fence:
            continue
        elif not words:
            in_example = False
            yield ""
        elif in_example or words.startswith(">>>"):
            in_example = True
        elif literal is not None and indentation > literal:
            continue
        elif words.startswith(".. "):  # a reST directive
            literal = indentation if "code" in words else None
            yield ""
        else:
            literal = indentation if words.endswith("::") else None
            yield line


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Paragraphs, each in one line.

    They end at blank lines, at list items, where indentation gets less, and at rules.
    """
    paragraph: list[str] = []
    last = 0
    for line in itertools.chain(lines, [""]):
        words = line.strip()
        indentation = len(line) - len(line.lstrip())
        rule = bool(words) and not any(map(str.isalnum, words))
        item = _ITEM.match(words)
        after_heading = bool(paragraph) and paragraph[-1].endswith(":") and indentation > last
        starts = not words or rule or item or indentation < last or after_heading
        if paragraph and starts:
            yield " ".join(paragraph)
            paragraph = []
        if words and not rule:
            paragraph.append(words[item.end() :] if item else words)
        last = indentation
