r"""Tags of words, such as named entities or slots, by a pre-trained encoder.

tfpt finetune tag --from runs/bert --set data.name=ner --out runs/ner

Measured on WNUT-17 (emerging and rare entities, Derczynski et al. 2017,
https://aclanthology.org/W17-4418; 3,394 training and 1,287 test sentences) with the weights of
all-MiniLM-L6-v2, mean and deviation of three seeds, no search for better numbers: F1 of whole
entities 40.7% +- 1.8, precision 52.5% +- 1.0, recall 33.3% +- 2.8. 18 test sentences are cut at 94
tokens; what is lost counts as missed.

tfpt finetune tag --from runs/minilm --set data.name=wnut17train.conll \
    --set data.validation=emerging.dev.conll --set data.test=emerging.test.annotated \
    --set data.sequence_length=96 --set training.learning_rate=3e-4 --set training.epochs=5 \
    --set training.product_dtype=bfloat16 --set training.step.cpu_shards=2 --seeds 3
"""

from __future__ import annotations  # an annotation would load TensorFlow

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import tfpt.config
from tfpt import models, objectives, pipelines
from tfpt.config import check
from tfpt.recipes import fine_tuning

if TYPE_CHECKING:
    from tfpt.entities import EntityReport
    from tfpt.pipelines.token_classification import TaggedSentence

MONITOR = "val_token_classification_accuracy"  # of words; the best epoch has most of it
# They decide which words there are, and which of them a row holds; so does a vocabulary, which
# comes with `start`.
CHANGES_MONITOR = (
    *("data.sequence_length", "data.separated", "data.vocabulary", "start"),
    *("data.word", "data.tag", "data.numbered"),
)


@dataclass(frozen=True, kw_only=True)
class Data:
    """The sentences with tagged words."""

    # A folder with train, validation and test files, or one file; CoNLL or .jsonl.
    name: str = ""
    validation: str = ""  # where `name` is the file of training sentences: that of validation
    test: str = ""  # and of test sentences
    word: str = ""  # the column of words, from 0 (.jsonl: the field); "" is the first (`words`)
    tag: str = ""  # the column of tags, from 0; "" is the last (`tags`)
    numbered: bool = False  # whether a number is glued to each word
    separated: bool = True  # whether words have blanks between them; characters of Chinese have not
    sequence_length: int = 128  # tokens in a row; longer sentences are cut
    vocabulary: str = ""  # only from scratch: vocab.txt, or a folder that holds it

    def __post_init__(self) -> None:
        check(self, "sequence_length", self.sequence_length >= 8, "at least 8 tokens")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's numbers."""

    data: Data = field(default_factory=Data)
    # Only from scratch: a pre-trained run brings its own. Dropout is set below.
    model: models.Model = fine_tuning.WITHOUT_POOLER
    training: tfpt.config.FineTuning = field(default_factory=tfpt.config.FineTuning)
    dropout_rate: float = 0.1  # of the encoder and its states, however it was pre-trained
    seed: int = 0  # of the order of the sentences, the first weights and dropout
    start: str = ""  # the run whose encoder is taken over (--from); "" trains from scratch

    def __post_init__(self) -> None:
        fine_tuning.check_numbers(self)


def config() -> Config:
    """The numbers this recipe runs with when nothing is overridden."""
    return Config()


def model(
    settings: Config, tokenizer: pipelines.TextTokenizer, label_names: Sequence[str]
) -> objectives.Model:
    """The encoder with a classification head on the state of each token."""
    encoder = fine_tuning.encoder(settings, tokenizer, has_pooler=False)
    return objectives.model(
        encoder,
        objectives.token_classification(
            encoder, num_classes=len(label_names), dropout_rate=settings.dropout_rate
        ),
    )


def dataset(settings: Config, tokenizer: pipelines.TextTokenizer) -> pipelines.TokenClassification:
    """The tagged sentences as batches."""
    data = settings.data
    return pipelines.token_classification(
        fine_tuning.files(data, "CoNLL or .jsonl"),
        tokenizer,
        sequence_length=data.sequence_length,
        batch_size=settings.training.batch_size,
        columns=pipelines.TagColumns(word=data.word, tag=data.tag, numbered=data.numbered),
        separator=" " if data.separated else "",
        seed=settings.seed,
    )


class Judged(NamedTuple):
    """What `report` needs of a split."""

    batches: Any
    sentences: Sequence[TaggedSentence]


def judged(settings: Config, data: pipelines.TokenClassification, split: str) -> Judged:
    """The batches of a split beside its sentences, which have words that no batch can tag."""
    return Judged(getattr(data, split), data.splits[split].sentences)


def report(model: objectives.Model, dataset: Judged, label_names: Sequence[str]) -> EntityReport:
    """What it finds; `dataset` is what `judged` gives."""
    from tfpt import entities  # which loads TensorFlow

    return entities.evaluate_entities(
        model, dataset.batches, sentences=dataset.sentences, label_names=label_names
    )
