"""A model of questions for any tokenizer, with random weights that follow from its sizes."""

import keras
import numpy as np

from tfpt import models, objectives
from tfpt.pipelines import ContextWindows

WINDOWS = ContextWindows(sequence_length=24, stride=7, question_length=8)
ANSWER_LENGTH = 5


def build(tokenizer):
    size = models.Model(
        num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32, max_sequence_length=24
    )
    keras.utils.set_random_seed(0)
    encoder = models.encoder(size, tokenizer.vocabulary_size)
    model = objectives.model(encoder, objectives.question_answering(encoder))
    random = np.random.default_rng(0)
    # Norms and biases stay, and tokens outweigh what rows have in common: their answers differ.
    for weight in model.weights:
        if len(weight.shape) > 1:
            deviation = 3.0 if weight.path.startswith("token_embedding") else 0.2
            weight.assign(random.normal(0, deviation, weight.shape))
    return model
