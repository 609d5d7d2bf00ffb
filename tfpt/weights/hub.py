"""keras-hub's presets of BERT: folders with `config.json`, `model.weights.h5` and a tokenizer.

keras-hub calculates GELU by its tanh form, tfpt and transformers by the exact one: outputs of the
same weights differ by up to some thousandths. So it is with google-research's code of today.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfpt import models, pipelines
from tfpt.pipelines.tokenizer_files import read_json
from tfpt.weights import mapping, tables
from tfpt.weights.checkpoint import Checkpoint, check_bert, wordpiece
from tfpt.weights.tables import KERAS_HUB

CONFIG = "config.json"
_BACKBONE = "BertBackbone"
_NUMBERS = {
    "num_layers": "num_layers",
    "hidden_dim": "hidden_dim",
    "num_heads": "num_heads",
    "intermediate_dim": "intermediate_dim",
    "dropout_rate": "dropout",
    "max_sequence_length": "max_sequence_length",
    "num_segments": "num_segments",
}


def is_folder(path: Path) -> bool:
    """Whether a preset lies here."""
    return (path / CONFIG).is_file() and "registered_name" in read_json(path / CONFIG)


def read(path: Path, *, lowercase: bool | None = None) -> Checkpoint:
    """Open a preset; see `weights.read`."""
    kind = read_json(path / CONFIG).get("class_name")
    if kind != _BACKBONE:
        raise ValueError(f"{path / CONFIG} tells of a {kind}; {_BACKBONE} can be read.")
    import keras_hub

    try:
        backbone = keras_hub.models.BertBackbone.from_preset(str(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}. Take a whole preset.") from error
    size = models.Model(**{name: getattr(backbone, there) for name, there in _NUMBERS.items()})
    values = {weight.path: weight for weight in backbone.weights}
    rules = mapping.rules(tables.BERT_KERAS_HUB, KERAS_HUB, size.num_layers)
    groups = mapping.groups_in(rules, values)
    mapping.check_names(rules, values, groups=groups, ignored=(), source=str(path))
    return Checkpoint(
        path=path,
        family="bert",
        size=size,
        tokenizer=_tokenizer(path, lowercase),
        rules=rules,
        groups=groups,
        read=lambda name: keras.ops.convert_to_numpy(values[name]),
    )


def _tokenizer(path: Path, lowercase: bool | None) -> pipelines.TextTokenizer:
    settings = read_json(path / "tokenizer.json").get("config", {})
    return wordpiece(
        path / "assets" / "tokenizer" / "vocabulary.txt",
        lowercase=settings.get("lowercase") if lowercase is None else lowercase,
        strip_accents=settings.get("strip_accents"),
    )


def write(
    path: Path,
    values: dict[str, np.ndarray],
    size: models.Model,
    tokenizer: pipelines.TextTokenizer,
) -> None:
    """Write a preset into an empty folder."""
    import keras_hub

    wordpieces = check_bert(size, tokenizer, "keras-hub's BERT")
    rules = mapping.rules(tables.BERT_KERAS_HUB, KERAS_HUB, size.num_layers)
    tensors = mapping.all_theirs(rules, values, format_name="keras-hub's backbone")
    backbone = _backbone(size, tokenizer.vocabulary_size)
    for weight in backbone.weights:
        weight.assign(tensors[weight.path].reshape(weight.shape))
    backbone.save_to_preset(str(path))
    keras_hub.models.BertTokenizer(
        vocabulary=list(tokenizer.vocabulary),
        lowercase=wordpieces.lowercase,
        strip_accents=wordpieces.strip_accents,
    ).save_to_preset(str(path))


def _backbone(size: models.Model, vocabulary_size: int) -> Any:
    import keras_hub

    numbers = {there: getattr(size, name) for name, there in _NUMBERS.items()}
    return keras_hub.models.BertBackbone(vocabulary_size=vocabulary_size, **numbers)
