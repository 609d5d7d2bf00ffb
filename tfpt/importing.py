"""Checkpoints of others as run folders, to fine-tune, to go on with, to export."""

import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import keras

from tfpt import checkpoints, model_state, state_files, weights
from tfpt.config import from_dict, to_dict

RECORD = "imported.json"


class Imported(NamedTuple):
    """A run folder made of a checkpoint of others."""

    run: checkpoints.Run
    drawn: list[str]  # paths of the weights that the checkpoint does not have: first, random ones


def import_run(
    recipe: ModuleType, checkpoint: weights.Checkpoint, out: str | os.PathLike[str]
) -> Imported:
    """Make a run folder of a checkpoint, as if its model had been trained by a recipe.

    Args:
        recipe: The recipe that rebuilds the model: that of the name `checkpoint.recipe`.
        checkpoint: From `weights.read`.
        out: The folder, new.

    Raises:
        FileExistsError: The folder is there.
        ValueError: A tensor has another shape than the configuration says.
    """
    path = Path(out)
    if path.exists():
        raise FileExistsError(f"{path} exists. Nothing is overwritten: name another folder.")
    default = recipe.config()
    length = min(default.data.sequence_length, checkpoint.size.max_sequence_length)
    data = {"sequence_length": length}
    # Of questions: shares of a row that stay what they are in a shorter one.
    for name in ("stride", "question_length"):
        if hasattr(default.data, name):
            data[name] = getattr(default.data, name) * length // default.data.sequence_length
    taken: dict[str, Any] = {"model": to_dict(checkpoint.size), "data": data}
    if checkpoint.recipe == "bert" and "next_sentence" not in checkpoint.groups:
        # A head that would be random, and for which most families have no place.
        taken["drawing"] = {"pairing": "single"}
    settings = from_dict(default, taken)
    labels = [checkpoint.label_names] if checkpoint.label_names else []
    keras.utils.set_random_seed(settings.seed)
    model = recipe.model(settings, checkpoint.tokenizer, *labels)
    drawn = checkpoint.assign(model)  # raises before there is a folder
    run = checkpoints.Run(
        path,
        tokenizer=checkpoint.tokenizer,
        recipe=recipe.__name__,
        settings=settings,
        label_names=checkpoint.label_names,
    )
    try:
        state = {"model": model_state.weights(model)}
        state_files.write(state_files.snapshot(state), path / "best", 0, num_kept=1)
        origin = {"from": str(checkpoint.path), "family": checkpoint.family, "drawn": drawn}
        run.write_record(RECORD, origin)
    except BaseException:
        shutil.rmtree(path)
        raise
    return Imported(run, drawn)
