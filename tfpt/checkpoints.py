"""The run folder: everything needed to go on with a run, to fine-tune from it, to export it.

config.json         the recipe's module and its configuration
vocab.txt           the vocabulary, with vocab.settings.json; or tokenizer.json; or tokenizer.model
labels.json         the label names, where the run has classes
checkpoints/        all that the next step depends on, by the number of batches taken
best/               the weights of the best epoch by validation
history.jsonl       what each epoch measured
logs/               TensorBoard
frozen.json         of an adapted encoder (`peft`): the run that has the other weights
data.json           of a fine-tuning: a digest of its rows
plan.json           how many steps it takes, and whether they are done
"""

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfpt import __version__, config, console, model_state, peft, plans, state_files, workers
from tfpt.pipelines import TextTokenizer, load_tokenizer
from tfpt.record_files import read_json, to_json, write_json, write_text

_FROZEN = "frozen.json"

# Fields that may change when a run is gone on with, and why all but rounding and dropout stays.
FREE_TO_CHANGE = {
    "training.strategy": "a step is the same on any number of devices",
    "training.step.accumulation_steps": "a step is the same in any number of parts",
    "training.step.cpu_shards": "a step is the same in any number of parts",
    "training.step.jit_compile": "a compiled step computes the same",
    "training.rematerialize": "what is computed again is what was not kept",
    "training.num_kept": "no step depends on it",
    "training.log_steps": "no step depends on it",
    "training.profile_steps": "no step depends on it",
    "training.peak_teraflops": "no step depends on it",
}


class Run:
    """A run folder, made new or opened to go on with.

    Args:
        path: The folder.
        tokenizer: Saved inside; a run that goes on must have the same.
        recipe: The name of the module whose `model` rebuilds the model.
        settings: The recipe's configuration, a frozen dataclass; the same for a run that goes on.
        label_names: The classes, in the order of their ids.
        num_kept: Newest checkpoints that are kept.

    Raises:
        FileExistsError: The folder holds something that is no run, or is a file.
        ValueError: It holds a run with another configuration, vocabulary or labels.
        OSError: The folder cannot be written.
    """

    _frozen: dict[str, Any] | None = None

    def __init__(
        self,
        path: str | Path,
        *,
        tokenizer: TextTokenizer,
        recipe: str = "",
        settings: Any = None,
        label_names: Sequence[str] = (),
        num_kept: int = 2,
    ):
        self.path = Path(path)
        self.num_kept = num_kept
        self._writer = state_files.Writer()
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
        partial = self.path.with_name(f"{self.path.name}.tmp-{uuid.uuid4().hex}")
        try:
            partial.mkdir()
            self.tokenizer.save(partial)
            if self.label_names:
                write_text(partial / "labels.json", to_json(list(self.label_names)))
            write_text(partial / "config.json", self._description())
            partial.rename(self.path)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if not isinstance(error, OSError) or not (self.path / "config.json").exists():
                raise
            # Another worker of the same training was first.
            self._check_same(open_run(self.path))

    def _description(self) -> str:
        description = {
            "tfpt": __version__,
            "recipe": self.recipe,
            "num_labels": len(self.label_names),
            "config": self.settings,
        }
        return to_json(description)

    def _check_same(self, there: "Run") -> None:
        fields = config.changed_fields(there.settings, self.settings)
        changes = {
            name: f"{name} was {before!r} and is now {after!r}"
            for name, (before, after) in fields.items()
        }
        reasons = [change for name, change in changes.items() if name not in FREE_TO_CHANGE]
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
        if changes:
            console.err.print(f"{self.path}: {'; '.join(changes.values())}", markup=False)
            write_text(self.path / "config.json", self._description())

    def checkpoint_path(self) -> Path | None:
        """The folder of the newest checkpoint that is whole, or None; warns of damaged ones.

        Raises:
            ValueError: All are damaged, or of a version of tfpt before its release.
        """
        return self._newest("checkpoints")[0]

    def best_path(self) -> Path | None:
        """The folder of the weights of the best epoch, or None; raises as `checkpoint_path`."""
        return self._newest("best")[0]

    def _newest(self, kind: str) -> tuple[Path | None, list[Path]]:
        """The checkpoint to take, and the damaged ones after it."""
        self.wait()
        path, damaged = state_files.newest_whole(self.path / kind)
        if path is None and (self.path / kind / "checkpoint").exists():
            raise ValueError(
                f"{self.path / kind} was written by a version of tfpt before its release and is "
                "not read any more. Train anew, in another folder."
            )
        state_files.tell_damage(damaged, path)
        return path, list(damaged)

    def restore(self, model: keras.Model) -> int:
        """Bring a compiled model to the newest checkpoint that is whole, to go on with the run.

        A damaged one is told of by a warning and renamed, to `step-00001000.damaged`.

        Returns:
            The steps done, 0 where there is no checkpoint yet.

        Raises:
            ValueError: All checkpoints are damaged, or the one taken does not fit the model, which
                is as it was; or the workers of the training do not find the same.
        """
        self.wait()
        strategy = model.distribute_strategy
        if workers.is_chief(strategy):
            for kind in ("checkpoints", "best"):
                state_files.sweep(self.path / kind)
        path, damaged = self._newest("checkpoints")
        if path is not None:
            state_files.read(path, model_state.of_training(model, self._kept(model)), exact=True)
        step = model_state.step_of(model) if path is not None else 0
        workers.check_same_step(strategy, step)
        if workers.is_chief(strategy):  # after the others have looked at them
            for one in damaged:
                state_files.set_aside(one)
            if step:  # best weights that come later are of epochs that are gone through again
                state_files.remove_after(self.path / "best", step)
        return step

    def save(self, model: keras.Model) -> None:
        """Begin a checkpoint of a compiled model as it is now, under the number of its step.

        It is written beside the training; `wait` tells when. Of several workers the chief writes.

        Raises:
            OSError: One before could not be written, as on a full disk.
        """
        state = model_state.of_training(model, self._kept(model))
        self._begin(model, "checkpoints", state, self.num_kept)

    def save_best(self, model: keras.Model) -> None:
        """Begin to write the weights of what is the best epoch so far, as `save` does.

        Where the model keeps moving averages of its weights, these are written. Those before are
        kept too, for a run that goes on from before this epoch.
        """
        weights = {**self._kept(model), **model_state.averages(model)}
        self._begin(model, "best", {"model": weights}, 2)

    def _begin(
        self, model: keras.Model, kind: str, state: state_files.State, num_kept: int
    ) -> None:
        if workers.is_chief(model.distribute_strategy):
            step = model_state.step_of(model)
            self._writer.start(self.path / kind, state, step, num_kept=num_kept)

    def wait(self) -> None:
        """Wait until all that was begun is written.

        Raises:
            OSError: Something could not be written; what was there before is as it was.
        """
        self._writer.wait()

    def weights_path(self) -> str:
        """The weights of the best epoch, or of the newest where none was kept.

        Returns:
            What `tf.train.load_checkpoint` takes.

        Raises:
            FileNotFoundError: The run has no checkpoint yet.
            ValueError: All are damaged, or they have only what was trained beside another run's.
        """
        if frozen := self._beside():
            raise ValueError(
                f"{self.path} holds only what was trained beside the weights of {frozen['run']}. "
                "Begin with that run, or `tfpt convert` this one and `tfpt import` the result."
            )
        return str(self._weights_folder() / state_files.PREFIX)

    def _weights_folder(self) -> Path:
        path = self.best_path() or self.checkpoint_path()
        if path is None:
            raise FileNotFoundError(
                f"{self.path} holds no checkpoint yet: its training ended before the first was "
                "written. Go on with it by the command that began it."
            )
        plans.warn_if_stopped(self.path, steps_done)
        return path

    def leave_out_frozen(self, source: "Run", model: keras.Model) -> None:
        """Keep, of a model with an adapted encoder, only what is not a weight of `source`.

        Raises:
            ValueError: The run was begun beside other weights.
        """
        there = source.path.absolute()
        frozen: dict[str, Any] = {
            "run": str(there),
            "from_here": os.path.relpath(there, self.path.absolute()),  # if both are moved
            "sha256": peft.fingerprint(model),
            "adaptation": config.to_dict(peft.adaptation_of(model)),
        }
        before = self._beside()
        peft.check_fingerprint(model, before or frozen, of=self.path)
        if not before and workers.is_chief(model.distribute_strategy):
            self.write_record(_FROZEN, frozen)
        self._frozen = before or frozen

    def restore_best(self, model: keras.Model) -> None:
        """Bring a model to the weights of the best epoch, or of the newest where none was kept.

        Of a training with moving averages of the weights, these are taken. Where an encoder was
        adapted, the model's is adapted too, and its other weights are those of the run it began
        with.

        Raises:
            FileNotFoundError: The run has no checkpoint yet, or the one it began with is gone.
            ValueError: All are damaged, or the one taken does not fit the model, which is as it
                was; or the run it began with has other weights now.
        """
        path = self._weights_folder()
        if frozen := self._beside():
            here = self.path / frozen["from_here"]
            there = frozen["run"] if Path(frozen["run"]).exists() or not here.exists() else here
            open_run(there).restore_best(model.encoder)
            chosen = config.from_dict(config.Adaptation(), frozen["adaptation"])
            peft.adapt(model.encoder, chosen)
            peft.check_fingerprint(model, frozen, of=self.path)
        there = state_files.names(path)
        groups: state_files.State = {"averages": {}, "model": {}}
        for name, variable in self._kept(model).items():
            group = "averages" if f"averages/{name}" in there else "model"
            groups[group][name] = variable
        state_files.read(path, groups, exact=False)

    def _beside(self) -> dict[str, Any]:
        """The run that has what this one leaves out; empty where it leaves nothing out."""
        return self._frozen or self.read_record(_FROZEN)

    def _kept(self, model: keras.Model) -> dict[str, tf.Variable]:
        """The weights that the run's checkpoints have."""
        named = model_state.weights(model)
        if self._beside():
            return {weight.path: named[weight.path] for weight in peft.kept_weights(model)}
        return named

    def read_record(self, name: str) -> dict[str, Any]:
        """A JSON file of the run; empty where there is none."""
        path = self.path / name
        return read_json(path) if path.exists() else {}

    def write_record(self, name: str, record: dict[str, Any]) -> None:
        """Write a JSON file of the run, as a whole or not at all."""
        write_json(self.path / name, record)


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
            f"{folder} is no run folder: it holds no config.json. {_advice(folder)}"
        )
    description = read_json(folder / "config.json")
    fields = (("recipe", str), ("config", dict))
    if not isinstance(description, dict) or not all(
        isinstance(description.get(name), kind) for name, kind in fields
    ):
        raise ValueError(f"{folder / 'config.json'} is damaged: no recipe or no config in it.")
    labels = folder / "labels.json"
    run = object.__new__(Run)
    run.path, run.tokenizer = folder, load_tokenizer(folder)
    run.recipe, run.settings = description["recipe"], description["config"]
    run.label_names = tuple(read_json(labels)) if labels.exists() else ()
    wanted = description.get("num_labels", len(run.label_names))
    if len(run.label_names) != wanted:
        raise ValueError(
            f"{labels} is {'damaged' if run.label_names else 'missing'}: the run has {wanted} "
            "labels. Bring it back from a copy of the folder, or train anew."
        )
    run.num_kept, run._writer = 2, state_files.Writer()
    return run


def _advice(folder: Path) -> str:
    """Which runs there are in a folder that is none."""
    runs = sorted(one.parent for one in folder.glob("*/config.json"))
    best = folder / "best-run"
    if best in runs:
        return f"The best run of this sweep is {best}."
    if runs:
        others = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        return f"The runs in it are {runs[0]}{others}: name one of them."
    return "`tfpt pretrain` and `tfpt finetune` write one."


def steps_done(path: str | Path) -> int:
    """The step that a run would go on from; 0 where there is no whole checkpoint, or no folder."""
    newest, _ = state_files.newest_whole(Path(path) / "checkpoints")
    return int(newest.name.removeprefix("step-")) if newest else 0


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
