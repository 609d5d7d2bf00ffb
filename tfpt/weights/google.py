"""google-research's checkpoints of BERT: `bert_config.json`, `bert_model.ckpt.*`, `vocab.txt`.

Source: https://github.com/google-research/bert.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpt import models, pipelines
from tfpt.pipelines.tokenizer_files import read_json
from tfpt.weights import mapping, tables
from tfpt.weights.checkpoint import Checkpoint, check_bert, wordpiece
from tfpt.weights.tables import TENSORFLOW_1

CONFIG, WEIGHTS, VOCABULARY = "bert_config.json", "bert_model.ckpt", "vocab.txt"
# The optimizer's state.
_IGNORED = (r"global_step", r".*/adam_[mv]")
_NUMBERS = {
    "num_layers": "num_hidden_layers",
    "hidden_dim": "hidden_size",
    "num_heads": "num_attention_heads",
    "intermediate_dim": "intermediate_size",
    "dropout_rate": "hidden_dropout_prob",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
}


def is_folder(path: Path) -> bool:
    """Whether such a checkpoint lies here."""
    return (path / CONFIG).is_file()


def read(path: Path, *, heads: bool = True, lowercase: bool | None = None) -> Checkpoint:
    """Open a folder; see `weights.read`."""
    config = read_json(path / CONFIG)
    if not isinstance(config, dict):
        raise ValueError(f"{path / CONFIG} is damaged: a JSON object is needed.")
    if missing := [name for name in _NUMBERS.values() if name not in config]:
        raise ValueError(f"{path / CONFIG} does not tell {', '.join(missing)}.")
    if config.get("hidden_act", "gelu") != "gelu":
        raise ValueError(
            f"{path / CONFIG}: hidden_act is {config['hidden_act']!r}; tfpt's encoder has 'gelu' "
            "alone."
        )
    size = models.Model(**{name: config[there] for name, there in _NUMBERS.items()})
    reader = _opened(path)
    names = frozenset(reader.get_variable_to_shape_map())
    rules = mapping.rules(tables.BERT_TF1, TENSORFLOW_1, size.num_layers)
    groups = mapping.groups_in(rules, names)
    ignored: tuple[str, ...] = _IGNORED
    if not heads:
        groups -= tables.HEADS
        ignored = (*_IGNORED, r"(?!bert/).*")
    mapping.check_names(rules, names, groups=groups, ignored=ignored, source=str(path))
    return Checkpoint(
        path=path,
        family="bert",
        size=size,
        tokenizer=wordpiece(path / VOCABULARY, lowercase=lowercase),
        rules=rules,
        groups=groups,
        read=lambda name: _read(reader, name, path),
    )


def _read(reader: Any, name: str, path: Path) -> np.ndarray:
    """A tensor; opening a checkpoint has read its index alone."""
    try:
        return reader.get_tensor(name)
    except (tf.errors.OpError, IndexError) as error:
        raise ValueError(
            f"{path} is damaged: {name} cannot be read: {error}. Take a whole checkpoint."
        ) from error


def _opened(path: Path) -> Any:
    prefix = path / WEIGHTS
    if not prefix.with_name(f"{WEIGHTS}.index").is_file():
        # Fine-tuning scripts number theirs.
        newest = tf.train.latest_checkpoint(str(path))
        if newest is None:
            raise FileNotFoundError(f"{path} holds no {WEIGHTS}.index.")
        prefix = Path(newest)
    try:
        return tf.train.load_checkpoint(str(prefix))
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(f"{prefix} is damaged: {error}. Take a whole checkpoint.") from error


def write(
    path: Path,
    values: dict[str, np.ndarray],
    size: models.Model,
    tokenizer: pipelines.TextTokenizer,
) -> None:
    """Write the files into an empty folder."""
    check_bert(size, tokenizer, "google-research's BERT")
    rules = mapping.rules(tables.BERT_TF1, TENSORFLOW_1, size.num_layers)
    tensors = mapping.all_theirs(rules, values, format_name="google-research's format")
    tf.raw_ops.SaveV2(
        prefix=str(path / WEIGHTS),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    config = {there: getattr(size, name) for name, there in _NUMBERS.items()}
    config |= {
        "attention_probs_dropout_prob": size.dropout_rate,
        "hidden_act": "gelu",
        "initializer_range": 0.02,
        "vocab_size": tokenizer.vocabulary_size,
    }
    (path / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer.save(path / VOCABULARY)
