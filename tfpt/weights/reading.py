"""A checkpoint of others, whatever its format."""

import os
from pathlib import Path

from tfpt.weights import google, hub, hugging_face
from tfpt.weights.checkpoint import Checkpoint


def read(
    path: str | os.PathLike[str], *, heads: bool = True, lowercase: bool | None = None
) -> Checkpoint:
    """Open a checkpoint of others: its numbers, its tokenizer and its weights.

    | folder | what is read |
    |---|---|
    | Hugging Face | `config.json`, `model.safetensors` (also in shards), a tokenizer |
    | google-research | `bert_config.json`, `bert_model.ckpt.*`, `vocab.txt` |
    | keras-hub | a preset of a backbone: `config.json`, `model.weights.h5`, a tokenizer |

    Of Hugging Face and keras-hub: BERT, RoBERTa, ELECTRA, DistilBERT, and what has their shape.

    Args:
        path: The folder.
        heads: Whether heads are read too; False takes the encoder alone.
        lowercase: Whether texts are lowercased, for a vocab.txt that does not tell; None: as the
            files beside it tell, or else whether no entry has a capital letter.

    Returns:
        A `Checkpoint`, of which `assign` gives the weights to a model.

    Raises:
        FileNotFoundError: No such checkpoint lies there.
        ValueError: It is damaged, lacks a tensor, holds one that tfpt's models do not have, or is
            of a model that tfpt's encoder does not follow; the message names what.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}; that of a checkpoint is needed.")
    if hub.is_folder(folder):
        return hub.read(folder, lowercase=lowercase)
    if hugging_face.is_folder(folder):
        return hugging_face.read(folder, heads=heads, lowercase=lowercase)
    if google.is_folder(folder):
        return google.read(folder, heads=heads, lowercase=lowercase)
    raise FileNotFoundError(
        f"{folder} holds no checkpoint that is known: no config.json of Hugging Face or keras-hub, "
        "no bert_config.json of google-research."
    )
