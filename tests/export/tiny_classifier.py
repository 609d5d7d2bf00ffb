"""A classifier for any tokenizer, with random weights that follow from nothing but its sizes."""

import keras
import numpy as np

from tfpt import models, objectives

LABELS = ("bad", "good")
SEQUENCE_LENGTH = 12


def build(tokenizer):
    size = models.Model(
        num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32, max_sequence_length=16
    )
    keras.utils.set_random_seed(0)
    encoder = models.encoder(size, tokenizer.vocabulary_size)
    model = objectives.model(encoder, objectives.classification(encoder, num_classes=2))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    return model
