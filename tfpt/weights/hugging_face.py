"""Folders of Hugging Face: `config.json`, `model.safetensors` (also in shards), a tokenizer.

No torch is needed, and no pickle is read: it can run code.
"""

import json
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from tfpt import models, pipelines
from tfpt.pipelines.tags import parse_tag
from tfpt.weights import hugging_face_tokenizer, mapping, tables
from tfpt.weights.checkpoint import Checkpoint, check_epsilon
from tfpt.weights.hugging_face_heads import (
    CLASSES,
    LABELS,
    SCORE,
    TAGS,
    Head,
    head_here,
    head_there,
    with_head,
    without_units,
)
from tfpt.weights.hugging_face_tensors import WEIGHTS, Tensors, read_object
from tfpt.weights.tables import PYTORCH, Line

CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class Family:
    """How a family of models is described and named there."""

    table: tuple[Line, ...]
    prefix: str  # before the names of the encoder where the model has a head
    # Names of the numbers in config.json, where they are not BERT's.
    numbers: Mapping[str, str]
    # Patterns of what stands for nothing: weights that are another one, and counters.
    ignored: tuple[str, ...] = ()
    # Of classifiers whose head has two layers: the first one is our pooler, with this activation.
    classifier: tuple[Line, ...] = ()
    pooler_activation: str = "tanh"
    has_pooler: bool = True  # where there is no such head
    num_before: int = 0  # rows of positions before the first


_GELU = "activation"
_NUMBERS = {
    "num_layers": "num_hidden_layers",
    "hidden_dim": "hidden_size",
    "num_heads": "num_attention_heads",
    "intermediate_dim": "intermediate_size",
    "dropout_rate": "hidden_dropout_prob",
    _GELU: "hidden_act",
}
_DISTILBERT_NUMBERS = {
    "num_layers": "n_layers",
    "hidden_dim": "dim",
    "num_heads": "n_heads",
    "intermediate_dim": "hidden_dim",
    "dropout_rate": "dropout",
    _GELU: "activation",
}
# What tfpt's encoder does in one way only.
_ONLY = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "tie_word_embeddings": True,
}
# Of models whose heads read no pooled state, whether or not they have a pooler.
_BY_SEGMENTS = {2: "bert", 1: "roberta", 0: "distilbert"}
# What is no part of an encoder, nor of its pooler.
_OF_HEADS = r"(?!embeddings|encoder\.|transformer\.|pooler\.).*"
_POOLER = r"pooler\.dense\.(weight|bias)"
_POSITION_IDS = r"embeddings\.position_ids"
FAMILIES = {
    "bert": Family(
        table=tables.BERT,
        prefix="bert.",
        numbers=_NUMBERS,
        ignored=(_POSITION_IDS, r"cls\.predictions\.decoder\.(weight|bias)"),
    ),
    "roberta": Family(
        table=tables.ROBERTA,
        classifier=tables.ROBERTA_CLASSIFIER,
        prefix="roberta.",
        numbers=_NUMBERS,
        ignored=(_POSITION_IDS, r"lm_head\.decoder\.(weight|bias)"),
        num_before=2,
    ),
    "electra": Family(
        table=tables.ELECTRA,
        classifier=tables.ELECTRA_CLASSIFIER,
        pooler_activation="gelu",
        prefix="electra.",
        numbers=_NUMBERS,
        ignored=(_POSITION_IDS, r"generator_lm_head\.weight", r"discriminator_predictions\..*"),
        has_pooler=False,
    ),
    "distilbert": Family(
        table=tables.DISTILBERT,
        classifier=tables.DISTILBERT_CLASSIFIER,
        pooler_activation="relu",
        prefix="distilbert.",
        numbers=_DISTILBERT_NUMBERS,
        ignored=(r"vocab_projector\.weight",),
        has_pooler=False,
    ),
}


def is_folder(path: Path) -> bool:
    """Whether a folder of Hugging Face lies here."""
    return (path / CONFIG).is_file()


def read(path: Path, *, heads: bool = True, lowercase: bool | None = None) -> Checkpoint:
    """Open a folder; see `weights.read`."""
    config = read_object(path / CONFIG)
    family = FAMILIES.get(config.get("model_type", ""))
    if family is None:
        raise ValueError(
            f"{path / CONFIG} tells of a model of type {config.get('model_type')!r}; "
            f"{', '.join(FAMILIES)} can be read."
        )
    tensors = Tensors(path, family.prefix)
    num_layers = _number(config, family, "num_layers", path)
    head = head_there(config, tensors.names) if heads else None
    table = _table_of(family, tensors.names) if heads else family.table
    # None is what RoBERTa's has where it is left out of the file.
    rules = _rules(with_head(table, head), num_layers, config.get("pad_token_id"))
    groups = mapping.groups_in(rules, tensors.names)
    ignored = list(family.ignored)
    if table is family.classifier or _is_of_tokens(head):
        ignored.append(_POOLER)  # of the encoder, which nothing reads in such a model
    if not heads:
        groups -= tables.HEADS
        ignored.append(_OF_HEADS)
    mapping.check_names(rules, tensors.names, groups=groups, ignored=ignored, source=str(path))
    tokenizer = hugging_face_tokenizer.read(path, lowercase)
    labels = _label_names(config, path) if head in (CLASSES, LABELS, TAGS) else ()
    if head is TAGS:
        _check_tags(labels, path)
    return Checkpoint(
        path=path,
        family=config["model_type"],
        size=_size(config, family, groups, path, has_pooler=not _is_of_tokens(head)),
        tokenizer=tokenizer,
        rules=rules,
        groups=groups,
        read=tensors.read,
        label_names=labels,
        recipe="bert" if head is None else head.recipe,
    )


def _is_of_tokens(head: Head | None) -> bool:
    return head is not None and bool(head.of_tokens)


def _table_of(family: Family, names: Set[str]) -> tuple[Line, ...]:
    """The table of a checkpoint: another one where it is a classifier with a head of two layers."""
    first = (name for line in family.classifier if line.ours == "pooler" for name in line.theirs)
    has_two = any(f"{name}{PYTORCH.kernel}" in names for name in first)
    return family.classifier if has_two else family.table


def _rules(table: Sequence[Line], num_layers: int, pad_id: int | None) -> list[mapping.Rule]:
    """The table written out; RoBERTa counts positions from the one after the id of padding."""
    found = mapping.rules(table, PYTORCH, num_layers)
    if pad_id is None:
        return found
    return [replace(one, num_before=pad_id + 1) if one.num_before else one for one in found]


def family_of(size: models.Model, *, reads_pooled: bool = True) -> str:
    """The family that has models of this form.

    Args:
        size: The form.
        reads_pooled: Whether the pooled state is read, or is to be told by which family reads none.

    Raises:
        ValueError: None has.
    """
    pooler = size.pooler_activation if size.has_pooler else None
    form = size.num_segments, pooler, size.embedding_dim is None
    if not reads_pooled and form[2] and size.num_segments in _BY_SEGMENTS:
        return _BY_SEGMENTS[size.num_segments]
    if form == (2, "tanh", True):
        return "bert"
    if form == (1, "tanh", True):
        return "roberta"
    if form in ((0, None, True), (0, "relu", True)):
        return "distilbert"
    if form[:2] in ((2, None), (2, "gelu")):
        return "electra"
    raise ValueError(
        f"No family of Hugging Face has num_segments={size.num_segments}, "
        f"has_pooler={size.has_pooler} with pooler_activation={size.pooler_activation}, and "
        f"embedding_dim={size.embedding_dim} at once."
    )


def write(
    path: Path,
    values: Mapping[str, np.ndarray],
    size: models.Model,
    tokenizer: pipelines.TextTokenizer,
    label_names: Sequence[str] = (),
) -> None:
    """Write a folder that transformers loads, into an empty one; see `weights.write`."""
    head, values = head_here(values), without_units(values)
    # An encoder whose recipe had no pooler is of the family it came from, as far as can be told.
    is_alone = head is None and not size.has_pooler and "masked_lm_head/bias" not in values
    name = family_of(size, reads_pooled=not (_is_of_tokens(head) or is_alone))
    family = FAMILIES[name]
    if name == "distilbert":
        check_epsilon(size, "DistilBERT")
    if isinstance(tokenizer, pipelines.SentencePiece):
        raise ValueError(f"{name} of Hugging Face has no vocabulary of SentencePiece.")
    is_classifier = head is not None and not head.of_tokens
    # The pooler is a part of a head, or nothing reads it.
    if _is_of_tokens(head) or not (is_classifier or family.has_pooler):
        values = {one: value for one, value in values.items() if not one.startswith("pooler/")}
    table = family.classifier if is_classifier and family.classifier else family.table
    if table is family.classifier and "pooler/kernel" not in values:
        raise ValueError(
            f"A classifier of {name} has a head of two layers in Hugging Face, this model the "
            "second one alone: it was not trained with a pooler. Write the encoder alone "
            "(--without-heads), or export the model."
        )
    rules = _rules(with_head(table, head), size.num_layers, tokenizer.pad_id)
    tensors = mapping.all_theirs(rules, values, format_name=f"{name} of Hugging Face")
    groups = {rule.group for rule in rules if rule.ours in values}
    if groups & tables.HEADS:
        tensors = {
            one if re.fullmatch(_OF_HEADS, one) else family.prefix + one: value
            for one, value in tensors.items()
        }
    safetensors.numpy.save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})
    config = _config(name, size, tokenizer, label_names)
    config["architectures"] = [_architecture(name, groups, head)]
    if head is not None and head.problem_type:
        config["problem_type"] = head.problem_type
    if head is SCORE:
        config["id2label"], config["label2id"] = {"0": "LABEL_0"}, {"LABEL_0": 0}
    (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    hugging_face_tokenizer.write(path, tokenizer, size.max_sequence_length)


def _config(
    name: str,
    size: models.Model,
    tokenizer: pipelines.TextTokenizer,
    label_names: Sequence[str],
) -> dict[str, Any]:
    family = FAMILIES[name]
    numbers = {family.numbers[one]: getattr(size, one) for one in family.numbers if one != _GELU}
    config = {
        "model_type": name,
        **numbers,
        family.numbers[_GELU]: "gelu",
        "attention_dropout" if name == "distilbert" else "attention_probs_dropout_prob": (
            size.dropout_rate
        ),
        "max_position_embeddings": size.max_sequence_length + _num_before(family, tokenizer.pad_id),
        "vocab_size": tokenizer.vocabulary_size,
        "pad_token_id": tokenizer.pad_id,
    }
    if name != "distilbert":
        config |= {"type_vocab_size": size.num_segments, "layer_norm_eps": size.norm_epsilon}
    if name == "roberta":
        config |= {"bos_token_id": tokenizer.cls_id, "eos_token_id": tokenizer.sep_id}
    if name == "electra":
        config["embedding_size"] = size.embedding_dim or size.hidden_dim
    if label_names:
        config["id2label"] = {str(number): label for number, label in enumerate(label_names)}
        config["label2id"] = {label: number for number, label in enumerate(label_names)}
    return config


def _architecture(name: str, groups: Set[str], head: Head | None) -> str:
    """The class of transformers that has these weights."""
    stem = {"bert": "Bert", "roberta": "Roberta", "electra": "Electra", "distilbert": "DistilBert"}
    if head is not None:
        return f"{stem[name]}{head.architecture}"
    if tables.NEXT_SENTENCE in groups:
        return f"{stem[name]}ForPreTraining"
    if tables.MASKED_LM in groups:
        return f"{stem[name]}ForMaskedLM"
    return f"{stem[name]}Model"


def _size(
    config: Mapping[str, Any], family: Family, groups: Set[str], path: Path, *, has_pooler: bool
) -> models.Model:
    """The numbers of the model; a ValueError names what tfpt's encoder does otherwise."""
    for name, expected in {family.numbers[_GELU]: "gelu", **_ONLY}.items():
        if name == "tie_word_embeddings" and tables.MASKED_LM not in groups:
            continue  # there is no head to be tied
        if (found := config.get(name)) not in (None, expected):
            raise ValueError(
                f"{path / CONFIG}: {name} is {found!r}; tfpt's encoder has {expected!r} alone."
            )
    hidden_dim = _number(config, family, "hidden_dim", path)
    width = config.get("embedding_size", hidden_dim)
    return models.Model(
        num_layers=_number(config, family, "num_layers", path),
        hidden_dim=hidden_dim,
        num_heads=_number(config, family, "num_heads", path),
        intermediate_dim=_number(config, family, "intermediate_dim", path),
        dropout_rate=_number(config, family, "dropout_rate", path),
        max_sequence_length=config.get("max_position_embeddings", 512)
        - _num_before(family, config.get("pad_token_id")),
        num_segments=config.get("type_vocab_size", 2) if tables.SEGMENTS in groups else 0,
        embedding_dim=None if width == hidden_dim else width,
        norm_epsilon=config.get("layer_norm_eps", 1e-12),
        has_pooler=has_pooler and (family.has_pooler or tables.POOLER in groups),
        pooler_activation=family.pooler_activation if tables.POOLER in groups else "tanh",
    )


def _num_before(family: Family, pad_id: int | None) -> int:
    """Rows of positions before the first."""
    return pad_id + 1 if family.num_before and pad_id is not None else family.num_before


def _number(config: Mapping[str, Any], family: Family, name: str, path: Path) -> Any:
    key = family.numbers[name]
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{path / CONFIG}: {key} should be a number; it is {value!r}.")
    return value


def _check_tags(labels: Sequence[str], path: Path) -> None:
    for label in labels:
        try:
            parse_tag(label)
        except ValueError as error:
            raise ValueError(
                f"{path / CONFIG}: id2label: {error} To take the encoder alone, pass heads=False "
                "(--without-heads)."
            ) from None


def _label_names(config: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    labels = config.get("id2label") or {}
    if sorted(map(int, labels)) != list(range(len(labels))):
        raise ValueError(f"{path / CONFIG}: id2label does not name the classes 0, 1 and so on.")
    # Two nameless classes are what is left out of a file.
    return tuple(labels[key] for key in sorted(labels, key=int)) or ("LABEL_0", "LABEL_1")
