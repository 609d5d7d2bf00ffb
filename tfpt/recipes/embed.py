r"""Embeddings of texts, those that mean the same near to each other, by a pre-trained encoder.

tfpt finetune embed --from runs/minilm --set data.name=questions --set data.text=question \
    --set data.label=intent --out runs/questions

What means the same the columns tell: `data.text=first,second` are pairs (a third column means
something else; `data.score` and `data.least_score` choose among them), one column and `data.label`
are texts of a label, one column alone is SimCSE.

Measured with the weights of all-MiniLM-L6-v2, which was trained for this already, one seed each, on
2 cores that did other work too; there was no search for better numbers:

Banking77, --set data.name=FOLDER --set data.label=category --set data.sequence_length=32 \
    --set training.epochs=1 (12 minutes): of 3,080 test texts the nearest other one has the same
    label, recall at 1: 0.8941, without training 0.8828; at 10: 0.9727, without 0.9740.
STS-B, the pairs of scores from 4 on, --set 'data.name=FOLDER/stsb-en-*.csv' --set data.text=0,1 \
    --set data.score=2 --set data.least_score=4 --set data.similarity=FOLDER/stsb-en-test.csv \
    --set data.sequence_length=32 --set training.learning_rate=2e-5 --set training.epochs=4 \
    --set training.product_dtype=bfloat16 (6 minutes): Spearman on the test pairs 0.8227, without
    training 0.8180 (0.8203 with rows of 64 tokens).
"""

from __future__ import annotations  # an annotation would load TensorFlow

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import tfpt.config
from tfpt import config as fields
from tfpt import models, objectives, pipelines
from tfpt.recipes import fine_tuning

if TYPE_CHECKING:
    from tfpt.embedding_report import EmbeddingReport
    from tfpt.pipelines import JudgedTexts, TextEmbedding

# The best epoch has least of it. Not the accuracy: of a text and itself that is always 1 where
# there is no dropout. Of such texts the loss tells how far they are from each other.
MONITOR = "val_contrastive_loss"
# The loss is of likenesses divided by the temperature, and of telling a text from all of a batch.
CHANGES_MONITOR = (
    *("training.batch_size", "temperature"),
    *("data.text", "data.label", "data.score", "data.least_score"),
)


@dataclass(frozen=True, kw_only=True)
class Data:
    """The texts, and what tells which of them mean the same."""

    # A folder with train, validation and test files; one file; tfds:NAME. Without pairs and labels
    # also .txt, a text a line.
    name: str = ""
    # One column, the two of a pair, or these and one that means something else; 0, 1 without header
    text: tuple[str, ...] = ("text",)
    label: str = ""  # the column of the label, of one column of text
    score: str = ""  # of pairs the column of a score of how alike they are
    least_score: float | None = None  # pairs of less are left out
    similarity: str = ""  # a file of pairs with scores, to compare with in evaluations
    similarity_columns: tuple[str, ...] = ("0", "1", "2")  # of its texts and its score
    sequence_length: int = 64  # tokens in a row; longer texts are cut
    vocabulary: str = ""  # only from scratch: vocab.txt, or a folder that holds it

    def __post_init__(self) -> None:
        self.columns()  # raises where they do not go together
        holds = len(self.similarity_columns) == 3
        fields.check(self, "similarity_columns", holds, "two columns of texts and one of the score")
        fields.check(self, "sequence_length", self.sequence_length >= 8, "at least 8 tokens")

    def columns(self) -> pipelines.EmbeddingColumns:
        """What tells which texts mean the same."""
        return pipelines.EmbeddingColumns(
            text=self.text, label=self.label, score=self.score, least_score=self.least_score
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's numbers."""

    data: Data = field(default_factory=Data)
    # Only from scratch: a pre-trained run brings its own. Dropout is set below.
    model: models.Model = fine_tuning.WITHOUT_POOLER
    # A batch tells apart what is in it: more rows are more to tell apart. Of three columns its size
    # is a multiple of 3.
    training: tfpt.config.FineTuning = field(
        default_factory=lambda: tfpt.config.FineTuning(batch_size=96)
    )
    pooling: str = "mean"  # of the tokens' states: "mean", or "first", that of [CLS]
    temperature: float = 0.05  # what likenesses are divided by; less looks at the nearest ones more
    dropout_rate: float = 0.1  # of the encoder, however it was pre-trained
    seed: int = 0  # of the order of the rows and their partners, the first weights and dropout
    start: str = ""  # the run whose encoder is taken over (--from); "" trains from scratch

    def __post_init__(self) -> None:
        fine_tuning.check_numbers(self)
        fields.check_choice(self, "pooling", fields.EMBEDDINGS)
        fields.check(self, "temperature", self.temperature > 0, "a positive number")
        is_alone = len(self.data.text) == 1 and not self.data.label
        expected = "more than 0 where nothing else tells a text from itself: no pairs, no labels"
        fields.check(self, "dropout_rate", self.dropout_rate > 0 or not is_alone, expected)
        transfer = self.training.transfer
        expected = "more than 0, or none for all: an embedder has no head to train"
        fields.check(transfer, "trained_layers", transfer.trained_layers != 0, expected)
        step = self.training.step
        for name in ("accumulation_steps", "cpu_shards"):
            fields.check(step, name, getattr(step, name) == 1, "1: texts of a batch are compared")


def config() -> Config:
    """The numbers this recipe runs with when nothing is overridden."""
    return Config()


def model(
    settings: Config, tokenizer: pipelines.TextTokenizer, label_names: Sequence[str] = ()
) -> objectives.Model:
    """The encoder, pooled to an embedding of each text."""
    encoder = fine_tuning.encoder(settings, tokenizer, has_pooler=False)
    embedder = models.embedder(encoder, pooling=settings.pooling)
    head = objectives.contrastive(embedder, temperature=settings.temperature)
    return objectives.model(encoder, head)


def dataset(settings: Config, tokenizer: pipelines.TextTokenizer) -> TextEmbedding:
    """The texts as batches, and the scored pairs."""
    data = settings.data
    fine_tuning.check_name(data)
    shared = {"sequence_length": data.sequence_length, "batch_size": settings.training.batch_size}
    found = pipelines.text_embedding(
        data.name, tokenizer, columns=data.columns(), seed=settings.seed, **shared
    )
    if not data.similarity:
        return found
    scored = pipelines.scored_pairs(
        data.similarity, tokenizer, columns=data.similarity_columns, **shared
    )
    return replace(found, scored=scored)


def judged(settings: Config, data: TextEmbedding, split: str) -> JudgedTexts:
    """What `report` needs of a split: each text once, and the scored pairs."""
    return data.judged(split)


def report(
    model: objectives.Model, dataset: JudgedTexts, label_names: Sequence[str] = ()
) -> EmbeddingReport:
    """What is found by its embeddings, and whether they are alike where people say so."""
    from tfpt import embedding_report  # which loads TensorFlow

    return embedding_report.evaluate_embeddings(model, dataset)
