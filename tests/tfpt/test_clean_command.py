"""`tfpt clean`: what it prints and writes, and what a user does wrong."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfpt.cli import main
from tfpt.pipelines import corpus_cleaning

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "the cat sat on the mat and purred until the dog came home from the park at night"
ALL = (
    *("--unicode", "nfkc", "--min-words", 3, "--max-words", 500, "--repetition"),
    *("--keep-languages", "en", "--min-confidence", 0, "--personal-data"),
    *("--exact-duplicates", "--near-duplicates", 0.8),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with texts to clean and an evaluation set."""
    monkeypatch.chdir(tmp_path)
    documents = [
        f"{SENTENCE}\nand then it slept",
        f"{SENTENCE.upper()}\nAND THEN IT SLEPT",
        "too short",
        "A reader at jane@example.com wrote that she liked the film and all of its actors.",
        "Nobody expects a \ufb01lm of three hours, but here is one that nobody will forget.",
    ]
    Path("texts.txt").write_text("\n\n".join(documents), encoding="utf-8")
    Path("eval.csv").write_text(f'review,label\n"{SENTENCE}",1\n"short one",0\n')
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def refused(folder):
    """A function that runs a command which must fail, and gives the sentence it printed."""

    def refuse(*arguments: object) -> str:
        before = sorted(folder.rglob("*"))
        result = run("clean", *arguments)
        assert sorted(folder.rglob("*")) == before
        assert result.exit_code == 1, result.output
        (line,) = [one for one in result.output.splitlines() if one.startswith("Error: ")]
        return line.removeprefix("Error: ")

    return refuse


def test_texts_are_cleaned_and_a_table_tells_how(folder, tfpt):
    printed = tfpt("clean", "texts.txt", *ALL, "--out", "clean")
    rows = {
        cells[0]: cells[1:]
        for line in printed.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("\u2502").split("\u2502")]) > 1
    }
    assert rows["before"][:3] == ["", "", "5"]
    assert rows["unicode"][:3] == ["0", "1", "5"]
    assert rows["length"][:3] == ["1", "0", "4"]
    assert rows["personal data"][:3] == ["0", "1", "4"]
    assert rows["exact duplicates"][:3] == ["1", "0", "3"]
    assert rows["near duplicates"][:3] == ["0", "0", "3"]
    last = "clean: 3 of 5 documents; report.html tells of the others"
    assert printed.splitlines()[-1] == last
    assert sorted(path.name for path in Path("clean").iterdir()) == [
        *("00000.jsonl", "report.html", "report.json")
    ]
    lines = Path("clean/00000.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert texts[0] == [SENTENCE, "and then it slept"]
    assert "<EMAIL>" in texts[1][0]
    assert " film " in texts[2][0]


def test_what_was_cleaned_becomes_a_vocabulary_and_a_store(folder, tfpt):
    tfpt("clean", "texts.txt", "--min-words", 3, "--out", "clean")
    tfpt("vocabulary", "clean", "--size", 60, "--out", "vocab.txt")
    printed = tfpt("store", "clean", "--vocabulary", "vocab.txt", "--out", "store")
    assert "4 documents" in printed


def test_evaluation_texts_are_found_by_their_field(folder, tfpt):
    tfpt("clean", "texts.txt", "--overlap", "eval.csv", "--overlap-field", "review", "--out", "c")
    report = json.loads(Path("c/report.json").read_text(encoding="utf-8"))
    assert report["evaluation"] == [{"source": "eval.csv", "texts": 2, "too_short": 1, "found": 1}]
    (step,) = report["steps"]
    assert step["dropped"] == {"shares words with evaluation texts": 2}
    assert step["found"] == {"eval.csv": 2}


def test_texts_of_a_bucket_are_cleaned(remote_text, folder, tfpt):
    assert "1 of 1 documents" in tfpt("clean", remote_text, "--min-words", 1, "--out", "c")


@pytest.fixture
def remote_text():
    import tensorflow as tf

    with tf.io.gfile.GFile("ram://clean/texts.txt", "w") as file:
        file.write(SENTENCE)
    return "ram://clean/texts.txt"


def test_the_command_says_nothing_else_and_loads_no_tensorflow(folder):
    code = (
        "import sys\nfrom tfpt.cli import main\n"
        "main(['clean', 'texts.txt', '--personal-data', '--keep-languages', 'en', "
        "'--min-confidence', '0', '--out', 'c'], standalone_mode=False)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"Cleaning: 0:\d\d:\d\d, 5 documents, 0\.0 MB/s\n", result.stderr)
    # Of what libraries leave in a user's folder, only the list of fonts.
    left = {path.name for path in (folder / "home").rglob("*") if path.is_file()}
    assert all(name.startswith("fontlist") for name in left)


def test_what_ctrl_c_stopped_is_gone_on_with(folder, tfpt, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(corpus_cleaning, "decide_duplicates", stop)
        stopped = run("clean", "texts.txt", "--exact-duplicates", "--out", "c")
    assert stopped.exit_code == 130
    assert stopped.output.endswith("Stopped. Repeat the command to go on with the cleaning.\n")
    assert Path("c.partial").is_dir()
    assert "c: 4 of 5 documents" in tfpt("clean", "texts.txt", "--exact-duplicates", "--out", "c")
    assert not Path("c.partial").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), r"no step is on. Choose one or more of --unicode, --min-words, .*--near-duplicates\."),
        (("--min-words", -1), r"--min-words must be zero or a positive number; received"),
        (("--min-words", 9, "--max-words", 2), r"--min-words must be at most --max-words 2; "),
        (("--near-duplicates", 80), r"--near-duplicates must be a similarity from 0\.1 to 1, or"),
        (("--near-duplicates", "nan"), r"--near-duplicates must be a similarity"),
        (("--keep-languages", "english"), r"--keep-languages must be a tuple of codes"),
        (("--keep-languages", "en,qq"), r"--keep-languages has qq, which cannot be told apart"),
        (("--count-languages", "--min-confidence", 2), r"--min-confidence must be a share in"),
        (("--personal-data", "--phone-regions", "US,XX"), r"--phone-regions has XX, which is no"),
        (("--overlap", "no*.csv"), r"No file matches no\*\.csv"),
        (("--overlap", "eval.csv"), r"eval\.csv: no column `text`; the header has 'review', "),
        (
            ("--overlap", "eval.csv", "--overlap-field", "label"),
            r"eval\.csv holds no evaluation text of at least 8 words, among 2 texts\. "
            r"Check --overlap-field, or lower --overlap-words\.",
        ),
        (("--overlap", "eval.csv", "--overlap-words", 1), r"--overlap-words must be from 2 to"),
        (("--min-words", 1, "--workers", 0), r"--workers` must be at least 1; received 0"),
        (("--min-words", 99), r"Of 5 documents none is left\. Dropped by length 5\. Loosen"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_leaves_nothing(refused, options, sentence):
    found = refused("texts.txt", "--out", "c", *options)
    assert re.search(sentence, found), found
    assert not re.search("words=|`(min|max|near|keep|overlap)_", found)


@pytest.mark.parametrize(
    ("options", "without", "with_effect"),
    [
        (("--phone-regions", "US"), "--personal-data", ("--personal-data",)),
        (
            ("--overlap-field", "review"),
            "--overlap",
            ("--overlap", "eval.csv"),
        ),
        (
            ("--overlap-words", 8),
            "--overlap",
            ("--overlap", "eval.csv", "--overlap-field", "review"),
        ),
        (
            ("--min-confidence", 0.9),
            "--keep-languages or --count-languages",
            ("--count-languages",),
        ),
    ],
)
def test_what_has_no_effect_is_warned_of(folder, options, without, with_effect):
    result = run("clean", "texts.txt", "--min-words", 1, *options, "--out", "a")
    assert result.exit_code == 0
    warning = f"Warning: {options[0]} has no effect without {without}."
    assert [line for line in result.output.splitlines() if "Warning" in line] == [warning]
    result = run("clean", "texts.txt", "--min-words", 1, *options, *with_effect, "--out", "b")
    assert result.exit_code == 0
    assert "Warning" not in result.output


def test_a_corpus_without_a_document_is_named(refused, folder):
    Path("empty.txt").write_text("\n\n")
    assert refused("empty.txt", "--min-words", 1, "--out", "c").startswith("The corpus is empty")


def test_nothing_is_overwritten(refused, folder):
    Path("there").mkdir()
    sentence = refused("texts.txt", "--min-words", 1, "--out", "there")
    assert sentence.startswith("there exists already. A cleaned corpus is never overwritten")


@pytest.mark.parametrize(
    ("module", "option", "what"),
    [
        ("py3langid", "--count-languages", "The step `languages` needs py3langid"),
        ("presidio_analyzer", "--personal-data", "The step --personal-data needs presidio_a"),
        ("matplotlib", "--exact-duplicates", "The report needs matplotlib"),
        ("jinja2", "--exact-duplicates", "The report needs jinja2"),
    ],
)
def test_a_library_that_is_missing_is_named_before_any_work(
    refused, monkeypatch, module, option, what
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else find(name)
    )
    sentence = refused("texts.txt", option, "--out", "c")
    assert sentence.startswith(what)
    assert sentence.endswith("Run pip install 'tfpt[cleaning]'.")


def test_the_disk_is_full(refused, folder, files_of_at_most):
    long = "\n\n".join(f"{SENTENCE} {number}" for number in range(400))
    Path("long.txt").write_text(long)
    with files_of_at_most(10_000):
        sentence = refused("long.txt", "--near-duplicates", 0.8, "--out", "c")
    assert sentence == "c could not be written: File too large."
