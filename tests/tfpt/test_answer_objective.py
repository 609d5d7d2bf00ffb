"""The head of answers: what its logits, its loss and its accuracy are."""

import keras
import numpy as np
import pytest
import scipy.special
import tiny_bert

from tfpt import features, models, objectives
from tfpt.objectives.answers import MASKED_LOGIT

B, T, V = tiny_bert.B, tiny_bert.T, tiny_bert.V
NAME = features.QUESTION_ANSWERING


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    encoder = models.encoder(tiny_bert.size(has_pooler=False), V)
    return objectives.model(encoder, objectives.question_answering(encoder))


@pytest.fixture(scope="module")
def batch():
    inputs = tiny_bert.rows()[0]
    del inputs["mask_positions"]
    random = np.random.default_rng(2)
    # [CLS], and some of what is there from the middle on.
    mask = inputs["padding_mask"] * (random.random((B, T)) < 0.8) * (np.arange(T) >= T // 3)
    mask[:, 0] = 1
    inputs["answer_mask"] = mask.astype(np.int32)
    places = [np.sort(random.choice(np.flatnonzero(row), 2)) for row in mask]
    weights = np.ones((B, 2), np.float32)
    weights[-2:] = 0
    return inputs, {NAME: np.array(places, np.int32)}, {NAME: weights}


def test_logits_are_of_places_and_those_that_are_masked_out_never_win(model, batch):
    assert model.output[NAME].shape == (None, 2, None)
    assert set(model.input) == {"token_ids", "segment_ids", "padding_mask", "answer_mask"}
    logits = model(batch[0])[NAME].numpy()
    assert logits.shape == (B, 2, T)
    is_masked = np.repeat(batch[0]["answer_mask"][:, None] == 0, 2, axis=1)
    assert is_masked.any()
    assert (logits[is_masked] == MASKED_LOGIT).all()
    assert (np.abs(logits[~is_masked]) < 100).all()
    # The other logits are those of a product of the states.
    of_encoder = {name: batch[0][name] for name in model.encoder.input}
    states = model.encoder(of_encoder)["sequence_output"]
    expected = model.get_layer(f"{NAME}_head")(states).numpy().transpose(0, 2, 1)
    np.testing.assert_allclose(logits[~is_masked], expected[~is_masked], rtol=1e-5, atol=1e-6)


def test_the_loss_is_the_mean_of_both_places_and_a_row_is_right_where_both_are(model, batch):
    inputs, labels, weights = batch
    labels = {NAME: labels[NAME].copy()}
    logits = model(inputs)[NAME].numpy().astype(np.float64)
    best = logits.argmax(axis=-1)
    # A row that is right in both places, and one that is in the first alone.
    others = [place for place in np.flatnonzero(inputs["answer_mask"][1]) if place != best[1, 1]]
    labels[NAME][:2] = best[0], (best[1, 0], others[0])
    model.compile(jit_compile=False)
    logs = model.evaluate(inputs, y=labels, sample_weight=weights, verbose=0, return_dict=True)
    shares = scipy.special.log_softmax(logits, axis=-1)
    losses = -np.take_along_axis(shares, labels[NAME][..., None], axis=-1)[..., 0]
    counts = weights[NAME][:, 0] > 0
    both = (best == labels[NAME]).all(axis=1)
    assert (best[1] == labels[NAME][1]).tolist() == [True, False]
    assert logs[f"{NAME}_loss"] == pytest.approx(losses[counts].mean(), rel=1e-5)
    assert logs[f"{NAME}_accuracy"] == pytest.approx(both[counts].mean())


def test_a_packed_encoder_is_refused():
    encoder = models.encoder(tiny_bert.size(), V, packed=True)
    with pytest.raises(ValueError, match="takes one question to a row; the encoder is a packed"):
        objectives.question_answering(encoder)
