"""Checkpoints as folders: each written as a whole or not at all, and checked before it is read.

step-00001000/
    state.index, state.data-00000-of-00001    variables, as `tf.train.load_checkpoint` reads them
    checksums.json                            step, version, size and SHA-256 of each file

Names of variables in it are `GROUP/NAME`, such as `model/layer_0/intermediate/kernel`.
"""

import functools
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpt import __version__

PREFIX = "state"
_CHECKSUMS = "checksums.json"
_STEP = "step-"
_PARTIAL, _REPLACED, _DAMAGED = ".partial-", ".replaced", ".damaged"

State = dict[str, dict[str, tf.Variable]]  # variables by group and name


def snapshot(state: State) -> dict[str, tf.Tensor]:
    """The values as they are now, in the memory of the host, by `GROUP/NAME`.

    On a CPU nothing is copied: a value that was read shares the memory of its variable, and the
    variable's next change is made elsewhere. From another device it is copied. Of a variable that
    is mirrored over devices the first copy is taken, without exchange between them.
    """
    with tf.device("CPU:0"):
        return {
            f"{group}/{name}": tf.identity(_copies(variable)[0].read_value())
            for group, variables in state.items()
            for name, variable in variables.items()
        }


def write(values: dict[str, tf.Tensor], folder: Path, step: int, *, num_kept: int) -> None:
    """Write a checkpoint, then remove those of earlier steps but the newest, and of later ones.

    Killed at any moment, it leaves those that were there, or those and the new one, or what was
    to be kept. Its files have reached the disk before it has its name.

    Args:
        values: From `snapshot`.
        folder: Of the checkpoints; made where there is none.
        step: Its number.
        num_kept: Checkpoints that stay, this one among them.

    Raises:
        OSError: It cannot be written, as on a full disk; all that was there is as it was.
    """
    path = folder / f"{_STEP}{step:08}"
    partial = path.with_name(f"{path.name}{_PARTIAL}{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        with tf.device("CPU:0"):
            tf.raw_ops.SaveV2(
                prefix=str(partial / PREFIX),
                tensor_names=list(values),
                shape_and_slices=[""] * len(values),
                tensors=list(values.values()),
            )
        files = {file.name: _fingerprint(file) for file in sorted(partial.iterdir())}
        content = {"tfpt": __version__, "step": step, "files": files}
        (partial / _CHECKSUMS).write_text(_sealed(content), encoding="utf-8")
        for file in (*partial.iterdir(), partial):
            _sync(file)
        _rename(partial, path)
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(_message(error, values, folder)) from error
    earlier = [other for other in steps(folder) if other < step]
    for other in earlier[: max(0, len(earlier) + 1 - num_kept)]:
        _remove(folder / f"{_STEP}{other:08}")
    remove_after(folder, step)


def steps(folder: Path) -> list[int]:
    """The numbers of the checkpoints in a folder, whole or damaged, in order."""
    found = (path.name.removeprefix(_STEP) for path in folder.glob(f"{_STEP}*"))
    return sorted(int(number) for number in found if number.isdigit())


def newest_whole(folder: Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest checkpoint that is what was written, and what is wrong with those after it.

    Raises:
        ValueError: There are checkpoints, and all are damaged.
    """
    damaged: dict[Path, str] = {}
    for step in reversed(steps(folder)):
        path = folder / f"{_STEP}{step:08}"
        reason = damage(path)
        if not reason:
            return path, damaged
        damaged[path] = reason
    if damaged:
        listed = "; ".join(f"{path} ({reason})" for path, reason in damaged.items())
        raise ValueError(
            f"Every checkpoint is damaged: {listed}. Put a copy back in its place, or remove these "
            "folders to do without them."
        )
    return None, damaged


def damage(path: Path) -> str:
    """How a checkpoint differs from what was written; empty where it does not."""
    try:
        text = (path / _CHECKSUMS).read_text(encoding="utf-8")
        content = json.loads(text)
        del content["sha256"]
        if text != _sealed(content) or path.name != f"{_STEP}{content['step']:08}":
            return f"{_CHECKSUMS} was changed"
        for name, expected in content["files"].items():
            size = (path / name).stat().st_size
            if size != expected["bytes"]:
                return f"{name} has {size:,} bytes instead of {expected['bytes']:,}"
            if _fingerprint(path / name) != expected:
                return f"{name} was changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:  # a broken disk, or a folder in the place of a file
        return f"{error.filename} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{_CHECKSUMS} was changed"
    return ""


def tell_damage(damaged: dict[Path, str], taken: Path | None) -> None:
    """Warn of damaged checkpoints, and say which one is taken in their place."""
    for path, reason in damaged.items():
        warnings.warn(
            f"The checkpoint {path} is damaged: {reason}. {taken} is taken instead.", stacklevel=3
        )


def set_aside(path: Path) -> None:
    """Give a damaged checkpoint another name, so that its step can be saved again."""
    aside, number = path.with_name(path.name + _DAMAGED), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{_DAMAGED}-{number}")
    path.rename(aside)


def remove_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps."""
    for number in steps(folder):
        if number > step:
            _remove(folder / f"{_STEP}{number:08}")


def sweep(folder: Path) -> None:
    """Remove what a save that was cut off left behind; put back what it was about to replace."""
    for path in folder.glob(f"{_STEP}*{_REPLACED}"):
        place = path.with_name(path.name.removesuffix(_REPLACED))
        if place.exists():
            shutil.rmtree(path)
        else:
            path.rename(place)
    for path in folder.glob(f"{_STEP}*{_PARTIAL}*"):
        shutil.rmtree(path)


def read(path: Path, state: State, *, exact: bool) -> None:
    """Read a whole checkpoint into variables, none of them where one does not fit.

    Args:
        path: Its folder.
        state: As it was saved; or a part of it.
        exact: Whether all that is in the groups of `state` has to have its place there.

    Raises:
        ValueError: Something does not fit.
    """
    reader = tf.train.load_checkpoint(str(path / PREFIX))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    variables = {
        f"{group}/{name}": variable
        for group, named in state.items()
        for name, variable in named.items()
    }
    extra = sorted(shapes.keys() - variables.keys()) if exact else []
    wrong = [f"{_spoken(name)} is in it, not in the model" for name in extra]
    for name, variable in variables.items():
        shape = variable.shape.as_list()
        if name not in shapes:
            wrong.append(f"{_spoken(name)} is not in it")
        elif shapes[name] != shape:
            wrong.append(f"{_spoken(name)} is {shapes[name]} in it, {shape} in the model")
        elif dtypes[name] != variable.dtype:
            kinds = dtypes[name].name, variable.dtype.name
            wrong.append(f"{_spoken(name)} is {kinds[0]} in it, {kinds[1]} in the model")
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"The checkpoint {path} does not fit the model: {'; '.join(wrong[:3])}{more}. Build "
            "the model with the configuration of its run."
        )
    for name, variable in variables.items():
        value = reader.get_tensor(name)
        for copy in _copies(variable):
            copy.assign(value)


def names(path: Path) -> set[str]:
    """The variables in a checkpoint, as `GROUP/NAME`."""
    return set(tf.train.load_checkpoint(str(path / PREFIX)).get_variable_to_shape_map())


class Writer:
    """Writes checkpoints in one thread beside the training; an error is raised at the next call."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._jobs: dict[Path, Future[None]] = {}

    def start(self, folder: Path, state: State, step: int, *, num_kept: int) -> None:
        """Begin to `write` a checkpoint, once the one before in the same folder is written.

        Raises:
            OSError: An earlier one has failed.
        """
        self._wait_for([path for path, job in self._jobs.items() if path == folder or job.done()])
        job = functools.partial(write, snapshot(state), folder, step, num_kept=num_kept)
        self._jobs[folder] = self._thread.submit(job)

    def wait(self) -> None:
        """Wait until all is written.

        Raises:
            OSError: Something has failed; of several the first.
        """
        self._wait_for(list(self._jobs))

    def _wait_for(self, folders: Sequence[Path]) -> None:
        errors = [self._jobs.pop(folder).exception() for folder in folders]
        for error in filter(None, errors):
            raise error


def reason_of(error: Exception) -> str:
    """`File too large` of `{{node SaveV2}} /runs/bert/part-0; File too large [Op:SaveV2]`."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return message.rpartition("}} ")[2].rpartition("; ")[2].partition(" [Op:")[0]


def _message(error: Exception, values: dict[str, tf.Tensor], folder: Path) -> str:
    """What went wrong, and how much room a checkpoint takes beside how much there is."""
    needed = sum(value.dtype.size * value.shape.num_elements() for value in values.values())
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    return (
        f"No checkpoint could be written to {folder}: {reason_of(error)}. It takes "
        f"{needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free; those before are as they were"
    )


def _copies(variable: tf.Variable) -> tuple[Any, ...]:
    """The copies of a variable on the devices of this process; itself where there is one."""
    strategy = getattr(variable, "distribute_strategy", None)
    return strategy.experimental_local_results(variable) if strategy else (variable,)


def _rename(partial: Path, path: Path) -> None:
    """Give a written checkpoint its name, in the place of one of the same step, if there is one."""
    replaced = path.with_name(path.name + _REPLACED)
    if path.exists():
        path.rename(replaced)  # killed here, `sweep` puts it back
    try:
        partial.rename(path)
    except OSError:
        if replaced.exists():
            replaced.rename(path)
        raise
    _sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _remove(path: Path) -> None:
    """Remove a checkpoint so that a kill leaves it whole, or what `sweep` removes."""
    going = path.with_name(f"{path.name}{_PARTIAL}{os.getpid()}")
    path.rename(going)
    shutil.rmtree(going)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _sealed(content: dict[str, Any]) -> str:
    """As JSON, with a checksum of its own."""
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "sha256": digest}, indent=2) + "\n"


def _spoken(name: str) -> str:
    """`model layer_0/kernel` of `model/layer_0/kernel`."""
    return name.replace("/", " ", 1)
