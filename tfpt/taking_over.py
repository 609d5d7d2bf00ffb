"""The weights of a run for a model of another vocabulary, or with other heads."""

from types import ModuleType
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfpt import config, console, objectives, peft
from tfpt.checkpoints import Run, open_run
from tfpt.pipelines import TextTokenizer, WordPiece, load_tokenizer
from tfpt.pipelines.tokenizer import CONTINUATION_PREFIX

# Weights with a row, or a number, for each entry of the vocabulary.
BY_ENTRY = ("token_embedding/embeddings", "masked_lm_head/bias")


class Taken(NamedTuple):
    """What was not in the run."""

    drawn: list[str]  # paths of weights that stayed as they were first drawn
    num_new: int  # entries of the vocabulary that the run's has not


def take_over(source: Run, model: keras.Model, tokenizer: TextTokenizer) -> Taken:
    """Give the best weights of a run to a model.

    Where the WordPiece vocabulary is another one, an entry has the weights it had; a new one the
    mean of those of the pieces that the run's vocabulary cuts it into.

    Args:
        source: The run.
        model: With an encoder of the same size. Heads that the run does not have stay as they are.
        tokenizer: The model's vocabulary.

    Raises:
        FileNotFoundError: The run has no checkpoint yet.
        ValueError: A weight has another shape; or the vocabulary is another one and no WordPiece.
            The model is as it was.

    Source of the mean: Yao et al. 2021, section 3.1, https://arxiv.org/abs/2106.13474.
    """
    check_vocabulary(source, tokenizer)
    pieces, num_new = None, 0
    if tokenizer.sha256 != source.tokenizer.sha256:
        pieces, num_new = _pieces(source.tokenizer, tokenizer)
    path = source.weights_path()
    reader = tf.train.load_checkpoint(path)
    shapes = reader.get_variable_to_shape_map()
    values, drawn = {}, []
    for weight in model.weights:
        names = [f"{group}/{weight.path}" for group in ("averages", "model")]
        name = next((one for one in names if one in shapes), None)
        if name is None:
            drawn.append(weight.path)
            continue
        value = reader.get_tensor(name)
        if pieces is not None and weight.path in BY_ENTRY:
            value = _by_entry(value, weight, pieces)
        if value.shape != tuple(weight.shape):
            raise ValueError(
                f"{source.path}: {weight.path} is {value.shape}, in the model "
                f"{tuple(weight.shape)}. The size of the model is that of the run."
            )
        values[weight.path] = value
    if not any(path.startswith("layer_0/") for path in values):
        raise ValueError(f"{source.path} holds no encoder of tfpt.")
    for weight in model.weights:
        if weight.path in values:
            weight.assign(values[weight.path])
    return Taken(drawn, num_new)


def with_size_of(source: Run, settings: Any, recipe: ModuleType) -> Any:
    """The settings of a recipe with the size of the encoder that is taken over.

    Raises:
        ValueError: The run does not tell its size, or the settings ask for another.
    """
    if "model" not in source.settings:
        raise ValueError(
            f"{source.path} does not tell the size of its model (`model` in config.json): its run "
            "was begun without the settings of a recipe. Begin it with training.Run(..., "
            "recipe=, settings=), or fine-tune its encoder in Python."
        )
    of_source = dict(source.settings["model"])
    if not recipe.config().model.has_pooler:  # nothing of this recipe reads one
        of_source["has_pooler"] = False
    taken = config.from_dict(settings, {"model": of_source})
    default, given, there = (
        config.to_dict(model) for model in (recipe.config().model, settings.model, taken.model)
    )
    wrong = [name for name in config.changed_fields(default, given) if given[name] != there[name]]
    if wrong:
        raise ValueError(
            f"The size of the model comes from {source.path}; it differs in "
            f"{', '.join('model.' + name for name in wrong)}. Leave these out."
        )
    return taken


def start_of(settings: Any, recipe: ModuleType) -> tuple[Run | None, Any, TextTokenizer]:
    """What a fine-tuning begins with; everything that is wrong with it is told here.

    Returns:
        The run whose encoder is taken over, None from scratch; the settings, with the size of that
        encoder; the vocabulary.

    Raises:
        FileNotFoundError: There is no such run or vocabulary, or the run has no checkpoint yet.
        ValueError: Settings and run do not fit each other.
    """
    method = settings.training.adaptation.method
    if settings.start:
        source = open_run(settings.start)
        settings = with_size_of(source, settings, recipe)
        if getattr(settings.data, "vocabulary", ""):
            raise ValueError(
                f"The vocabulary comes from {source.path}; data.vocabulary is for training from "
                "scratch. Leave it out."
            )
        source.weights_path()  # raises before a run folder is made
        return source, settings, source.tokenizer
    if method != "none":
        raise ValueError(
            f"`training.adaptation.method` {method} trains a little beside weights that are good "
            "already: it needs a run to start from (--from RUN)."
        )
    if not settings.data.vocabulary:
        raise ValueError(
            "Fine-tuning needs a run to start from (--from RUN) or, from scratch, a vocabulary "
            "(--set data.vocabulary=vocab.txt)."
        )
    return None, settings, load_tokenizer(settings.data.vocabulary)


def adapt(model: objectives.Model, adaptation: config.Adaptation, source: Run, run: Run) -> None:
    """Adapt the encoder of a model, which has the weights of `source`, for a run; and say so.

    The run then keeps only what is trained.

    Raises:
        ValueError: The encoder cannot be adapted; or the run was begun beside other weights.
    """
    peft.adapt(model.encoder, adaptation)
    run.leave_out_frozen(source, model)
    console.err.print(f"{adaptation.method}: {peft.counts(model)}", markup=False)


def tell(taken: Taken, source: Run) -> None:
    """Print what the run did not have."""
    layers = sorted({path.rpartition("/")[0] or path for path in taken.drawn})
    told = [f"drawn at random: {', '.join(layers)}"] if layers else []
    if taken.num_new:
        told.append(f"{taken.num_new:,} new entries, each the mean of its pieces")
    if told:
        console.err.print(f"Not in {source.path}: {'; '.join(told)}.", markup=False)


def check_vocabulary(source: Run, tokenizer: TextTokenizer) -> None:
    """Raise a ValueError where a model of this vocabulary cannot take over a run's weights."""
    before = source.tokenizer
    if tokenizer.sha256 == before.sha256:
        return
    if not (isinstance(before, WordPiece) and isinstance(tokenizer, WordPiece)):
        raise ValueError(
            f"The vocabulary of {source.path} ({before.kind}) is another than that of the data "
            f"({tokenizer.kind}). Only a WordPiece vocabulary can be changed: extend that of the "
            "run by `tfpt vocabulary --extend`, and write the store with it. Else take the run's "
            "own."
        )


def _pieces(before: TextTokenizer, after: TextTokenizer) -> tuple[list[list[int]], int]:
    """For each entry of a vocabulary those before that it is made of, and how many were not there.

    An entry that was there is made of itself. A new one is cut as a word, also where it goes on
    one; of what was unknown it has nothing.
    """
    ids = {entry: number for number, entry in enumerate(before.vocabulary)}
    roles = {after.vocabulary[id_]: before.roles.get(role) for role, id_ in after.roles.items()}
    ids |= {entry: id_ for entry, id_ in roles.items() if id_ is not None}
    new = [entry for entry in after.vocabulary if entry not in ids]
    cut: dict[str, list[int]] = {}
    words = [entry.removeprefix(CONTINUATION_PREFIX) for entry in new]
    for entry, encoding in zip(new, before.encode(words), strict=True):
        cut[entry] = [id_ for id_ in encoding.ids if id_ != before.roles.get("unknown")]
    return [[ids[one]] if one in ids else cut[one] for one in after.vocabulary], len(new)


def _by_entry(value: np.ndarray, weight: Any, pieces: list[list[int]]) -> np.ndarray:
    """The rows of a table for another vocabulary."""
    rows = keras.ops.convert_to_numpy(weight).copy()  # as drawn, for what has no piece
    for number, ids in enumerate(pieces):
        if ids:
            rows[number] = value[ids].mean(axis=0)
    return rows
