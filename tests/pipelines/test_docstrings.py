import collections
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tfpt.pipelines.docstrings import (
    MIN_LENGTH,
    STANDARD_LIBRARY,
    Docstring,
    collect_docstrings,
    docstring_documents,
    docstring_sentences,
)

LONG = "that is long enough to be collected from its file."


@pytest.fixture
def library(tmp_path):
    """A function that writes a Python file below `tmp_path` and gives the folder."""

    def write(name, source):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else textwrap.dedent(source).encode())
        return tmp_path

    return write


def names(docstrings):
    return [docstring.name for docstring in docstrings]


# ---- Collecting


def test_modules_classes_and_functions_are_found_where_they_are_defined(library):
    root = library(
        "boats/hull.py",
        f'''
        """Module {LONG}"""
        import sys
        class Hull:
            """Class {LONG}"""
            def plank(self):
                """Method {LONG}

                Indented as usual.
                """
                def nail():
                    "Function in a function {LONG}"
        if sys.platform == "linux":
            async def sail():
                r"""Coroutine \\d {LONG}"""
        else:
            try:
                pass
            except ImportError:
                def row():
                    """Fallback {LONG}"""
        ''',
    )
    library("boats/__init__.py", f'"""Package {LONG}"""')
    found = collect_docstrings([root])
    assert names(found) == [
        *("boats", "boats.hull", "boats.hull.Hull", "boats.hull.Hull.plank"),
        *("boats.hull.Hull.plank.nail", "boats.hull.sail", "boats.hull.row"),
    ]
    plank = found[3]
    assert plank == Docstring(
        text=f"Method {LONG}\n\nIndented as usual.",
        library="boats",
        path=str(root / "boats" / "hull.py"),
        name="boats.hull.Hull.plank",
    )
    assert found[5].text == f"Coroutine \\d {LONG}"


def test_the_library_is_the_top_level_package_or_module(library):
    library("b/c/d.py", f'"""One {LONG}"""')
    root = library("a.py", f'"""Two {LONG}"""')
    assert [(one.library, one.name) for one in collect_docstrings([root])] == [
        ("a", "a"),
        ("b", "b.c.d"),
    ]


def test_of_equal_docstrings_the_first_stays(library):
    library("b.py", f'"""Same {LONG}"""')
    library("c.py", f'"""\n    Same {LONG}\n"""')
    root = library("a/z.py", f'"""Same {LONG}"""')
    assert names(collect_docstrings([root])) == ["a.z"]


def test_short_docstrings_tests_and_vendored_packages_are_left_out(library):
    for name in ("a/test_b.py", "a/b_test.py", "a/tests/b.py", "test/b.py", "a/_vendor/b/c.py"):
        library(name, f'"""{name} {LONG}"""')
    library("short.py", f'"""{"x" * (MIN_LENGTH - 1)}"""')
    root = library("just.py", f'"""{"x" * MIN_LENGTH}"""')
    assert names(collect_docstrings([root])) == ["just"]


def test_nothing_is_run_and_nothing_is_warned_about(library, recwarn):
    source = f'"""Fine {LONG}"""\nraise SystemExit("run")\nx = "\\d"\ny = 1 is 1\n'
    assert names(collect_docstrings([library("a.py", source)])) == ["a"]
    assert not recwarn.list


def test_files_that_cannot_be_parsed_are_skipped_and_counted(library, caplog):
    caplog.set_level("INFO")
    library("a.py", f'"""Python 2 {LONG}"""\nprint "hello"\n')
    library("b.py", b'"""latin-1 without saying so \xe9 ' + LONG.encode() + b'"""')
    library("c.py", b'"""NUL ' + LONG.encode() + b'"""\n\0')
    library("d.py", f'"""Deep {LONG}"""\nx = ' + "(" * 5_000 + ")" * 5_000)
    root = library("e.py", f'"""Fine {LONG}"""')
    assert names(collect_docstrings([root])) == ["e"]
    assert "4 of 5 source files could not be parsed" in caplog.text


def test_text_that_no_file_could_hold_is_left_out(library):
    root = library("a.py", f'"""Half a pair \\ud83d {LONG}"""\ndef f():\n    """Fine {LONG}"""\n')
    assert names(collect_docstrings([root])) == ["a.f"]


def test_progress_is_told_the_files_read(library):
    seen = []
    library("a.py", f'"""One {LONG}"""')
    collect_docstrings([library("b.py", "")], progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]


def test_what_holds_no_docstrings_is_refused(library, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        collect_docstrings([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="No docstring in the 1 Python files below"):
        collect_docstrings([library("a.py", "x = 1")])


def test_real_packages_are_read_without_importing_tensorflow():
    code = """
import logging, sys
from pathlib import Path
from tfpt.pipelines import collect_docstrings
found = collect_docstrings([Path(logging.__file__).parent])
assert "handlers.RotatingFileHandler.doRollover" in {one.name for one in found}
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.slow
def test_the_installed_packages_give_enough_text():
    found = collect_docstrings()
    sizes = collections.Counter()
    for docstring in found:
        sizes[docstring.library] += len(docstring.text)
    assert sizes.total() > 8_000_000
    assert min(sizes[name] for name in (STANDARD_LIBRARY, "tensorflow", "keras", "numpy")) > 1e6
    assert any(one.name.startswith("pydoc_data.topics.") for one in found)
    assert len({one.text for one in found}) == len(found)
    order = [(one.library, one.path) for one in found]
    assert order == sorted(order)
    assert found == collect_docstrings()
    documents = docstring_documents(found)
    num_sentences = sum(map(len, documents))
    assert num_sentences > 100_000
    assert documents.bytes_read == documents.num_bytes


# ---- Docstrings to sentences


def sentences(text):
    return docstring_sentences(textwrap.dedent(text).strip())


def test_wrapped_lines_are_joined_and_split_into_sentences():
    assert sentences("""
        Return the mean. It is computed
        over all axes, i.e. of the
        whole array.

        Another paragraph
    """) == [
        "Return the mean.",
        "It is computed over all axes, i.e. of the whole array.",
        "Another paragraph",
    ]


def test_code_is_dropped():
    assert sentences("""
        Two examples follow.

        >>> f(1)
        2 and more output
        >>> g(
        ...     2)

        The second one is fenced:

        ```python
        x = f(x)

        print("no prose at all")
        ```
        The third one is literal::

            y = f(y)

              deeper code still

        Prose goes on.

        .. code-block:: python

            z = no prose

        .. note:: left out
            Notes are prose.
    """) == [
        "Two examples follow.",
        "The second one is fenced:",
        "The third one is literal::",
        "Prose goes on.",
        "Notes are prose.",
    ]


def test_headings_rules_and_list_items_end_a_paragraph():
    assert sentences("""
        Solve an equation

        Parameters
        ----------
        a : array_like
            The left side
        b : array_like
            The right side

        Args:
          x: A tensor, which may
            be ragged
          y: Another tensor
        Returns:
          Their sum

        - first item
        - second item - with a dash
        1. third item
        :param one: the first
        :param two: the second
    """) == [
        *("Solve an equation", "a : array_like The left side", "b : array_like The right side"),
        *("x: A tensor, which may be ragged", "y: Another tensor", "Their sum"),
        *("first item", "second item - with a dash", "third item"),
        *(":param one: the first", ":param two: the second"),
    ]


@pytest.mark.parametrize("text", ["", "Args:", ">>> f(1)\n2", "```\nunfinished fence"])
def test_a_docstring_without_prose_has_no_sentences(text):
    assert docstring_sentences(text) == []


def test_the_docstrings_of_a_file_are_one_document():
    docstrings = [
        Docstring("First sentence. Second one.", "l", "a.py", "l.a"),
        Docstring("Third of a.", "l", "a.py", "l.a.f"),
        Docstring(">>> only(code)", "l", "b.py", "l.b"),
        Docstring("First of c.", "l", "c.py", "l.c"),
    ]
    documents = docstring_documents(iter(docstrings))
    for _ in range(2):
        assert list(documents) == [
            ("First sentence.", "Second one.", "Third of a."),
            ("First of c.",),
        ]
        assert documents.bytes_read == documents.num_bytes == 27 + 11 + 14 + 11


def test_this_project_s_own_docstrings_can_be_read():
    root = Path(sys.modules[collect_docstrings.__module__].__file__).parent
    found = {docstring.name: docstring for docstring in collect_docstrings([root])}
    text = found["docstrings.collect_docstrings"].text
    assert docstring_sentences(text)[0] == text.splitlines()[0]
