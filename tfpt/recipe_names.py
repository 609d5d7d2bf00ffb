"""Recipes by the name that imports them. Imports no TensorFlow."""

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from tfpt import config

# The commands, and for which kinds of recipes they are.
VERBS = {
    "pretrain": {"pretrain"},
    "finetune": {"finetune"},
    "records": {"pretrain"},
    "show-batch": {"pretrain", "finetune"},
}


def find(name: str) -> ModuleType:
    """A recipe by the name of its module: one of tfpt.recipes, or any importable one."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(
            f"A recipe is named as a module is imported, such as bert or mine.bert; received "
            f"{name!r}."
        )
    if os.getcwd() not in sys.path:
        # Last, so that no file here comes before a module that tfpt itself imports.
        sys.path.append(os.getcwd())
    for module in (f"tfpt.recipes.{name}", name):
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise
            continue
        if hasattr(found, "config"):
            return found
    raise ValueError(
        f"There is no recipe {name!r}: neither tfpt.recipes.{name} nor an importable module {name} "
        "with a function `config`. tfpt brings answer, bert, classify, embed, label, score and tag."
    )


def settings_of(name: str, assignments: Sequence[str], verb: str) -> tuple[ModuleType, Any]:
    """A recipe for a verb, such as pretrain, and its configuration."""
    module = find_for(name, verb)
    return module, config.override(module.config(), assignments)


def find_for(name: str, verb: str) -> ModuleType:
    """A recipe for a verb, such as pretrain."""
    module = find(name)
    fitting = "finetune" if is_for_finetuning(module) else "pretrain"
    if fitting not in VERBS[verb]:
        raise ValueError(f"{name} is a recipe for `tfpt {fitting}`, not for `tfpt {verb}`.")
    return module


def is_for_finetuning(recipe: ModuleType) -> bool:
    """Whether its models are fine-tuned, which a report of it tells, and not pre-trained."""
    return hasattr(recipe, "report")


def of_run(path: str) -> ModuleType:
    """The recipe that a run folder names."""
    from tfpt import checkpoints

    name = checkpoints.open_run(path).recipe
    if not name:
        raise ValueError(
            f"{path} was begun in Python without a recipe that rebuilds its model: evaluate and "
            "export it in Python too (tfpt.evaluation, tfpt.export)."
        )
    return find(name)
