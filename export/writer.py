"""Writing a trained model as a SavedModel that takes plain strings."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

from tfpt import checkpoints, config, epoch_records, features, models, peft
from tfpt.export.answerer import saved_answerer
from tfpt.export.classifier import class_answers
from tfpt.export.embedder import embedding_answers
from tfpt.export.entity_spans import Tags
from tfpt.export.labeller import label_answers
from tfpt.export.scorer import score_answers
from tfpt.export.tagger import Tagger
from tfpt.export.text_model import Answers, TextModel
from tfpt.export.versions import check_sizes, write_version
from tfpt.pipelines.packing import check_sequence_length
from tfpt.pipelines.tokenizer import TextTokenizer

# The outputs of models that can be exported.
_EMBEDDINGS = (features.CONTRASTIVE, features.EMBEDDING)
_EXPORTED = (
    *(features.MULTI_LABEL, features.REGRESSION, features.CLASSIFICATION),
    *_EMBEDDINGS,
    features.TOKEN_CLASSIFICATION,
)


def saved_model(
    model: keras.Model,
    tokenizer: TextTokenizer,
    path: str | Path,
    *,
    labels: Sequence[str] = (),
    sequence_length: int = 128,
    num_texts: int = 1,
    separator: str = " ",
) -> Path:
    """Write a fine-tuned model or an embedder as the next version below `path`, for TF Serving.

    Its signature `serving_default` takes `text` (or `text_a` and `text_b`), string (B,), and gives,
    by the output of the model,

        classification  `label`, string (B,), `score`, float32 (B,), and `scores`, float32 (B, C);
        multi_label     `labels`, string, `scores`, float32, and `chosen`, bool, (B, C) each: every
                        label, its probability, and whether that reaches the threshold;
        regression      `score`, float32 (B,), in the units of the data;
        contrastive, embedding  `embedding`, float32 (B, H), of length 1: texts are as alike as the
                        product of their embeddings is large;
        token_classification    the entities of each text from left to right: how many it has,
                        `count` int32 (B,), and, (B, E) with E the most of a text in the request,
                        `label` and `text` (strings), `score` (float32, the mean probability of the
                        tags of its words), `start` and `end` (int64, bytes of the text as it was
                        given; `text` is what lies between them), `char_start` and `char_end`
                        (int64, characters). Past `count` stand "" and 0. Words are what stands
                        between white space, so that punctuation at a word is a part of it; at the
                        ends of an entity it is taken off. Tags are read strictly, see
                        `pipelines.tags`.

    The signature `tokens` gives the same for `token_ids`, `segment_ids` and `padding_mask`, int32
    (B, T), as training packs them; of a tagger `label` and `score` (B, T) and `scores` (B, T, C).
    Tokenizer, vocabulary and labels are inside; reading it needs
    TensorFlow and, but for a byte pair tokenizer, tensorflow-text. The version appears when it is
    whole.

    Where tensorflow-text is not installed and the tokenizer needs it, `tokens` is the only
    signature, which a warning says.

    Args:
        model: From `objectives.model`, with one of these outputs, or from `models.embedder`.
        tokenizer: The one the model was trained with.
        path: The folder of the model's versions, such as models/sst2.
        labels: The name of each class or label, by its id; of scores and embeddings none.
        sequence_length: Most tokens in a row; longer texts are cut.
        num_texts: 1, or 2 for a model of pairs.
        separator: Of the words of a tagger, as it was trained; "" where each character is a word.

    Returns:
        The folder that was written, such as models/sst2/1.

    Raises:
        ValueError: Labels, vocabulary, length or number of texts do not fit the model.
        OSError: The disk is full, or the folder cannot be written.
    """
    check_sequence_length(sequence_length, num_texts)
    _check(model, tokenizer, labels, sequence_length)
    _check_texts(model, num_texts, separator)

    def build(assets: Path) -> TextModel | Tagger:
        if _is_tagger(model):
            return Tagger(
                model,
                tokenizer,
                labels,
                sequence_length=sequence_length,
                separator=separator,
                assets=assets,
            )
        return TextModel(
            model,
            tokenizer,
            _answers(model, labels),
            sequence_length=sequence_length,
            num_texts=num_texts,
            assets=assets,
        )

    return write_version(build, tokenizer, path, labels=labels)


def export_run(
    recipe: ModuleType, run_path: str | Path, path: str | Path, *, embedding: str | None = None
) -> Path:
    """Write the best weights of a run as a SavedModel, computing in float32.

    A model that answers questions tells that there is no answer by the threshold of the last
    evaluation of the run; see `evaluation.evaluate_run`.

    Args:
        recipe: The module that the run's configuration names.
        run_path: The run folder.
        path: The folder of the model's versions.
        embedding: None: what a fine-tuning run learned to answer. "mean" or "first": of the encoder
            of any other run, without its heads, the embedding that `models.embedder` makes by this
            pooling.

    Returns:
        The folder that was written.

    Raises:
        FileNotFoundError: There is no run, or it has no checkpoint.
        ValueError: The run is one of pre-training, and no embedding is asked for; or its model is
            an embedder, and one is.
    """
    run = checkpoints.open_run(run_path)
    is_fine_tuned = hasattr(recipe, "report")
    if not is_fine_tuned and embedding is None:
        raise ValueError(
            f"{run_path} is a pre-training run and has no classes to serve. Fine-tune it first: "
            f"`tfpt finetune classify --from {run_path} ...`. Or export its encoder as it is, for "
            "embeddings of texts: --embedding mean."
        )
    settings = config.from_dict(recipe.config(), run.settings)
    settings = config.from_dict(settings, {"training": {"product_dtype": "float32"}})
    if hasattr(settings, "drawing"):  # the weights of a packed model are those of one that is not
        settings = config.from_dict(settings, {"drawing": {"layout": "padded"}})
    labels = [run.label_names] if is_fine_tuned else []
    model: keras.Model = checkpoints.load(
        run_path, build=lambda run: recipe.model(settings, run.tokenizer, *labels)
    )
    peft.merge_if_possible(model.encoder)  # less to compute
    if embedding is not None:
        if _is_embedder(model):
            raise ValueError(
                f"{run_path} was trained for embeddings, by a pooling of its own: leave out "
                f"--embedding {embedding}."
            )
        embedder = models.embedder(model.encoder, pooling=embedding)
        length = settings.data.sequence_length
        return saved_model(embedder, run.tokenizer, path, sequence_length=length)
    data = settings.data
    if features.QUESTION_ANSWERING in model.output:
        return saved_answerer(
            model,
            run.tokenizer,
            path,
            windows=data.windows,
            answer_length=data.answer_length,
            no_answer_threshold=_threshold_of(run),
        )
    of_texts: dict[str, Any] = (
        {"separator": " " if data.separated else ""}
        if _is_tagger(model)
        else {"num_texts": 1 if _is_embedder(model) else len(data.text)}
    )
    return saved_model(
        model,
        run.tokenizer,
        path,
        labels=run.label_names,
        sequence_length=data.sequence_length,
        **of_texts,
    )


def _threshold_of(run: checkpoints.Run) -> float | None:
    """The threshold for no answer that the evaluation of a run's weights chose."""
    record = run.read_record("evaluation.json")
    if record and record.get("step") == epoch_records.weights_step(run):
        return record["no_answer_threshold"]
    was = "evaluated with other weights" if record else "not evaluated"
    warnings.warn(
        f"{run.path} was {was}, which chooses when there is no answer: the exported model always "
        f"gives one. Where some questions have none, `tfpt evaluate {run.path}` first.",
        stacklevel=3,
    )
    return None


def _check(
    model: keras.Model, tokenizer: TextTokenizer, labels: Sequence[str], sequence_length: int
) -> None:
    output = model.output[_kind(model)]
    has_classes = len(output.shape) > 1 and not _is_embedder(model)
    num_classes = output.shape[-1] if has_classes else 0
    if num_classes != len(labels):
        raise ValueError(
            f"The model tells {num_classes} classes apart; received {len(labels)} labels: {labels}."
        )
    if _is_tagger(model):
        Tags(labels)  # raises where they are no tags
    check_sizes(model, tokenizer, sequence_length)


def _check_texts(model: keras.Model, num_texts: int, separator: str) -> None:
    if (_is_tagger(model) or _is_embedder(model)) and num_texts != 1:
        kind = "A tagger" if _is_tagger(model) else "An embedder"
        raise ValueError(f"{kind} takes one text; received num_texts={num_texts}.")
    if separator not in ("", " "):
        raise ValueError(f"`separator` is a blank or nothing; received {separator!r}.")
    if not _is_tagger(model) and not separator:
        raise ValueError("`separator` is of a tagger, and the model is none. Leave it out.")


def _is_tagger(model: keras.Model) -> bool:
    return _kind(model) == features.TOKEN_CLASSIFICATION


def _is_embedder(model: keras.Model) -> bool:
    return any(name in model.output for name in _EMBEDDINGS)


def _kind(model: keras.Model) -> str:
    """The output that a model is exported by."""
    outputs = model.output if isinstance(model.output, dict) else {}
    found = [name for name in _EXPORTED if name in outputs]
    if not found:
        if features.QUESTION_ANSWERING in outputs:
            raise ValueError("A model that answers questions is written by `saved_answerer`.")
        lacking = ", ".join(f"no output `{name}`" for name in _EXPORTED)
        raise ValueError(
            f"Only fine-tuned models can be exported: the model has {lacking}, its outputs are "
            f"{sorted(outputs)}."
        )
    return found[0]


def _answers(model: keras.Model, labels: Sequence[str]) -> Answers:
    """What is answered of the outputs of a model."""
    kind = _kind(model)
    if kind == features.REGRESSION:
        return score_answers
    if kind in _EMBEDDINGS:
        return embedding_answers
    if kind == features.MULTI_LABEL:
        return label_answers(labels, model.get_layer("multi_label_head").threshold)
    return class_answers(labels)
