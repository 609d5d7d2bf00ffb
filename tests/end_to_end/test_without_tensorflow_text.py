"""Preparation, both trainings and the export where tensorflow-text is not installed."""

import json
import subprocess
import sys

import pytest

COMMANDS = """
import json, sys, warnings
sys.modules["tensorflow_text"] = None  # before anything imports it
from tfpt.cli import main

for command in json.loads(sys.argv[1]):
    main(command, standalone_mode=False)
"""
MODEL = ("num_layers=1", "hidden_dim=16", "num_heads=1", "intermediate_dim=32")
TRAINING = ("batch_size=4", "total_steps=4", "warmup_steps=1", "steps_per_epoch=2")
TEXTS = "The low tide is wider.\nA new tide.\n\nThe lowest river is new.\nIt is low.\n\n" * 8


def sets(prefix, numbers):
    return [word for number in numbers for word in ("--set", f"{prefix}.{number}")]


@pytest.mark.slow
def test_the_whole_path_goes_without_tensorflow_text(tmp_path):
    texts, vocabulary, rows = (tmp_path / name for name in ("a.txt", "vocab.txt", "reviews"))
    texts.write_text(TEXTS)
    rows.mkdir()
    for split in ("train", "validation"):
        (rows / f"{split}.csv").write_text("text,label\nnew tide,a\nlow river,b\n" * 4)
    stores, runs = (
        [tmp_path / "with", tmp_path / "without"],
        [tmp_path / "bert", tmp_path / "class"],
    )
    write = ["store", texts, "--vocabulary", vocabulary, "--out"]
    subprocess.run(
        [sys.executable, "-m", "tfpt", "vocabulary", texts, "--size", "40", "--out", vocabulary],
        check=True,
    )
    subprocess.run([sys.executable, "-m", "tfpt", *write, stores[0]], check=True)
    bert = sets("data", [f"store={stores[1]}", "sequence_length=16"])
    bert += [*sets("model", MODEL), *sets("training", TRAINING)]
    labelled = sets("data", [f"name={rows}"])
    labelled += sets("training", ["batch_size=4", "epochs=1"])
    commands = [
        [*write, stores[1]],
        ["pretrain", "bert", "--out", runs[0], *bert],
        ["finetune", "classify", "--from", runs[0], "--out", runs[1], *labelled],
        ["export", runs[1], "--out", tmp_path / "model"],
    ]
    told = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands, default=str)],
        check=True,
        capture_output=True,
        text=True,
    )
    for name in ("token_ids.bin", "sentence_offsets.bin", "document_offsets.bin"):
        assert (stores[0] / name).read_bytes() == (stores[1] / name).read_bytes()
    assert "tensorflow-text is not installed" in told.stderr
    assert "the signature `tokens` alone" in told.stderr
    assert (tmp_path / "model" / "1" / "saved_model.pb").exists()
