"""The command `tfpt`: what it prints, what it loads, whose recipes it finds, how it ends."""

import gzip
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner

import tfpt as package
from tfpt.cli import main

ROOT = Path(__file__).resolve().parents[2]
TEXTS = "the cat sat on the mat\nit purred\n\na dog ran to the park\nit barked at the cat\n\n" * 4

# In a process of its own: what earlier tests imported does not count.
WITHOUT_TENSORFLOW = """
import sys
from tfpt.cli import main
try:
    main({arguments!r}, standalone_mode=False)
except Exception as error:
    print(type(error).__name__, error)
assert not {{"tensorflow", "keras"}} & set(sys.modules), "TensorFlow was loaded"
"""


def in_process(code, *, cwd):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def command(*arguments, cwd, **variables):
    """The real command, with TensorFlow as talkative as it comes."""
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-m", "tfpt", *arguments],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "texts.txt").write_text(TEXTS, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "Usage: "),
        (["pretrain", "--help"], "Usage: "),
        (["--version"], package.__version__),
        (["show", "bert"], '"num_layers": 4'),
        (["show", "classify", "--set", "model.num_layers=3"], '"num_layers": 3'),
        *(
            (["show", name], '"learning_rate"')
            for name in ("answer", "embed", "label", "score", "tag")
        ),
        (
            ["vocabulary", "texts.txt", "--size", "40", "--out", "vocab.txt"],
            "vocab.txt: 40 entries",
        ),
        (["predict", "localhost:1", "reviews", "a film"], "No REST server answers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_light_commands_load_no_tensorflow(folder, arguments, expected):
    assert expected in in_process(WITHOUT_TENSORFLOW.format(arguments=arguments), cwd=folder)


def test_every_command_is_listed_in_the_order_of_the_path_with_a_whole_sentence(tfpt):
    listed = tfpt("--help").partition("Commands:\n")[2].splitlines()
    names = "clean vocabulary store show show-batch records data-service pretrain finetune "
    names += "evaluate import convert features export serve predict check demo"
    assert [line.split()[0] for line in listed] == names.split()
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_every_option_is_explained():
    for name, subcommand in main.commands.items():
        for parameter in subcommand.params:
            assert parameter.param_type_name == "argument" or parameter.help, (name, parameter.name)


def test_check_reports_versions_and_the_settings_of_the_user_only(folder):
    result = command("check", cwd=folder, KERAS_NIGHTLY="1", TF_API_KEY="secret")
    assert result.returncode == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    for name in ("tensorflow", "keras", "tokenizers", "rich"):
        assert f"{name} {importlib.metadata.version(name)}" in lines
    assert lines[0].startswith(f"tfpt {package.__version__} ")
    assert "CPU /physical_device:CPU:0" in lines
    assert "KERAS_NIGHTLY=1" in lines
    # TensorFlow and tfpt set variables of their own.
    assert "TF_CPP_MIN_LOG_LEVEL" not in result.stdout
    assert "TF_API_KEY" not in result.stdout


def test_a_command_that_loads_tensorflow_prints_nothing_else(folder, tfpt):
    tfpt("vocabulary", folder / "texts.txt", "--size", 40, "--out", folder / "vocab.txt")
    arguments = ("texts.txt", "--vocabulary", "vocab.txt", "--out", "store")
    result = command("store", *arguments, cwd=folder)
    assert re.fullmatch(r"store: \d+ tokens, 16 sentences, 8 documents\n", result.stdout)
    assert re.fullmatch(r"Writing the store: 0:\d\d:\d\d, 8 documents, 0\.0 MB/s\n", result.stderr)
    arguments = ("texts.txt", "texts.txt.copy", "--vocabulary", "vocab.txt", "--out", "two")
    shutil.copy(folder / "texts.txt", folder / "texts.txt.copy")
    result = command("store", *arguments, "--workers", "2", cwd=folder)
    assert re.fullmatch(r"two: \d+ tokens, 32 sentences, 16 documents\n", result.stdout)
    assert re.fullmatch(r"Writing the store: .* 16 documents, .*\n", result.stderr)


def test_keras_2_is_refused_before_tensorflow_is_loaded(folder, monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 1
    sentence = "TF_USE_LEGACY_KERAS is set, but tfpt needs Keras 3; unset it."
    assert result.output == f"Error: {sentence}\n"


@pytest.fixture
def own_recipe(folder, monkeypatch):
    """`mine.small`, a recipe in the current folder."""
    (folder / "mine").mkdir()
    (folder / "mine" / "small.py").write_text(
        "import dataclasses\n"
        "from tfpt import models\n"
        "from tfpt.recipes import bert\n"
        "from tfpt.recipes.bert import dataset, model\n"
        "def config():\n"
        "    return dataclasses.replace(bert.config(), model=models.BERT_TINY, seed=7)\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "mine.small"
    for name in ("mine", "mine.small"):
        sys.modules.pop(name, None)


def test_a_module_in_the_current_folder_is_a_recipe(own_recipe, tfpt):
    settings = json.loads(tfpt("show", own_recipe, "--set", "training.batch_size=2"))
    assert settings["seed"] == 7
    assert settings["model"]["hidden_dim"] == 128
    assert settings["training"]["batch_size"] == 2


def test_a_run_by_a_recipe_of_the_user_is_gone_on_with_and_evaluated(own_recipe, tfpt, monkeypatch):
    from tfpt.callbacks import Report

    tfpt("vocabulary", "texts.txt", "--size", 40, "--out", "vocab.txt")
    tfpt("store", "texts.txt", "--vocabulary", "vocab.txt", "--out", "store")
    numbers = {
        "data.store": "store",
        "data.validation_store": "store",
        "data.sequence_length": 16,
        "training.batch_size": 2,
        "training.total_steps": 4,
        "training.warmup_steps": 1,
        "training.steps_per_epoch": 2,
        "training.validation_steps": 1,
    }
    sets = [word for name, value in numbers.items() for word in ("--set", f"{name}={value}")]
    pretraining = ["pretrain", own_recipe, *sets, "--out", "run"]

    def press_ctrl_c(report, batch, logs=None):
        report.done += 1
        if report.done == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Report, "on_train_batch_end", press_ctrl_c)
        stopped = CliRunner().invoke(main, pretraining)
    assert stopped.exit_code == 130
    assert stopped.output.splitlines()[-1] == (
        "Stopped. Repeat the command to go on from the last checkpoint; each epoch ends with one."
    )
    assert [record["step"] for record in history("run")] == [2]

    printed = tfpt(*pretraining)
    assert printed.splitlines()[-1] == "run"
    assert "step 4: validation" in printed
    assert "step 2: validation" not in printed
    assert [record["step"] for record in history("run")] == [2, 4]
    assert json.loads(Path("run", "config.json").read_text())["recipe"] == own_recipe
    assert tfpt(*pretraining).endswith("run was complete already.\nrun\n")
    assert "masked_lm_loss" in tfpt("evaluate", "run")


def told_by_tfpt(stderr: str) -> str:
    """Without the two lines that TensorFlow 2.20 prints, at any level, at its first XLA program."""
    lines = stderr.splitlines(keepends=True)
    if tf.__version__.startswith("2.20.") and len(lines) > 1:
        assert lines[0].startswith("WARNING: All log messages before absl::InitializeLog()")
        assert "Compiled cluster using XLA!" in lines[1]
        lines = lines[2:]
    return "".join(lines)


@pytest.fixture
def small_store(folder, monkeypatch, tfpt):
    """The settings that name a store in the current folder."""
    monkeypatch.chdir(folder)
    tfpt("vocabulary", "texts.txt", "--size", 50, "--out", "vocab.txt")
    tfpt("store", "texts.txt", "--vocabulary", "vocab.txt", "--out", "store")
    sizes = ("data.sequence_length=24", "training.batch_size=2", "drawing.pairing=sentence_order")
    return [word for one in ("data.store=store", *sizes) for word in ("--set", one)]


def test_a_batch_is_shown_in_whole_lines_without_colour_in_a_pipe(small_store, folder, tfpt):
    result = command("show-batch", "bert", *small_store, "--rows", "1", cwd=folder)
    assert (result.returncode, told_by_tfpt(result.stderr)) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("batch 0: 2 rows of 24 tokens; ")
    row = re.fullmatch(r"row 0: \d+ tokens, \d+ padding; \d+ to predict; (.*)", lines[3])
    assert row[1] in ("B follows A", "the other way round: A follows B")
    assert re.fullmatch(r"  A  \[CLS\] .*\[SEP\]", lines[4])
    assert re.fullmatch(r"  B  .*\[SEP\]( \[PAD\] x \d+)?", lines[5])
    later = tfpt("show-batch", "bert", *small_store, "--batch", 9, "--rows", 5)
    assert later.startswith("batch 9: ")
    assert later.count("row ") == 2


def test_records_are_written_shown_and_trained_on(small_store, tfpt):
    printed = tfpt("records", "bert", *small_store, "--batches", 6, "--shards", 3, "--out", "rows")
    assert printed.splitlines()[-1] == "rows: 12 rows in 3 shards"
    recorded = ["--set", "data.records=rows", *small_store[2:]]
    shown = tfpt("show-batch", "bert", *recorded, "--batch", 4)
    assert shown == tfpt("show-batch", "bert", *small_store, "--batch", 4)
    numbers = {"total_steps": 2, "warmup_steps": 1, "steps_per_epoch": 2}
    sets = [word for name, n in numbers.items() for word in ("--set", f"training.{name}={n}")]
    size = ["--set", "model.num_layers=1", "--set", "model.hidden_dim=16"]
    size += ["--set", "model.num_heads=2", "--set", "model.intermediate_dim=32"]
    printed = tfpt("pretrain", "bert", *recorded, *sets, *size, "--out", "run")
    assert printed.splitlines()[-1] == "run"
    assert [record["step"] for record in history("run")] == [2]


def history(run):
    return [json.loads(line) for line in Path(run, "history.jsonl").read_text().splitlines()]


def test_files_of_the_current_folder_come_after_what_tfpt_imports(folder):
    (folder / "tokenizers.py").write_text("raise RuntimeError('the wrong module')\n")
    code = (
        "from tfpt.cli import main\n"
        "main(['show', 'bert'], standalone_mode=False)\n"
        "import tokenizers\n"
        "print(tokenizers.__file__)"
    )
    # As the installed script runs: without the current folder on the path.
    told = in_process(f"import sys; sys.path.remove('')\n{code}", cwd=folder)
    assert Path(told.splitlines()[-1]).parent.name == "tokenizers"


def test_encodings_that_are_detected_are_told(folder):
    text = "Caf\u00e9 na\u00efve.\n\n" * 20
    (folder / "old.txt").write_bytes(text.encode("cp1252"))
    (folder / "texts.txt.gz").write_bytes(gzip.compress(TEXTS.encode()))
    arguments = ["vocabulary", str(folder), "--size", "40", "--out", str(folder / "vocab.txt")]
    result = CliRunner().invoke(main, [*arguments, "--encoding", "auto"])
    assert result.exit_code == 0
    told = [line for line in result.output.splitlines() if line.startswith("Detected")]
    assert told == [
        f"Detected cp1252: {folder / 'old.txt'}",
        f"Detected utf-8: {folder / 'texts.txt'}, {folder / 'texts.txt.gz'}",
    ]


def test_texts_are_read_through_the_file_systems_of_tensorflow(folder, tfpt):
    import tensorflow as tf

    root = f"ram://{folder.name}"
    tf.io.gfile.makedirs(root)
    with tf.io.gfile.GFile(f"{root}/texts.txt.gz", "wb") as file:
        file.write(gzip.compress(TEXTS.encode()))
    out = ("--size", 40, "--out", folder / "vocab.txt")
    assert ": 40 entries" in tfpt("vocabulary", root, *out)
    store = ("--vocabulary", folder / "vocab.txt", "--out", folder / "store")
    assert "16 sentences, 8 documents" in tfpt("store", f"{root}/*.gz", *store)


def test_the_language_splits_running_text(folder, tfpt):
    text = "Das kostet ca. 5 Euro. Er kam am 3. Mai zu uns. " * 20
    (folder / "german.txt").write_text(text, encoding="utf-8")
    tfpt("vocabulary", folder / "german.txt", "--size", 40, "--out", folder / "vocab.txt")
    common = (folder / "german.txt", "--vocabulary", folder / "vocab.txt", "--layout", "text")
    for language, number in (("de", 40), ("en", 60)):
        options = ("--language", language, "--out", folder / language)
        assert f" {number} sentences," in tfpt("store", *common, *options)


def test_ctrl_c_ends_a_command_with_one_line_and_the_code_of_an_interrupt(folder, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfpt.pipelines.train_wordpiece", interrupted)
    arguments = ["vocabulary", str(folder / "texts.txt"), "--out", str(folder / "vocab.txt")]
    result = CliRunner().invoke(main, arguments)
    assert result.output == "Stopped.\n"
    assert result.exit_code == 130


def test_a_warning_is_one_line(monkeypatch):
    def warn(*arguments, **options):
        warnings.warn("three rows are left out.", stacklevel=2)
        raise ValueError("There is nothing else.")

    monkeypatch.setattr("tfpt.pipelines.read_documents", warn)
    result = CliRunner().invoke(main, ["vocabulary", "texts.txt", "--out", "vocab.txt"])
    assert result.output == "Warning: three rows are left out.\nError: There is nothing else.\n"


def test_a_traceback_is_there_for_who_asks_for_it(monkeypatch):
    monkeypatch.setenv("TFPT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no field"):
        CliRunner().invoke(main, ["show", "bert", "--set", "x=1"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("kind", "size", "name"),
    [
        ("wordpiece", 40, "vocab.txt"),
        ("bpe", 290, "tokenizer.json"),
        ("unigram", 25, "tokenizer.model"),
    ],
)
def test_each_kind_of_vocabulary_is_trained_and_used(folder, tfpt, kind, size, name):
    texts, out = folder / "texts.txt", folder / kind
    said = tfpt("vocabulary", texts, "--kind", kind, "--size", size, "--out", out)
    assert said.endswith(f"{out / name}: {size} entries\n")
    for vocabulary in (out, out / name):
        store = folder / f"{kind}-{vocabulary.name}-store"
        assert "8 documents" in tfpt("store", texts, "--vocabulary", vocabulary, "--out", store)
        assert (store / name).read_bytes() == (out / name).read_bytes()


def test_of_a_long_text_a_sample_is_taken_by_the_seed(folder, tfpt):
    lines = (f"the cat w{number % 50} {number} sat on the mat\n\n" for number in range(2_000))
    (folder / "long.txt").write_text("".join(lines), encoding="utf-8")

    def trained(*options):
        tfpt("vocabulary", folder / "long.txt", "--size", 60, "--out", folder / "v.txt", *options)
        content = (folder / "v.txt").read_text(encoding="utf-8")
        for name in ("v.txt", "v.settings.json"):
            (folder / name).unlink()
        return content

    part = ("--max-megabytes", 0.02)
    assert trained(*part) == trained(*part, "--seed", 0)
    assert len({trained(), trained(*part), trained(*part, "--seed", 1)}) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "bpe", "--out", "v.txt"), "v.txt: a vocabulary of this kind is a file ending"),
        (("--kind", "unigram", "--out", "v.json"), "is a file ending in .model, or a folder"),
        (("--max-megabytes", 0, "--out", "v.txt"), "more than 0; received 0.0"),
        (("--kind", "unigram", "--size", 9_000, "--out", "v"), "entries; --size 9,000"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_one_sentence(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    words = [str(argument) for argument in ("vocabulary", "texts.txt", *arguments)]
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, message in result.stderr) == (1, True), result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["texts.txt"]


def test_an_option_without_effect_is_warned_about(folder):
    arguments = ["vocabulary", str(folder / "texts.txt"), "--out", str(folder / "v.model")]
    options = ["--kind", "unigram", "--size", "25", "--min-frequency", "3"]
    result = CliRunner().invoke(main, [*arguments, *options])
    assert result.exit_code == 0, result.output
    assert "Warning: --min-frequency has no effect on a unigram vocabulary." in result.stderr
