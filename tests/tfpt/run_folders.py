"""Run folders of the tiny BERT, and what is in them, for tests of what is saved there."""

from dataclasses import dataclass

import tiny_bert

from tfpt.checkpoints import Run

LABELS = ("bad", "good")


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    model: Inner = Inner()
    rate: float = 0.5


def a_run(path, **changes):
    settings = {"recipe": "a.recipe", "settings": Settings(), "label_names": LABELS}
    return Run(path, **{"tokenizer": tiny_bert.TOKENIZER, **settings, **changes})


def contents(folder):
    """Every file below a folder, with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def at_step(model, step):
    getattr(model, "steps", model.optimizer.iterations).assign(step)
    return model
