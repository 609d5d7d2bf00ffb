r"""Classification of texts, or of pairs of texts, by a pre-trained encoder.

tfpt finetune classify --from runs/bert --set data.name=reviews --out runs/reviews

Measured on SST-2 (sentences: 6,920 to train on, 872 for validation, 1,821 for the test) with the
weights of all-MiniLM-L6-v2, mean and deviation of five seeds, the best epoch by validation:
88.70% +- 0.26. transformers on torch with the same seeds and numbers has 88.69% +- 0.34, and an
epoch takes it 1.99 times as long (README, tests/benchmarks/fine_tuning.py).

tfpt finetune classify --from runs/minilm --set data.name=sst2 --set data.text=0 \
    --set data.label=1 --set data.sequence_length=64 --set training.product_dtype=bfloat16 \
    --set training.step.cpu_shards=2 --seeds 5
"""

from __future__ import annotations  # an annotation would load TensorFlow

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tfpt.config
from tfpt import models, objectives, pipelines
from tfpt.recipes import fine_tuning

if TYPE_CHECKING:
    from tfpt.evaluation import ClassificationReport

MONITOR = "val_classification_accuracy"  # the best epoch has most of it
CHANGES_MONITOR = ("data.label",)  # what is to be told


@dataclass(frozen=True, kw_only=True)
class Data:
    """The labelled texts."""

    name: str = ""  # a folder with train, validation and test files; one file; tfds:NAME
    text: tuple[str, ...] = (
        "text",
    )  # the column of the text, or two of a pair; 0, 1 without header
    label: str = "label"  # the column of the label
    sequence_length: int = 128  # tokens in a row; longer texts are cut
    balanced: bool = False  # whether all classes weigh the same in training, however rare
    vocabulary: str = ""  # only from scratch: vocab.txt, or a folder that holds it

    def __post_init__(self) -> None:
        fine_tuning.check_data(self)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's numbers."""

    data: Data = field(default_factory=Data)
    # Only from scratch: a pre-trained run brings its own. Dropout is set below.
    model: models.Model = models.BERT_SMALL
    training: tfpt.config.FineTuning = field(default_factory=tfpt.config.FineTuning)
    dropout_rate: float = 0.1  # of the encoder and its pooled state, however it was pre-trained
    seed: int = 0  # of the order of the rows, the first weights and dropout
    start: str = ""  # the run whose encoder is taken over (--from); "" trains from scratch

    def __post_init__(self) -> None:
        fine_tuning.check_numbers(self)


def config() -> Config:
    """The numbers this recipe runs with when nothing is overridden."""
    return Config()


def model(
    settings: Config, tokenizer: pipelines.TextTokenizer, label_names: Sequence[str]
) -> objectives.Model:
    """The encoder with a classification head on its pooled state."""
    encoder = fine_tuning.encoder(settings, tokenizer)
    return objectives.model(
        encoder,
        objectives.classification(
            models.at_first(encoder),
            num_classes=len(label_names),
            dropout_rate=settings.dropout_rate,
        ),
    )


def dataset(settings: Config, tokenizer: pipelines.TextTokenizer) -> pipelines.TextClassification:
    """The labelled texts as batches."""
    data = settings.data
    fine_tuning.check_name(data)
    texts = pipelines.text_classification(
        data.name,
        tokenizer,
        sequence_length=data.sequence_length,
        batch_size=settings.training.batch_size,
        text=data.text,
        label=data.label,
        seed=settings.seed,
    )
    return texts.balanced() if data.balanced else texts


def report(
    model: objectives.Model, dataset: Any, label_names: Sequence[str]
) -> ClassificationReport:
    """What it gets right of a finite data set."""
    from tfpt import evaluation  # which loads TensorFlow

    return evaluation.evaluate_classification(model, dataset, label_names)
