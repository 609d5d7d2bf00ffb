"""Without tensorflow-text, texts are tokenized in Python: same ids, and a warning."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tfpt.pipelines import outside_graph, train_byte_pair, train_unigram, train_wordpiece

DOCUMENTS = [("The low tide is wider.", "A new tide."), ("The lowest river is new.",)] * 4
TEXTS = ["The lowest  tide!", "", "caf\u00e9 \u6211 e\u0301", " \t"]
TOKENIZERS = {
    "wordpiece": train_wordpiece(DOCUMENTS, 45),
    "byte pair": train_byte_pair(DOCUMENTS, 275),
    "sentencepiece": train_unigram(DOCUMENTS, 24),
}

WITHOUT = """
import json, sys, warnings
sys.modules["tensorflow_text"] = None
warnings.simplefilter("always")
import tensorflow as tf
from tfpt import pipelines
tokenizer = pipelines.load_tokenizer(sys.argv[1])
texts, documents = json.loads(sys.argv[2])
dataset = tf.data.Dataset.from_tensor_slices(texts).batch(len(texts))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = {
        "in_graph": tokenizer.in_graph,
        "eager": tokenizer.tokenize(texts).to_list(),
        "dataset": next(iter(dataset.map(tokenizer.tokenize))).to_list(),
        "bytes": [part.to_list() for part in tokenizer.tokenize_with_offsets(texts)],
        "characters": [
            part.to_list()
            for part in next(iter(dataset.map(
                lambda texts: tokenizer.tokenize_with_offsets(texts, unit="character"))))
        ],
        "encode": tokenizer.encode(texts),
        "none": tokenizer.tokenize(tf.constant([], tf.string)).to_list(),
        "resources": len(tokenizer.resources),
    }
    store = pipelines.write_store([tuple(one) for one in documents], tokenizer, sys.argv[1] + "-s")
    found["store"] = store.token_ids.tolist()
found["warnings"] = [str(one.message) for one in caught if "tensorflow-text" in str(one.message)]
print(json.dumps(found))
"""


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_ids_and_spans_are_the_same_without_tensorflow_text(kind, tmp_path):
    tokenizer = TOKENIZERS[kind]
    tokenizer.save(tmp_path / "saved")
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, tmp_path / "saved", json.dumps([TEXTS, DOCUMENTS])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    ids = tokenizer.tokenize(TEXTS).to_list()
    assert found["eager"] == found["dataset"] == ids
    assert found["none"] == []
    for unit in ("byte", "character"):
        parts = tokenizer.tokenize_with_offsets(TEXTS, unit=unit)
        assert found[f"{unit}s"] == [part.to_list() for part in parts]
    assert found["encode"] == [list(encoding) for encoding in tokenizer.encode(TEXTS)]
    flat = [id_ for row in tokenizer.tokenize(sum(DOCUMENTS, ())).to_list() for id_ in row]
    assert found["store"] == flat
    needs_it = kind != "byte pair"
    assert found["in_graph"] == (not needs_it)
    assert found["resources"] == 0
    assert len(found["warnings"]) == needs_it
    assert not needs_it or "an exported model takes tokens, not texts" in found["warnings"][0]


def test_with_it_there_is_neither_a_warning_nor_a_detour(recwarn):
    assert outside_graph.tensorflow_text() is not None
    assert all(tokenizer.in_graph for tokenizer in TOKENIZERS.values())
    assert not [one for one in recwarn if "tensorflow-text" in str(one.message)]


@pytest.mark.parametrize("text", ["", "ascii", "\u00e9\u6211a\U0001f600b"])
def test_offsets_in_bytes_become_offsets_in_characters(text):
    places = np.cumsum([0, *(len(character.encode()) for character in text)]).tolist()
    assert outside_graph.characters_from_bytes(text, places) == list(range(len(text) + 1))
