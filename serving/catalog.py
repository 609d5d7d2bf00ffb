"""The models of a server: version folders on disk, loaded models by name and version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tfpt.serving.errors import ServingError

if TYPE_CHECKING:  # importing it imports TensorFlow
    from tfpt.serving.loaded_model import LoadedModel

Versions = Literal["latest", "all"]

TOO_LARGE = 1 << 63  # for the number of a version in TF Serving's protocol


def version_folders(base_path: str | Path, *, versions: Versions = "latest") -> dict[int, Path]:
    """The folders of `base_path` to serve, by version number.

    A version folder's name is a whole number, such as `3` or `00000123`, below 2**63; other names
    are passed over, so that a folder being written under a temporary name is not taken.

    Args:
        base_path: A folder `NAME` with folders `NAME/VERSION`.
        versions: "latest" for the highest number only, as TF Serving does; "all" for every one.

    Raises:
        FileNotFoundError: No such folder, no version in it, or no SavedModel in one to serve.
        ValueError: Two folders are the same version.
    """
    base_path = Path(base_path)
    if not base_path.is_dir():
        raise FileNotFoundError(
            f"There is no folder {base_path}; give the folder that `tfpt export` wrote to, "
            f"which holds one folder for each version, such as {base_path / '1'}."
        )
    found: dict[int, Path] = {}
    for folder in sorted(base_path.iterdir()):
        if not (folder.is_dir() and re.fullmatch(r"[0-9]+", folder.name)):
            continue
        version = int(folder.name)
        if version >= TOO_LARGE:
            continue
        if version in found:
            raise ValueError(
                f"{found[version]} and {folder} are both version {version}; remove one."
            )
        found[version] = folder
    if not found:
        raise FileNotFoundError(
            f"{base_path} holds no folder named by a version number; {_advice(base_path)}"
        )
    wanted = sorted(found)[-1:] if versions == "latest" else sorted(found)
    for version in wanted:
        if not (found[version] / "saved_model.pb").is_file():
            raise FileNotFoundError(
                f"{found[version]} holds no saved_model.pb; export the model anew, "
                "or remove the folder."
            )
    return {version: found[version] for version in wanted}


class Catalog:
    """The loaded models, by name and version number; empty at first."""

    def __init__(self) -> None:
        self._models: dict[str, dict[int, LoadedModel]] = {}

    def load(self, folders: Mapping[str, Mapping[int, Path]]) -> None:
        """Load, for each name, the versions in the folders that `version_folders` found.

        Raises:
            ValueError: TensorFlow cannot load one; those before it stay until `close`.
        """
        from tfpt.serving.loaded_model import LoadedModel

        for name, versions in folders.items():
            loaded = self._models.setdefault(name, {})
            for version, path in versions.items():
                loaded[version] = LoadedModel(path, name=name, version=version)

    def find(self, name: str, *, version: int | None = None, label: str = "") -> LoadedModel:
        """The model to answer a request; its newest version where none is named.

        Raises:
            ServingError: NOT_FOUND for a model or version that is not served, INVALID_ARGUMENT for
                a version label.
        """
        _refuse_label(label)
        loaded = self._models.get(name, {})
        wanted = max(loaded, default=None) if version is None else version
        if wanted is None or wanted not in loaded:
            request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise ServingError(
                "NOT_FOUND", f"Servable not found for request: {request}. {self._served(name)}"
            )
        return loaded[wanted]

    def versions(self, name: str, *, version: int | None = None, label: str = "") -> list[int]:
        """The versions of a model that are served, newest first as TF Serving lists them.

        Raises:
            ServingError: As `find`.
        """
        _refuse_label(label)
        served = sorted(self._models.get(name, {}), reverse=True)
        if version is None and not served:
            raise ServingError(
                "NOT_FOUND", f"Could not find any versions of model {name}. {self._served(name)}"
            )
        if version is not None and version not in served:
            raise ServingError(
                "NOT_FOUND",
                f"Could not find version {version} of model {name}. {self._served(name)}",
            )
        return served if version is None else [version]

    def close(self) -> None:
        """Free the memory of every model."""
        for loaded in self._models.values():
            for model in loaded.values():
                model.close()
        self._models.clear()

    def _served(self, name: str) -> str:
        if name not in self._models:
            return f"This server has {', '.join(f'`{key}`' for key in sorted(self._models))}."
        versions = ", ".join(map(str, sorted(self._models[name])))
        return f"This server has `{name}` in version {versions}."


def _refuse_label(label: str) -> None:
    if label:
        raise ServingError(
            "INVALID_ARGUMENT",
            f"Unrecognized servable version label: {label}. "
            "This server knows no labels; ask for a version by its number.",
        )


def _advice(base_path: Path) -> str:
    if not (base_path / "saved_model.pb").is_file():
        return f"a version folder, such as {base_path / '1'}, holds the SavedModel."
    if base_path.name.isdecimal():
        return f"it is a version folder itself: give the folder above it, {base_path.parent}."
    return f"it is a SavedModel itself: move it to a version folder, such as {base_path / '1'}."
