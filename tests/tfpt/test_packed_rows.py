"""Rows that hold several texts give what the texts give in rows of their own."""

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert

from tfpt import features, models, objectives, pipelines

S = 3  # texts in a row


def texts(num_rows, seed=0):
    """Rows of S texts of uneven length, and the same texts one to a row, each with its targets."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, tiny_bert.T // S + 1, (num_rows, S))
    lengths[0, -1] = 0  # a row of two texts
    shape = (num_rows, tiny_bert.T)
    packed = {
        name: np.zeros(shape, np.int32)
        for name in ("token_ids", "segment_ids", "padding_mask", "text_ids", "position_ids")
    }
    packed["text_positions"] = np.zeros((num_rows, S), np.int32)
    packed["mask_positions"] = np.zeros((num_rows, S), np.int32)
    single = {
        name: np.zeros((num_rows * S, tiny_bert.T), np.int32)
        for name in ("token_ids", "segment_ids", "padding_mask")
    }
    single["mask_positions"] = np.zeros((num_rows * S, 1), np.int32)
    for row in range(num_rows):
        place = 0
        for number, length in enumerate(lengths[row]):
            if not length:
                continue
            here, alone = np.s_[row, place : place + length], np.s_[row * S + number, :length]
            ids, segments = random.integers(5, tiny_bert.V, length), random.integers(0, 2, length)
            for name, values in (
                ("token_ids", ids),
                ("segment_ids", segments),
                ("padding_mask", 1),
            ):
                packed[name][here] = values
                single[name][alone] = values
            packed["text_ids"][here] = number + 1
            packed["position_ids"][here] = np.arange(length)
            packed["text_positions"][row, number] = place
            target = random.integers(0, length)  # one masked token in each text
            packed["mask_positions"][row, number] = place + target
            single["mask_positions"][row * S + number] = target
            place += length
    used = (lengths > 0).astype(np.float32)
    masked = random.integers(5, tiny_bert.V, (num_rows, S)).astype(np.int32)
    follows = random.integers(0, 2, (num_rows, S)).astype(np.int32)
    labels = {"masked_lm": masked, "next_sentence": follows}
    weights = {"masked_lm": used, "next_sentence": used}
    alone = {name: part.reshape(-1, 1) for name, part in labels.items()}
    alone_weights = {name: part.reshape(-1, 1) for name, part in weights.items()}
    return (packed, labels, weights), (single, alone, alone_weights)


def pretrainer(*, packed):
    encoder = models.encoder(tiny_bert.size(num_layers=2), tiny_bert.V, packed=packed)
    read = models.at_masks(encoder)
    return objectives.model(encoder, objectives.masked_lm(read), objectives.next_sentence(read))


@pytest.fixture(scope="module")
def pair():
    """A packed and an unpacked model of the same random weights."""
    one, many = pretrainer(packed=False), pretrainer(packed=True)
    random = np.random.default_rng(0)
    for weight, other in zip(by_path(one), by_path(many), strict=True):
        assert weight.path == other.path
        weight.assign(random.normal(float(weight.path.endswith("scale")), 0.3, weight.shape))
        other.assign(weight)
    return one, many


def by_path(model):
    return sorted(model.weights, key=lambda weight: weight.path)


def test_outputs_of_packed_texts_are_those_of_texts_alone(pair):
    one, many = pair
    packed, single = texts(6)
    used = packed[2]["masked_lm"].reshape(-1) > 0
    got, expected = many(packed[0]), one(single[0])
    for name, values in expected.items():
        flat = tf.reshape(got[name], values.shape)
        np.testing.assert_allclose(flat.numpy()[used], values.numpy()[used], atol=2e-5)


def test_training_on_packed_rows_is_training_on_the_texts(pair):
    """20 steps of AdamW, the same texts in 6 rows and in 18."""
    trained = []
    for model, number in zip(pair, (1, 0), strict=True):
        begin = [weight.numpy() for weight in by_path(model)]
        tiny_bert.compiled(model, learning_rate=1e-3, total_steps=20, warmup_steps=2)
        batches = [texts(6, seed=step)[number] for step in range(20)]
        losses = [model.train_on_batch(*batch, return_dict=True)["loss"] for batch in batches]
        trained.append((losses, [weight.numpy() for weight in by_path(model)]))
        for weight, value in zip(by_path(model), begin, strict=True):
            weight.assign(value)
    (one_losses, one), (many_losses, many) = trained
    np.testing.assert_allclose(one_losses, many_losses, atol=1e-4)
    for left, right in zip(one, many, strict=True):
        np.testing.assert_allclose(left, right, atol=2e-5)


def one_to_a_row(batch):
    """The texts of a drawn batch in rows of their own, with their targets."""
    inputs, labels, weights = ({name: part.numpy() for name, part in one.items()} for one in batch)
    rows, texts = np.nonzero(weights["next_sentence"])
    places = inputs["text_ids"][rows] == texts[:, None] + 1  # (N, T)
    starts = inputs["text_positions"][rows, texts]
    single = {}
    for name in ("token_ids", "segment_ids", "padding_mask"):
        single[name] = np.zeros(places.shape, np.int32)
        for row, (place, of_row) in enumerate(zip(places, rows, strict=True)):
            single[name][row, : place.sum()] = inputs[name][of_row, place]
    positions = inputs["mask_positions"][rows]
    used = (weights["masked_lm"][rows] > 0) & np.take_along_axis(places, positions, axis=1)
    single["mask_positions"] = (positions - starts[:, None]) * used
    alone = {
        "masked_lm": labels["masked_lm"][rows] * used,
        "next_sentence": labels["next_sentence"][rows, texts][:, None],
    }
    ones = np.ones((len(rows), 1), np.float32)
    return single, alone, {"masked_lm": used.astype(np.float32), "next_sentence": ones}


def test_packed_rows_that_were_drawn_weigh_as_their_texts_alone(pair, tmp_path):
    """Uneven numbers of texts in a row and of targets in a text: every loss and gradient agrees."""
    one, many = pair
    random = np.random.default_rng(0)
    documents = [
        tuple(
            " ".join(f"word{number}" for number in random.integers(0, tiny_bert.V - 5, size))
            for size in random.integers(1, 4, random.integers(1, 5))
        )
        for _ in range(60)
    ]
    store = pipelines.write_store(documents, tiny_bert.TOKENIZER, tmp_path / "s")
    drawing = pipelines.Drawing(
        layout="packed", max_texts=4, masking=pipelines.Masking(rate=0.4, unit="word")
    )
    batches = pipelines.masked_lm(store, sequence_length=16, batch_size=16, drawing=drawing)
    for batch in batches.take(3):
        alone = one_to_a_row(batch)
        assert len(alone[0]["token_ids"]) > 16
        assert alone[2]["masked_lm"].sum() == batch[2]["masked_lm"].numpy().sum()
        (losses, gradients), (expected, expected_gradients) = map(
            losses_and_gradients, (many, one), (batch, alone)
        )
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        for left, right in zip(gradients, expected_gradients, strict=True):
            np.testing.assert_allclose(left, right, atol=1e-5)


def losses_and_gradients(model, batch):
    """The loss of each objective over a batch, and the gradients of their sum, by path."""
    tiny_bert.compiled(model, learning_rate=1e-3, total_steps=20, warmup_steps=2)
    logs = model.test_on_batch(*batch, return_dict=True)
    with tf.GradientTape() as tape:
        outputs = model(batch[0])
        loss = 0.0
        for name, label in batch[1].items():
            weight = tf.reshape(tf.cast(batch[2][name], tf.float32), [-1])
            logits = tf.cast(outputs[name], tf.float32)
            one = tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.reshape(label, [-1]), tf.reshape(logits, [-1, logits.shape[-1]])
            )
            loss += tf.reduce_sum(one * weight) / tf.reduce_sum(weight)
    variables = [weight for weight in by_path(model) if weight.trainable]
    gradients = tape.gradient(loss, [weight.value for weight in variables])
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-4)
    return [logs[name] for name in sorted(logs) if name.endswith("loss")], [
        tf.convert_to_tensor(gradient).numpy() for gradient in gradients
    ]


def test_attention_stays_within_a_text(pair):
    _, many = pair
    features_of, _, _ = texts(6)[0]
    before = many(features_of)["masked_lm"].numpy()
    changed = dict(features_of)
    second = features_of[features.TEXT_IDS] == 2
    changed["token_ids"] = np.where(second, 7, features_of["token_ids"])
    after = many(changed)["masked_lm"].numpy()
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert (before[:, 1] != after[:, 1]).any(axis=-1).all()


def test_a_packed_encoder_does_not_classify():
    encoder = models.encoder(tiny_bert.size(), tiny_bert.V, packed=True)
    with pytest.raises(ValueError, match="without packed=True"):
        objectives.classification(encoder, num_classes=2)
