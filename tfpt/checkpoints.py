"""The run folder: everything needed to go on with a run, to fine-tune from it, to export it.

config.json         the recipe's module and its configuration
vocab.txt           the vocabulary, with vocab.settings.json
labels.json         the label names, where the run has classes
checkpoints/        weights, optimizer and random states of the last epochs, by step
best/               the weights of the best epoch by validation, and best.json
history.jsonl       what each epoch measured
logs/               TensorBoard
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfpt import __version__, config
from tfpt.pipelines import Tokenizer, load_tokenizer

_KEPT = 2


class Run:
    """A run folder, made new or opened to go on with.

    Args:
        path: The folder.
        tokenizer: Saved inside; a run that goes on must have the same.
        recipe: The name of the module whose `model` rebuilds the model.
        settings: The recipe's configuration, a frozen dataclass; the same for a run that goes on.
        label_names: The classes, in the order of their ids.

    Raises:
        FileExistsError: The folder holds something that is no run.
        ValueError: It holds a run with another configuration, vocabulary or labels.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        tokenizer: Tokenizer,
        recipe: str = "",
        settings: Any = None,
        label_names: Sequence[str] = (),
    ):
        self.path = Path(path)
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.settings = config.to_dict(settings) if settings is not None else {}
        self.label_names = tuple(label_names)
        if (self.path / "config.json").exists():
            self._check_same(open_run(self.path))
        elif self.path.exists() and any(self.path.iterdir()):
            raise FileExistsError(
                f"{self.path} exists and holds no run (no config.json). Nothing is overwritten: "
                "name another folder, or remove it."
            )
        else:
            self._create()

    def _create(self) -> None:
        """Write the description beside and rename it, so that a folder is a whole run or none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f"{self.path.name}.tmp-{os.getpid()}")
        try:
            partial.mkdir()
            self.tokenizer.save(partial)
            if self.label_names:
                _write_json(partial / "labels.json", list(self.label_names))
            description = {"tfpt": __version__, "recipe": self.recipe, "config": self.settings}
            _write_json(partial / "config.json", description)
            if self.path.exists():
                self.path.rmdir()
            partial.rename(self.path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _check_same(self, there: "Run") -> None:
        fields = config.changed_fields(there.settings, self.settings)
        reasons = [
            f"{name} was {before!r} and is now {after!r}"
            for name, (before, after) in fields.items()
        ]
        if there.recipe != self.recipe:
            reasons.append(f"the recipe was {there.recipe!r} and is now {self.recipe!r}")
        if there.tokenizer.sha256 != self.tokenizer.sha256:
            reasons.append("the vocabulary is another")
        if there.label_names != self.label_names:
            reasons.append(f"the labels were {there.label_names} and are now {self.label_names}")
        if reasons:
            raise ValueError(
                f"{self.path} holds a run that cannot be gone on with: {'; '.join(reasons)}. Name "
                "another folder, or repeat the settings of that run to go on with it."
            )

    def checkpoint_path(self) -> str | None:
        """The newest checkpoint, or None."""
        return tf.train.latest_checkpoint(str(self.path / "checkpoints"))

    def best_path(self) -> str | None:
        """The weights of the best epoch, or None."""
        return tf.train.latest_checkpoint(str(self.path / "best"))

    def restore(self, model: keras.Model) -> int:
        """Bring a compiled model to the newest checkpoint; returns the steps done, 0 for none."""
        path = self.checkpoint_path()
        if path is None:
            return 0
        _restore(tf.train.Checkpoint(**_training_state(model)), path)
        return int(model.optimizer.iterations.numpy())

    def save(self, model: keras.Model) -> None:
        """Write a checkpoint of a compiled model, under the number of its step."""
        manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(**_training_state(model)),
            str(self.path / "checkpoints"),
            max_to_keep=_KEPT,
        )
        manager.save(checkpoint_number=int(model.optimizer.iterations.numpy()))

    def save_best(self, model: keras.Model) -> None:
        """Write the weights of what is the best epoch so far."""
        manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(model=weights(model)), str(self.path / "best"), max_to_keep=1
        )
        manager.save(checkpoint_number=int(model.optimizer.iterations.numpy()))

    def restore_best(self, model: keras.Model) -> None:
        """Bring a model to the weights of the best epoch, or of the newest where none was kept.

        Raises:
            FileNotFoundError: The run has no checkpoint yet.
            ValueError: The checkpoint does not fit the model.
        """
        path = self.best_path() or self.checkpoint_path()
        if path is None:
            raise FileNotFoundError(
                f"{self.path} holds no checkpoint yet: its training ended before the first was "
                "written. Go on with it by the command that began it."
            )
        _restore(tf.train.Checkpoint(model=weights(model)), path)

    def read_record(self, name: str) -> dict[str, Any]:
        """A JSON file of the run; empty where there is none."""
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def write_record(self, name: str, record: dict[str, Any]) -> None:
        """Write a JSON file of the run, atomically."""
        partial = self.path / f".{name}.tmp-{os.getpid()}"
        _write_json(partial, record)
        partial.replace(self.path / name)


def open_run(path: str | Path) -> Run:
    """Open a run folder as it is.

    Raises:
        FileNotFoundError: There is no run at `path`.
        ValueError: Its description is damaged.
    """
    folder = Path(path)
    if not (folder / "config.json").exists():
        raise FileNotFoundError(
            f"{folder} is no run folder: it holds no config.json. `tfpt pretrain` and `tfpt "
            "finetune` write one."
        )
    try:
        description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        labels = folder / "labels.json"
        label_names = json.loads(labels.read_text(encoding="utf-8")) if labels.exists() else []
        recipe, settings = description["recipe"], description["config"]
    except (json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{folder / 'config.json'} is damaged ({error}).") from error
    run = object.__new__(Run)
    run.path, run.tokenizer = folder, load_tokenizer(folder)
    run.recipe, run.settings, run.label_names = recipe, settings, tuple(label_names)
    return run


def load(path: str | Path, *, build: Callable[[Run], keras.Model]) -> keras.Model:
    """The model of a run with its best weights.

    Args:
        path: The run folder.
        build: Gives the model for an opened run; usually the recipe's `model`.

    Raises:
        FileNotFoundError: There is no run, or it has no checkpoint.
        ValueError: The weights do not fit the model that `build` gave.
    """
    run = open_run(path)
    model = build(run)
    run.restore_best(model)
    return model


def weights(model: keras.Model) -> dict[str, tf.Variable]:
    """The trainable weights of a model by their path, such as `layer_0/intermediate/kernel`."""
    named = {weight.path: weight.value for weight in model.weights if "seed" not in weight.path}
    if len(named) < sum("seed" not in weight.path for weight in model.weights):
        raise ValueError("Two weights of the model share a path; give its layers different names.")
    return named


def _training_state(model: keras.Model) -> dict[str, Any]:
    """Everything that the next step depends on, besides the batch."""
    # The names of seed generators and optimizers count up over a process; their order does not.
    seeds = [weight.value for weight in model.weights if "seed" in weight.path]
    optimizer = [variable.value for variable in model.optimizer.variables]
    return {
        "model": weights(model),
        "seeds": {str(number): value for number, value in enumerate(seeds)},
        "optimizer": {str(number): value for number, value in enumerate(optimizer)},
    }


def _restore(checkpoint: tf.train.Checkpoint, path: str) -> None:
    try:
        status = checkpoint.read(path)
        status.assert_existing_objects_matched()
        status.expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"The checkpoint {path} does not fit the model: {str(error).splitlines()[0]}"
        ) from error


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
