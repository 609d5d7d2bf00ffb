r"""Answers to questions, each a stretch of a given context, by a pre-trained encoder.

tfpt finetune answer --from runs/bert --set data.name=squad --out runs/squad

Measured on PolicyQA (a file of 20 documents, 2 of them held out to validate; 4,152 test questions)
with the weights of all-MiniLM-L6-v2, one seed, 36 minutes on 2 cores that did other work too, no
search for better numbers, by its third epoch: exact match 15.0%, F1 41.4%. The whole context as the
answer has 3.2% and 26.6%.

tfpt finetune answer --from runs/minilm --set data.name=dev.json --set data.test=test.json \
    --set data.sequence_length=192 --set data.stride=96 --set data.question_length=32 \
    --set data.answer_length=128 --set training.batch_size=16 --set training.learning_rate=1e-4 \
    --set training.epochs=3 --set training.product_dtype=bfloat16 --set training.step.cpu_shards=2
"""

from __future__ import annotations  # an annotation would load TensorFlow

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tfpt.config
from tfpt import models, objectives, pipelines
from tfpt.config import check, check_choice
from tfpt.recipes import fine_tuning

if TYPE_CHECKING:
    from tfpt.answer_report import AnswerReport, Asked

# The best epoch has least of it. Not the accuracy of windows, most of which have no answer.
MONITOR = "val_question_answering_loss"
# They decide which questions and windows there are; so does a vocabulary, which comes with `start`.
CHANGES_MONITOR = (
    *("data.sequence_length", "data.stride", "data.question_length", "data.vocabulary", "start"),
    *("data.held_out_rate", "data.misplaced"),
)


@dataclass(frozen=True, kw_only=True)
class Data:
    """The questions with their contexts."""

    # A folder with train, validation and test files, or one file; SQuAD's JSON, of 1.1 or 2.0.
    name: str = ""
    validation: str = ""  # where `name` is the file of training questions: that of validation
    test: str = ""  # and of test questions
    # Documents of one file that become its validation questions, and as many its test questions;
    # of training documents those that become validation questions where there are none.
    held_out_rate: float = 0.1
    misplaced: str = "error"  # "drop": answers that do not stand at their places are not learned
    sequence_length: int = 384  # tokens in a row; longer contexts are gone through in windows
    stride: int = 128  # tokens from the beginning of a window to that of the next
    question_length: int = 64  # most tokens of a question; longer ones are cut
    answer_length: int = 30  # most tokens of an answer that is given
    separated: bool = True  # whether words have blanks between them; else as CMRC 2018 evaluates
    vocabulary: str = ""  # only from scratch: vocab.txt, or a folder that holds it

    def __post_init__(self) -> None:
        check(self, "held_out_rate", 0 < self.held_out_rate < 0.5, "a share in (0, 0.5)")
        check_choice(self, "misplaced", ("error", "drop"))
        check(self, "answer_length", self.answer_length >= 1, "at least 1 token")
        _ = self.windows  # raises where they do not fit a row

    @property
    def windows(self) -> pipelines.ContextWindows:
        """How questions and contexts are cut into rows."""
        return pipelines.ContextWindows(
            sequence_length=self.sequence_length,
            stride=self.stride,
            question_length=self.question_length,
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's numbers."""

    data: Data = field(default_factory=Data)
    # Only from scratch: a pre-trained run brings its own. Dropout is set below.
    model: models.Model = fine_tuning.WITHOUT_POOLER
    training: tfpt.config.FineTuning = field(default_factory=tfpt.config.FineTuning)
    dropout_rate: float = 0.1  # of the encoder and its states, however it was pre-trained
    seed: int = 0  # of the order of the windows, the first weights and dropout
    start: str = ""  # the run whose encoder is taken over (--from); "" trains from scratch

    def __post_init__(self) -> None:
        fine_tuning.check_numbers(self)


def config() -> Config:
    """The numbers this recipe runs with when nothing is overridden."""
    return Config()


def model(
    settings: Config, tokenizer: pipelines.TextTokenizer, label_names: Sequence[str] = ()
) -> objectives.Model:
    """The encoder with a head that tells the first and the last token of an answer."""
    encoder = fine_tuning.encoder(settings, tokenizer, has_pooler=False)
    head = objectives.question_answering(encoder, dropout_rate=settings.dropout_rate)
    return objectives.model(encoder, head)


def dataset(settings: Config, tokenizer: pipelines.TextTokenizer) -> pipelines.QuestionAnswering:
    """The questions with windows of their contexts as batches."""
    data = settings.data
    return pipelines.question_answering(
        fine_tuning.files(data, "SQuAD's .json"),
        tokenizer,
        windows=data.windows,
        batch_size=settings.training.batch_size,
        misplaced=data.misplaced,
        held_out_rate=data.held_out_rate,
        seed=settings.seed,
    )


def judged(settings: Config, data: pipelines.QuestionAnswering, split: str) -> Asked:
    """What `report` needs of a split.

    Answers are put together from windows, and the threshold for no answer is chosen on the
    questions of validation.
    """
    from tfpt import answer_report  # which loads TensorFlow

    numbers = settings.data

    def of(name: str, validation: Asked | None) -> Asked:
        return answer_report.Asked(
            split=data.splits[name],
            batches=getattr(data, name),
            by_words=numbers.separated,
            answer_length=numbers.answer_length,
            validation=validation,
        )

    return of(split, None if split == "validation" else of("validation", None))


def report(
    model: objectives.Model, dataset: Asked, label_names: Sequence[str] = ()
) -> AnswerReport:
    """How well it answers questions; `dataset` is what `judged` gives."""
    from tfpt import answer_report

    return answer_report.evaluate_answers(model, dataset)
