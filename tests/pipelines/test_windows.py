"""Rows over mapped files: of any size, without a copy."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines import Store, write_store
from tfpt.pipelines.windows import USED, Windows


def store_of(folder, *, num_tokens, offsets):
    """A store of documents of one sentence each; its tokens are a sparse file, all 0."""
    folder.mkdir()
    with open(folder / "token_ids.bin", "wb") as file:
        file.truncate(num_tokens * 2)
    np.array(offsets, "<i8").tofile(folder / "sentence_offsets.bin")
    np.arange(len(offsets), dtype="<i8").tofile(folder / "document_offsets.bin")
    count = len(offsets) - 1
    return Store(folder, num_tokens, count, count, "uint16", "")


def test_places_past_32_bits_are_found(tmp_path):
    border = (1 << 31) + 5
    store = store_of(tmp_path / "store", num_tokens=border + 20, offsets=[0, border, border + 20])
    with open(store.path / "token_ids.bin", "r+b") as file:
        file.seek((border - 3) * 2)
        np.arange(1, 24, dtype="<u2").tofile(file)
    windows = Windows([store], num_tokens=8, end_id=99, pad_id=77, weights=None, seed=0)
    # Y is 99, border tokens, 99, 20 tokens, 99.
    first = (border - 2) // 8  # the row with the last tokens of the first document
    read = windows._read(0, tf.constant([first, first + 1, first + 3], tf.int64), False, True)
    tokens, used = read["token_ids"].numpy(), read[USED].numpy()
    text = [1, 2, 3, 99, *range(4, 24), 99]
    place = first * 8 + 1 - (border - 2)
    assert tokens[:2].ravel().tolist() == ([0] * 8 + text)[8 + place :][:16]
    rest = text[place + 24 :]
    assert tokens[2].tolist() == rest + [77] * (8 - len(rest))
    assert used[2].tolist() == [True] * len(rest) + [False] * (8 - len(rest))
    assert read["text_ids"].numpy()[2].tolist() == [1] * len(rest[:-1]) + [2] + [0] * (
        8 - len(rest)
    )


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc")
@pytest.mark.parametrize("draw", ["causal_lm", "span_corruption"])
def test_a_large_store_is_mapped_not_read(tmp_path, tokenizer, draw):
    """Drawing from 200 MB of tokens adds little anonymous memory."""
    path = write_store([("w1 w2 w3",), ("w4 w5",)], tokenizer, tmp_path / "store").path
    total = 100_000_000
    np.resize(np.arange(5, 205, dtype="<u2"), total).tofile(path / "token_ids.bin")
    np.arange(0, total + 1, 1_000, dtype="<i8").tofile(path / "sentence_offsets.bin")
    np.arange(0, total // 1_000 + 1, 10, dtype="<i8").tofile(path / "document_offsets.bin")
    description = json.loads((path / "store.json").read_text())
    for name in description["files"]:
        description["files"][name]["bytes"] = (path / name).stat().st_size
    counts = {
        "num_tokens": total,
        "num_sentences": total // 1_000,
        "num_documents": total // 10_000,
    }
    (path / "store.json").write_text(json.dumps({**description, **counts}))
    script = f"""
import re
from tfpt.pipelines import {draw}, open_store
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
store = open_store({str(path)!r})
import tensorflow as tf
tf.constant(1) + 1
before = anonymous()
for batch in {draw}(store, sequence_length=128, batch_size=64).take(20):
    pass
print("added", anonymous() - before, "of", store.token_ids.nbytes / 2**20)
"""
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    added, size = map(float, re.search(r"added (\S+) of (\S+)", output).groups())
    assert size > 180
    assert added < size / 2
