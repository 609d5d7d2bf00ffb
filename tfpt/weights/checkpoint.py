"""A checkpoint of others, opened: its numbers, its tokenizer, and weights that can be asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tfpt import models
from tfpt.pipelines import TextTokenizer, WordPiece, load_tokenizer
from tfpt.pipelines.tokenizer_files import read_lines
from tfpt.pipelines.wordpiece import settings_path
from tfpt.weights import mapping
from tfpt.weights.mapping import Rule


def wordpiece(
    path: Path, *, lowercase: bool | None, strip_accents: bool | None = None
) -> TextTokenizer:
    """The tokenizer of a vocab.txt.

    Whether texts are lowercased is told by the settings beside it or by `lowercase`; where neither
    does, by the entries: those of a cased vocabulary have capital letters.
    """
    if lowercase is None and not settings_path(path).is_file():
        entries = read_lines(path) if path.is_file() else []
        lowercase = not any(one != one.lower() for one in entries if not one.startswith("["))
    return load_tokenizer(path, lowercase=lowercase, strip_accents=strip_accents)


def check_epsilon(size: models.Model, name: str) -> None:
    """Raise a ValueError where a format that knows one epsilon alone cannot tell the model's."""
    if size.norm_epsilon != 1e-12:
        raise ValueError(
            f"{name} adds 1e-12 to variances, this model {size.norm_epsilon:g}: its outputs would "
            "be others there. Write another format."
        )


def check_bert(size: models.Model, tokenizer: TextTokenizer, name: str) -> WordPiece:
    """The tokenizer; a ValueError for a model, or a vocabulary, that is not of BERT's own form."""
    form = size.num_segments, size.has_pooler, size.pooler_activation, size.embedding_dim
    if form != (2, True, "tanh", None):
        raise ValueError(
            f"{name} has two segments, a pooler by tanh, and embeddings as wide as its states; "
            f"this model has num_segments={size.num_segments}, has_pooler={size.has_pooler}, "
            f"pooler_activation={size.pooler_activation}, embedding_dim={size.embedding_dim}. "
            "Write it for Hugging Face."
        )
    if not isinstance(tokenizer, WordPiece):
        raise ValueError(f"{name} takes a WordPiece vocabulary; this one is {tokenizer.kind}.")
    check_epsilon(size, name)
    return tokenizer


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """What `weights.read` gives."""

    path: Path
    family: str  # "bert", "roberta", "electra" or "distilbert"
    size: models.Model
    tokenizer: TextTokenizer
    rules: Sequence[Rule]
    groups: frozenset[str]  # of weights that not every model has, those that are there
    read: Callable[[str], np.ndarray]  # a tensor by its name there
    label_names: tuple[str, ...] = ()  # of a classifier, also of tokens or for several labels
    recipe: str = "bert"  # the name of the recipe that has such models

    def assign(self, model: keras.Model) -> list[str]:
        """Give the weights to a model of tfpt, by their paths.

        Args:
            model: An encoder of this size, or objectives on one. Heads that the checkpoint does not
                have stay as they are.

        Returns:
            The paths of the weights, of those that training changes, that stayed as they were.

        Raises:
            ValueError: A tensor has another shape than the model's weight; or the model lacks a
                weight of the encoder. The model is as it was.
        """
        # Of an encoder also what no objective reads, such as a pooler.
        encoder = getattr(model, "encoder", model)
        there = {weight.path: weight for weight in (*model.weights, *encoder.weights)}
        chosen = [rule for rule in self.rules if rule.group in self.groups or not rule.group]
        if lacking := [rule.ours for rule in chosen if not rule.group and rule.ours not in there]:
            raise ValueError(
                f"The model has no {lacking[0]}: it is no encoder of tfpt with "
                f"{self.size.num_layers} layers. Build it by `models.encoder` with `size`."
            )
        source = str(self.path)
        values = {
            rule.ours: mapping.to_ours(rule, self.read, tuple(there[rule.ours].shape), source)
            for rule in chosen
            if rule.ours in there
        }
        for path, value in values.items():
            there[path].assign(value)
        trained = {path for path, weight in there.items() if weight.trainable}
        return sorted(trained - values.keys())
