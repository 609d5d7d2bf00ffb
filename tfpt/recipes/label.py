"""Any number of labels for texts, or for pairs of texts, by a pre-trained encoder.

tfpt finetune label --from runs/bert --set data.name=articles --out runs/articles
"""

from __future__ import annotations  # an annotation would load TensorFlow

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tfpt.config
from tfpt import models, objectives, pipelines
from tfpt.config import check
from tfpt.recipes import fine_tuning

if TYPE_CHECKING:
    from tfpt.multi_label_report import MultiLabelReport

# The best epoch has least of it: where labels are rare, an accuracy says little.
MONITOR = "val_multi_label_loss"
CHANGES_MONITOR = ("data.label", "data.separator")  # what is to be told


@dataclass(frozen=True, kw_only=True)
class Data:
    """The labelled texts."""

    name: str = ""  # a folder with train, validation and test files; one file; tfds:NAME
    text: tuple[str, ...] = (
        "text",
    )  # the column of the text, or two of a pair; 0, 1 without header
    label: str = "labels"  # the column of the labels: lists of them, or text
    separator: str = ","  # between two labels, where they are text
    sequence_length: int = 128  # tokens in a row; longer texts are cut
    vocabulary: str = ""  # only from scratch: vocab.txt, or a folder that holds it

    def __post_init__(self) -> None:
        fine_tuning.check_data(self)
        check(self, "separator", bool(self.separator), "at least one character")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's numbers."""

    data: Data = field(default_factory=Data)
    # Only from scratch: a pre-trained run brings its own. Dropout is set below.
    model: models.Model = models.BERT_SMALL
    training: tfpt.config.FineTuning = field(default_factory=tfpt.config.FineTuning)
    threshold: float = 0.5  # the probability from which on a text is given a label, in (0, 1)
    dropout_rate: float = 0.1  # of the encoder and its pooled state, however it was pre-trained
    seed: int = 0  # of the order of the rows, the first weights and dropout
    start: str = ""  # the run whose encoder is taken over (--from); "" trains from scratch

    def __post_init__(self) -> None:
        check(self, "threshold", 0 < self.threshold < 1, "a probability in (0, 1)")
        fine_tuning.check_numbers(self)


def config() -> Config:
    """The numbers this recipe runs with when nothing is overridden."""
    return Config()


def model(
    settings: Config, tokenizer: pipelines.TextTokenizer, label_names: Sequence[str]
) -> objectives.Model:
    """The encoder with a logit for each label on its pooled state."""
    encoder = fine_tuning.encoder(settings, tokenizer)
    head = objectives.multi_label(
        models.at_first(encoder),
        num_classes=len(label_names),
        dropout_rate=settings.dropout_rate,
        threshold=settings.threshold,
    )
    return objectives.model(encoder, head)


def dataset(
    settings: Config, tokenizer: pipelines.TextTokenizer
) -> pipelines.MultiLabelClassification:
    """The labelled texts as batches."""
    data = settings.data
    fine_tuning.check_name(data)
    return pipelines.multi_label_classification(
        data.name,
        tokenizer,
        sequence_length=data.sequence_length,
        batch_size=settings.training.batch_size,
        text=data.text,
        label=pipelines.Separated(data.label, data.separator),
        seed=settings.seed,
    )


def report(model: objectives.Model, dataset: Any, label_names: Sequence[str]) -> MultiLabelReport:
    """Which labels it gets right of a finite data set."""
    from tfpt import multi_label_report  # which loads TensorFlow

    threshold = model.get_layer("multi_label_head").threshold
    return multi_label_report.evaluate_multi_label(model, dataset, label_names, threshold=threshold)
