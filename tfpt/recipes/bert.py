"""BERT: masked words and next sentences, on a token store.

tfpt vocabulary 'texts/*.txt' --size 8000 --out vocab.txt
tfpt store 'texts/*.txt' --vocabulary vocab.txt --out stores/train
tfpt pretrain bert --set data.store=stores/train --out runs/bert
"""

from __future__ import annotations  # an annotation would load TensorFlow

from dataclasses import dataclass, field

import tfpt.config
from tfpt import models, objectives, pipelines
from tfpt.config import check


@dataclass(frozen=True, kw_only=True)
class Data:
    """What the batches are drawn from."""

    store: str = ""  # the token store to train on
    validation_store: str = ""  # a token store of other texts, of the same vocabulary; "" for none
    sequence_length: int = 128  # tokens in a row
    mask_rate: float = 0.15  # share of ordinary tokens to predict

    def __post_init__(self) -> None:
        check(self, "sequence_length", self.sequence_length >= 8, "at least 8 tokens")
        check(self, "mask_rate", 0 < self.mask_rate < 1, "a share in (0, 1)")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The recipe's numbers."""

    data: Data = field(default_factory=Data)
    model: models.Model = models.BERT_SMALL
    training: tfpt.config.Training = field(default_factory=tfpt.config.Training)
    seed: int = 0  # of the batches, the first weights and dropout

    def __post_init__(self) -> None:
        if self.data.sequence_length > self.model.max_sequence_length:
            raise ValueError(
                f"`data.sequence_length` is {self.data.sequence_length}, but the model has "
                f"positions for {self.model.max_sequence_length} tokens; raise "
                "model.max_sequence_length."
            )


def config() -> Config:
    """The numbers this recipe runs with when nothing is overridden."""
    return Config()


def model(settings: Config, tokenizer: pipelines.Tokenizer) -> objectives.Model:
    """The encoder with both of BERT's objectives."""
    dtype = settings.training.product_dtype
    encoder = models.encoder(settings.model, tokenizer.vocabulary_size, product_dtype=dtype)
    return objectives.model(
        encoder,
        objectives.masked_lm(encoder, product_dtype=dtype),
        objectives.next_sentence(encoder),
    )


def dataset(settings: Config) -> pipelines.Pretraining:
    """Batches drawn from the store; the same validation batches each time."""
    data, training = settings.data, settings.training
    if not data.store:
        raise ValueError(
            "`data.store` is not set: the folder of a token store, as `tfpt store` writes it. "
            "Pass --set data.store=FOLDER."
        )
    return pipelines.pretraining_batches(
        data.store,
        data.validation_store or None,
        sequence_length=data.sequence_length,
        batch_size=training.batch_size,
        validation_steps=training.validation_steps,
        seed=settings.seed,
        mask_rate=data.mask_rate,
    )
