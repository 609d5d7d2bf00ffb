r"""A score of texts, or of pairs of texts such as how alike two are, by a pre-trained encoder.

tfpt finetune score --from runs/bert --set data.name=pairs --set data.text=text_a,text_b \
    --out runs/pairs

Measured on STS-B (5,749 training, 1,379 test pairs) with the weights of all-MiniLM-L6-v2, mean and
deviation of three seeds, no search for better numbers: Spearman 0.8239 +- 0.0018, Pearson 0.8331 +-
0.0019. The cosine of the embeddings of the same weights, without fine-tuning, has 0.8203. (When
this was measured, `tfpt import` still drew this checkpoint's pooler, which no head reads, at
random.)

tfpt finetune score --from runs/minilm --set 'data.name=FOLDER/stsb-en-*.csv' --set data.text=0,1 \
    --set data.score=2 --set data.sequence_length=64 --set training.learning_rate=5e-5 \
    --set training.epochs=4 --set training.product_dtype=bfloat16 \
    --set training.step.cpu_shards=2 --seeds 3
"""

from __future__ import annotations  # an annotation would load TensorFlow

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tfpt.config
from tfpt import models, objectives, pipelines
from tfpt.recipes import fine_tuning

if TYPE_CHECKING:
    from tfpt.regression_report import RegressionReport

MONITOR = "val_regression_loss"  # the best epoch has least of it
CHANGES_MONITOR = ("data.score",)  # what is to be told


@dataclass(frozen=True, kw_only=True)
class Data:
    """The texts with their scores."""

    name: str = ""  # a folder with train, validation and test files; one file; tfds:NAME
    text: tuple[str, ...] = (
        "text",
    )  # the column of the text, or two of a pair; 0, 1 without header
    score: str = "score"  # the column of the score, a number
    sequence_length: int = 128  # tokens in a row; longer texts are cut
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
    settings: Config, tokenizer: pipelines.TextTokenizer, label_names: Sequence[str] = ()
) -> objectives.Model:
    """The encoder with a score on its pooled state; `set_units` tells it the units of the data."""
    encoder = fine_tuning.encoder(settings, tokenizer)
    head = objectives.regression(models.at_first(encoder), dropout_rate=settings.dropout_rate)
    return objectives.model(encoder, head)


def set_units(model: objectives.Model, data: pipelines.TextRegression) -> None:
    """Tell the model the mean and the deviation of the training rows' scores."""
    model.get_layer("regression_units").adapt(data.mean, data.deviation)


def dataset(settings: Config, tokenizer: pipelines.TextTokenizer) -> pipelines.TextRegression:
    """The texts with their scores as batches."""
    data = settings.data
    fine_tuning.check_name(data)
    return pipelines.text_regression(
        data.name,
        tokenizer,
        sequence_length=data.sequence_length,
        batch_size=settings.training.batch_size,
        text=data.text,
        score=data.score,
        seed=settings.seed,
    )


def report(
    model: objectives.Model, dataset: Any, label_names: Sequence[str] = ()
) -> RegressionReport:
    """How well it scores a finite data set."""
    from tfpt import regression_report  # which loads TensorFlow

    return regression_report.evaluate_regression(model, dataset)
