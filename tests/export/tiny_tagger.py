"""A tagger for any tokenizer, with random weights that follow from nothing but its sizes."""

import keras
import numpy as np

from tfpt import models, objectives

LABELS = ("O", "B-loc", "I-loc", "B-per", "I-per")
SEQUENCE_LENGTH = 24


def build(tokenizer, labels=LABELS):
    size = models.Model(
        num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32, max_sequence_length=24
    )
    keras.utils.set_random_seed(0)
    encoder = models.encoder(size, tokenizer.vocabulary_size)
    head = objectives.token_classification(encoder, num_classes=len(labels))
    model = objectives.model(encoder, head)
    random = np.random.default_rng(0)
    # Norms and biases stay, and tokens outweigh what rows have in common: their tags differ.
    for weight in model.weights:
        if len(weight.shape) > 1:
            deviation = 3.0 if weight.path.startswith("token_embedding") else 0.2
            weight.assign(random.normal(0, deviation, weight.shape))
    return model
