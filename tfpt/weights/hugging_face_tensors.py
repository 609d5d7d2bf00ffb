"""The tensors of a folder of Hugging Face, in one file of safetensors or in shards."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from tfpt.pipelines.tokenizer_files import read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# What transformers' TensorFlow classes wrote names and lays out weights in its own way.
_KERAS = "tf_model.h5"
_CONVERT_KERAS = (
    "It is of a TensorFlow class of transformers. Convert it where transformers 4 and torch are "
    "installed: BertModel.from_pretrained(FOLDER, from_tf=True).save_pretrained(OTHER)."
)


class Tensors:
    """The tensors of a folder, read from the disk when they are asked for.

    Names are those of the encoder alone, as they are today.
    """

    def __init__(self, path: Path, prefix: str):
        self._files: dict[str, tuple[Path, str]] = {}
        for file in _files(path):
            with _opened(file) as tensors:
                if (tensors.metadata() or {}).get("format") == "tf":
                    raise ValueError(f"{file} cannot be read. {_CONVERT_KERAS}")
                for name in tensors.keys():  # noqa: SIM118 (no mapping)
                    self._files[_plain(name, prefix)] = file, name

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._files)

    def read(self, name: str) -> np.ndarray:
        file, there = self._files[name]
        with _opened(file) as tensors:
            return tensors.get_tensor(there)


def _plain(name: str, prefix: str) -> str:
    """As the encoder alone names it today: without the model it is in, and without gamma, beta."""
    name = name.removeprefix(prefix)
    for before, now in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(before):
            return name.removesuffix(before) + now
    return name


def _files(path: Path) -> list[Path]:
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    if (path / INDEX).is_file():
        shards = read_object(path / INDEX).get("weight_map")
        if not isinstance(shards, dict):
            raise ValueError(f"{path / INDEX} is damaged: it has no weight_map.")
        files = sorted({path / Path(name).name for name in shards.values()})
        if missing := [file.name for file in files if not file.is_file()]:
            raise ValueError(f"{path} lacks {', '.join(missing)}, which {INDEX} names.")
        return files
    if (path / _KERAS).is_file():
        raise ValueError(f"{path} has its weights in {_KERAS} alone. {_CONVERT_KERAS}")
    if pickles := [name for name in _PICKLES if (path / name).is_file()]:
        raise ValueError(
            f"{path} has its weights in {pickles[0]} alone, which is not read: a pickle can run "
            f"code. Take {WEIGHTS}, or let transformers write it: "
            "model.save_pretrained(FOLDER, safe_serialization=True)."
        )
    raise FileNotFoundError(f"{path} holds no {WEIGHTS}.")


def _opened(file: Path) -> Any:
    try:
        return safetensors.safe_open(file, framework="numpy")
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} is damaged: {error}. Take a whole file.") from error


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object that a file holds; a ValueError where it holds something else."""
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} is damaged: a JSON object is needed.")
    return content
