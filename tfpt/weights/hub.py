"""keras-hub's presets of backbones: folders with `config.json`, `model.weights.h5`, a tokenizer.

keras-hub calculates GELU by its tanh form in BERT and ELECTRA, tfpt and transformers by the exact
one: outputs of the same weights differ by up to some thousandths. So it is with google-research's
code of today. In RoBERTa and DistilBERT all have the exact one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfpt import models, pipelines
from tfpt.pipelines.tokenizer_files import read_json
from tfpt.weights import mapping, tables
from tfpt.weights.checkpoint import Checkpoint, wordpiece
from tfpt.weights.tables import KERAS_HUB, Line

CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class Family:
    """A backbone of keras-hub, and what an encoder of tfpt is that has its form."""

    name: str  # as hugging_face.py has it
    backbone: str
    tokenizer: str
    table: tuple[Line, ...]
    num_segments: int = 2
    has_pooler: bool = True  # by tanh
    norm_epsilon: float = 1e-12
    has_width: bool = False  # whether embeddings may have a width of their own
    of_bytes: bool = False  # byte pairs instead of WordPiece
    vocabulary_size: str = "vocabulary_size"  # the argument


FAMILIES = (
    Family(
        name="bert", backbone="BertBackbone", tokenizer="BertTokenizer", table=tables.BERT_KERAS_HUB
    ),
    Family(
        name="electra",
        backbone="ElectraBackbone",
        tokenizer="ElectraTokenizer",
        table=tables.ELECTRA_KERAS_HUB,
        has_width=True,
        vocabulary_size="vocab_size",
    ),
    Family(
        name="distilbert",
        backbone="DistilBertBackbone",
        tokenizer="DistilBertTokenizer",
        table=tables.DISTILBERT_KERAS_HUB,
        num_segments=0,
        has_pooler=False,
    ),
    Family(
        name="roberta",
        backbone="RobertaBackbone",
        tokenizer="RobertaTokenizer",
        table=tables.ROBERTA_KERAS_HUB,
        num_segments=1,
        has_pooler=False,
        norm_epsilon=1e-5,
        of_bytes=True,
    ),
)
_NUMBERS = {
    "num_layers": "num_layers",
    "hidden_dim": "hidden_dim",
    "num_heads": "num_heads",
    "intermediate_dim": "intermediate_dim",
    "dropout_rate": "dropout",
    "max_sequence_length": "max_sequence_length",
}
# The one row of RoBERTa's segments, which keras-hub leaves out.
_SEGMENT, _POSITIONS = "segment_embedding/embeddings", "position_embedding/embeddings"


def is_folder(path: Path) -> bool:
    """Whether a preset lies here."""
    return (path / CONFIG).is_file() and "registered_name" in read_json(path / CONFIG)


def read(path: Path, *, lowercase: bool | None = None) -> Checkpoint:
    """Open a preset; see `weights.read`."""
    kind = read_json(path / CONFIG).get("class_name")
    family = next((one for one in FAMILIES if one.backbone == kind), None)
    if family is None:
        known = ", ".join(one.backbone for one in FAMILIES)
        raise ValueError(f"{path / CONFIG} tells of a {kind}; of keras-hub {known} can be read.")
    import keras_hub

    try:
        backbone = getattr(keras_hub.models, family.backbone).from_preset(str(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}. Take a whole preset.") from error
    values = {weight.path: weight for weight in backbone.weights}
    size = _size(family, backbone)
    rules = mapping.rules(family.table, KERAS_HUB, size.num_layers)
    groups = mapping.groups_in(rules, values)
    mapping.check_names(rules, values, groups=groups, ignored=(), source=str(path))

    def tensor(name: str) -> np.ndarray:
        if name == _SEGMENT and name not in values:
            return np.zeros((1, size.hidden_dim), np.float32)
        return keras.ops.convert_to_numpy(values[name])

    if size.num_segments == 1:
        rules = [*rules, mapping.Rule(ours=_SEGMENT, theirs=(_SEGMENT,), group="")]
    return Checkpoint(
        path=path,
        family=family.name,
        size=size,
        tokenizer=_tokenizer(family, path, lowercase),
        rules=rules,
        groups=groups,
        read=tensor,
    )


def _size(family: Family, backbone: Any) -> models.Model:
    numbers = {name: getattr(backbone, there) for name, there in _NUMBERS.items()}
    width = backbone.embedding_dim if family.has_width else backbone.hidden_dim
    return models.Model(
        **numbers,
        num_segments=getattr(backbone, "num_segments", family.num_segments),
        embedding_dim=None if width == backbone.hidden_dim else width,
        has_pooler=family.has_pooler,
        norm_epsilon=family.norm_epsilon,
    )


def _tokenizer(family: Family, path: Path, lowercase: bool | None) -> pipelines.TextTokenizer:
    assets = path / "assets" / "tokenizer"
    if family.of_bytes:
        return pipelines.load_tokenizer(assets / "vocabulary.json")
    settings = read_json(path / "tokenizer.json").get("config", {})
    return wordpiece(
        assets / "vocabulary.txt",
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
    family = _family(size, tokenizer)
    values = dict(values)
    if not family.has_pooler:  # there it is of the classifier's head
        values = {path: value for path, value in values.items() if not path.startswith("pooler/")}
    if family.num_segments == 1:
        # Every token has this row, so it can as well be of the positions.
        values[_POSITIONS] = values[_POSITIONS] + values.pop(_SEGMENT)
    rules = mapping.rules(family.table, KERAS_HUB, size.num_layers)
    tensors = mapping.all_theirs(rules, values, format_name="keras-hub's backbone")
    backbone = _backbone(family, size, tokenizer.vocabulary_size)
    for weight in backbone.weights:
        weight.assign(tensors[weight.path].reshape(weight.shape))
    backbone.save_to_preset(str(path))
    _tokenizer_there(family, tokenizer).save_to_preset(str(path))


def _family(size: models.Model, tokenizer: pipelines.TextTokenizer) -> Family:
    """The backbone of an encoder's form."""
    has_pooler = size.has_pooler and size.pooler_activation == "tanh"
    of_bytes = isinstance(tokenizer, pipelines.BytePair)
    for family in FAMILIES:
        form = family.num_segments, family.norm_epsilon, family.of_bytes
        if (
            form == (size.num_segments, size.norm_epsilon, of_bytes)
            and (has_pooler or not family.has_pooler)
            and (size.embedding_dim is None or family.has_width)
            and not isinstance(tokenizer, pipelines.SentencePiece)
        ):
            return family
    raise ValueError(
        "keras-hub has no backbone of the form of this encoder: num_segments="
        f"{size.num_segments}, norm_epsilon={size.norm_epsilon:g}, has_pooler={size.has_pooler}, "
        f"pooler_activation={size.pooler_activation}, embedding_dim={size.embedding_dim}, a "
        f"vocabulary of {tokenizer.kind}. Write it for Hugging Face."
    )


def _tokenizer_there(family: Family, tokenizer: Any) -> Any:
    import keras_hub

    kind = getattr(keras_hub.models, family.tokenizer)
    if family.of_bytes:
        ids = {entry: number for number, entry in enumerate(tokenizer.vocabulary)}
        return kind(vocabulary=ids, merges=[" ".join(pair) for pair in tokenizer.merges])
    return kind(
        vocabulary=list(tokenizer.vocabulary),
        lowercase=tokenizer.lowercase,
        strip_accents=tokenizer.strip_accents,
    )


def _backbone(family: Family, size: models.Model, vocabulary_size: int) -> Any:
    import keras_hub

    numbers = {there: getattr(size, name) for name, there in _NUMBERS.items()}
    numbers[family.vocabulary_size] = vocabulary_size
    if family.num_segments == 2:
        numbers["num_segments"] = size.num_segments
    if family.has_width:
        numbers["embedding_dim"] = size.embedding_dim or size.hidden_dim
    return getattr(keras_hub.models, family.backbone)(**numbers)
