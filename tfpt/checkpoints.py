"""The run folder: everything needed to go on with a run, to fine-tune from it, to export it.

config.json         the recipe's module and its configuration
vocab.txt           the vocabulary, with vocab.settings.json; or tokenizer.json; or tokenizer.model
labels.json         the label names, where the run has classes
checkpoints/        weights, optimizer and random states of the last epochs, by step
best/               the weights of the best epoch by validation
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
from tfpt.pipelines import TextTokenizer, load_tokenizer

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
        FileExistsError: The folder holds something that is no run, or is a file.
        ValueError: It holds a run with another configuration, vocabulary or labels.
        OSError: The folder cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        tokenizer: TextTokenizer,
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
        elif self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir())):
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
                write_text(partial / "labels.json", _json(list(self.label_names)))
            description = {"tfpt": __version__, "recipe": self.recipe, "config": self.settings}
            write_text(partial / "config.json", _json(description))
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
        """Bring a compiled model to the newest checkpoint, to go on with the run.

        Returns:
            The steps done, 0 where there is no checkpoint yet.

        Raises:
            ValueError: The checkpoint is damaged, or does not fit the model, which is as it was.
        """
        for folder in ("checkpoints", "best"):
            _sweep(self.path / folder)
        path = self.checkpoint_path()
        if path is None:
            return 0
        _restore(_training_state(model), path)
        return int(model.optimizer.iterations.numpy())

    def save(self, model: keras.Model) -> None:
        """Write a checkpoint of a compiled model, under the number of its step.

        Raises:
            OSError: It could not be written, as on a full disk; the ones before are as they were.
        """
        _save(_training_state(model), self.path / "checkpoints", _step(model), num_kept=_KEPT)

    def save_best(self, model: keras.Model) -> None:
        """Write the weights of what is the best epoch so far; raises as `save` does."""
        _save({"model": weights(model)}, self.path / "best", _step(model), num_kept=1)

    def weights_path(self) -> str:
        """The weights of the best epoch, or of the newest where none was kept.

        Raises:
            FileNotFoundError: The run has no checkpoint yet.
        """
        path = self.best_path() or self.checkpoint_path()
        if path is None:
            raise FileNotFoundError(
                f"{self.path} holds no checkpoint yet: its training ended before the first was "
                "written. Go on with it by the command that began it."
            )
        return path

    def restore_best(self, model: keras.Model) -> None:
        """Bring a model to the weights of the best epoch, or of the newest where none was kept.

        Raises:
            FileNotFoundError: The run has no checkpoint yet.
            ValueError: The checkpoint is damaged, or does not fit the model, which is as it was.
        """
        _restore({"model": weights(model)}, self.weights_path())

    def read_record(self, name: str) -> dict[str, Any]:
        """A JSON file of the run; empty where there is none."""
        path = self.path / name
        return _read_json(path) if path.exists() else {}

    def write_record(self, name: str, record: dict[str, Any]) -> None:
        """Write a JSON file of the run, as a whole or not at all."""
        write_text(self.path / name, _json(record))


def open_run(path: str | Path) -> Run:
    """Open a run folder as it is.

    Raises:
        FileNotFoundError: There is no run at `path`.
        ValueError: Its description is damaged.
    """
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"There is no folder {folder}; a run folder is needed.")
    if not (folder / "config.json").exists():
        raise FileNotFoundError(
            f"{folder} is no run folder: it holds no config.json. `tfpt pretrain` and `tfpt "
            "finetune` write one."
        )
    description = _read_json(folder / "config.json")
    fields = (("recipe", str), ("config", dict))
    if not isinstance(description, dict) or not all(
        isinstance(description.get(name), kind) for name, kind in fields
    ):
        raise ValueError(f"{folder / 'config.json'} is damaged: no recipe or no config in it.")
    labels = folder / "labels.json"
    run = object.__new__(Run)
    run.path, run.tokenizer = folder, load_tokenizer(folder)
    run.recipe, run.settings = description["recipe"], description["config"]
    run.label_names = tuple(_read_json(labels)) if labels.exists() else ()
    return run


def steps_done(path: str | Path) -> int:
    """The step of the newest checkpoint in a run folder; 0 where there is none, or no folder."""
    newest = tf.train.latest_checkpoint(str(Path(path) / "checkpoints"))
    return int(newest.rpartition("-")[2]) if newest else 0


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
    """The weights of a model by their path, such as `layer_0/intermediate/kernel`."""
    named = {weight.path: weight.value for weight in model.weights}
    if len(named) < len(model.weights):
        raise ValueError("Two weights of the model share a path; give its layers different names.")
    return named


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    partial = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):  # a full disk does not tell which file it was
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def reason_of(error: Exception) -> str:
    """`File too large` of `{{node SaveV2}} /runs/bert/part-0; File too large [Op:SaveV2]`."""
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return message.rpartition("}} ")[2].rpartition("; ")[2].partition(" [Op:")[0]


def _training_state(model: keras.Model) -> dict[str, Any]:
    """Everything that the next step depends on, besides the batch."""
    named = weights(model)
    # The names of seed generators and optimizers count up over a process; their order does not.
    # `variables` are the weights and the states of the seed generators.
    seeds = [variable.value for variable in model.variables if variable.path not in named]
    optimizer = [variable.value for variable in model.optimizer.variables]
    return {
        "model": named,
        "seeds": {str(number): value for number, value in enumerate(seeds)},
        "optimizer": {str(number): value for number, value in enumerate(optimizer)},
    }


def _step(model: keras.Model) -> int:
    return int(model.optimizer.iterations.numpy())


def _save(state: dict[str, dict[str, Any]], folder: Path, step: int, *, num_kept: int) -> None:
    try:
        manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(**state), str(folder), max_to_keep=num_kept
        )
        manager.save(checkpoint_number=step)
    except BaseException as error:
        _sweep(folder)
        if isinstance(error, tf.errors.OpError):
            raise OSError(
                f"No checkpoint could be written to {folder}: {reason_of(error)}"
            ) from error
        raise


def _sweep(folder: Path) -> None:
    """Remove what a save that was cut off left behind."""
    for path in folder.glob("ckpt-*_temp"):
        shutil.rmtree(path, ignore_errors=True)
    partial = list(folder.glob("checkpoint.tmp*"))
    listed = tf.train.get_checkpoint_state(str(folder))
    # Without a list, as in a folder that someone put together, nothing tells what is whole.
    if listed is not None:
        whole = {Path(path).name for path in listed.all_model_checkpoint_paths}
        partial += [path for path in folder.glob("ckpt-*.*") if path.stem not in whole]
    for path in partial:
        path.unlink(missing_ok=True)


def _restore(state: dict[str, dict[str, Any]], path: str) -> None:
    """Read a checkpoint into variables, none of them where one does not fit."""
    try:
        there = tf.train.load_checkpoint(path).get_variable_to_shape_map()
        wrong = []
        for group, variables in state.items():
            for name, variable in variables.items():
                shape = there.get(f"{group}/{_escaped(name)}/.ATTRIBUTES/VARIABLE_VALUE")
                if shape is None:
                    wrong.append(f"{group} {name} is not in it")
                elif shape != variable.shape.as_list():
                    wrong.append(f"{group} {name} is {shape} in it, {variable.shape} in the model")
        if not wrong:
            checkpoint = tf.train.Checkpoint(**state)
            checkpoint.read(path).assert_existing_objects_matched().expect_partial()
    # The reader of checkpoints has Python's errors for some of TensorFlow's.
    except (tf.errors.OpError, IndexError, RuntimeError) as error:
        raise ValueError(f"The checkpoint {path} is damaged: {reason_of(error)}") from error
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"The checkpoint {path} does not fit the model: {'; '.join(wrong[:3])}{more}. Build "
            "the model with the configuration of its run."
        )


def _escaped(name: str) -> str:
    """The name as TensorFlow writes it into a checkpoint."""
    return name.replace(".", "..").replace("/", ".S")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path} is damaged: {error}.") from error


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
