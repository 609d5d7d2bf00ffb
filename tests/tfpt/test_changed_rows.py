"""A fine-tuning whose data change between two commands."""

import json

import pytest
import tiny_bert

from tfpt import config, preparation, training
from tfpt.callbacks import history
from tfpt.recipes import classify, embed

WORDS = tiny_bert.TOKENIZER.vocabulary[5:]


def settings(recipe, folder, **changes):
    size = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    numbers = {f"model.{name}": value for name, value in size.items()}
    numbers |= {"model.max_sequence_length": 16, "data.sequence_length": 8}
    numbers |= {"data.name": folder, "data.vocabulary": folder / "vocab.txt"}
    numbers |= {"data.label": "label", "training.batch_size": 8, "training.epochs": 2}
    numbers |= changes
    return config.override(recipe.config(), [f"{name}={value}" for name, value in numbers.items()])


@pytest.fixture
def folder(tmp_path):
    """Rows of two splits, `WORD,LABEL`."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for split in ("train", "dev", "test"):
        lines = ["text,label", *(f"{WORDS[number]},{number % 2}" for number in range(16))]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    tiny_bert.TOKENIZER.save(folder / "vocab.txt")
    return folder


def append(path, line):
    path.write_text(f"{path.read_text()}{line}\n")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_run_is_not_gone_on_with_on_other_rows(folder, tmp_path, split):
    given = classify, settings(classify, folder), tmp_path / "run"
    training.finetune(*given, verbose=0)
    kept = (folder / f"{split}.csv").read_text()
    for line in (f"{WORDS[20]},1", f"{WORDS[0]},1"):
        append(folder / f"{split}.csv", line)
        name = {"train": "train", "dev": "validation"}[split]
        message = rf"run was trained on other rows: those of {name} have changed since it was begun"
        with pytest.raises(ValueError, match=message):
            training.finetune(*given, verbose=0)
        (folder / f"{split}.csv").write_text(kept)
    append(folder / "test.csv", f"{WORDS[20]},1")  # which nothing was trained on
    assert len(history(training.finetune(*given, verbose=0))) == 2


def test_a_run_of_before_that_has_no_digest_gets_one(folder, tmp_path):
    given = embed, settings(embed, folder), tmp_path / "run"
    training.finetune(*given, verbose=0)
    kept = json.loads((tmp_path / "run" / "data.json").read_text())
    assert kept.keys() == {"train", "validation"}
    (tmp_path / "run" / "data.json").unlink()
    training.finetune(*given, verbose=0)
    assert json.loads((tmp_path / "run" / "data.json").read_text()) == kept


def test_data_of_a_user_need_no_digest(tmp_path):
    preparation.check_same_rows(None, object())
