"""A tiny classifier with a vocabulary of its own, and what Keras answers for a text.

Makes `tiny_classifier` importable, as it is for the script beside it, which a test runs.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpt import models, objectives
from tfpt.pipelines import Tokenizer
from tfpt.pipelines.packing import pack_segments

sys.path.insert(0, str(Path(__file__).parent))

SEQUENCE_LENGTH = 12
LABELS = ("schlecht", "größer", "weiß nicht")
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@pytest.fixture(scope="session")
def tokenizer():
    words = ["a", "film", "good", "bad", "gripping", "the", "plot", "is", "thin", "größe"]
    return Tokenizer([*SPECIALS, *words, "##ness", "##s", "!", ".", ","])


@pytest.fixture(scope="session")
def labels():
    return LABELS


@pytest.fixture(scope="session")
def sequence_length():
    return SEQUENCE_LENGTH


@pytest.fixture(scope="session")
def build(tokenizer):
    """A function that builds a classifier with random weights, so that texts differ in scores."""

    def built(*, num_classes=3, max_sequence_length=16, seed=1):
        size = models.Model(
            num_layers=2,
            hidden_dim=16,
            num_heads=2,
            intermediate_dim=32,
            max_sequence_length=max_sequence_length,
        )
        keras.utils.set_random_seed(seed)
        encoder = models.encoder(size, tokenizer.vocabulary_size)
        head = objectives.classification(encoder, num_classes=num_classes)
        model = objectives.model(encoder, head)
        random = np.random.default_rng(seed)
        for weight in model.weights:
            mean = 1.0 if weight.path.endswith("scale") else 0.0
            weight.assign(random.normal(mean, 1.0, weight.shape))
        return model

    return built


@pytest.fixture(scope="session")
def classifier(build):
    return build()


@pytest.fixture(scope="session")
def keras_scores(tokenizer):
    """A function from a model and texts, once or twice, to its scores, (B, C)."""

    def scores(model, *texts):
        packed = pack_segments(
            [tokenizer.tokenize(tf.constant(part, tf.string)) for part in texts],
            sequence_length=SEQUENCE_LENGTH,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
        )
        names = ("token_ids", "segment_ids", "padding_mask")
        logits = model(dict(zip(names, packed, strict=True)))["classification"]
        return tf.nn.softmax(logits).numpy()

    return scores
