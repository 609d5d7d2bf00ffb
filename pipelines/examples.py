"""The examples of an epoch: where they start in a store, found once for a length, and kept.

    examples/125-2.bin     uint32 (E,), or int64: the sentence each example starts with
    examples/125-2.json    of which store, how many bytes, and sha256 of each 64 MiB

125 is the room for tokens, 2 the fewest that an example is drawn from. The file is mapped, so the
memory of a training does not grow with its store. A small store has none: to find them again takes
no time.

Shape letters: S sentences of the store, D documents, E examples of an epoch.
"""

import json
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfpt.pipelines.part_work import write_whole
from tfpt.pipelines.store import EXAMPLES, Store, checksums, kept_blocks

MIN_TOKENS = 2  # of a pair: one in each text

# Documents that are gone through together have about so many sentences: enough that the steps of
# NumPy cost nothing beside what they do, few enough to bound the memory, 40 MB for each thread.
_SENTENCES_AT_ONCE = 1 << 22
_MOST_THREADS = 8
# Fewer are found in less than a tenth of a second.
_WORTH_KEEPING = 1 << 18
# Room for tokens beside [CLS], [SEP] and [SEP].
_USUAL = (128 - 3, 512 - 3)


def find_examples(store: Store, num_tokens: int, min_tokens: int = MIN_TOKENS) -> np.ndarray:
    """The sentences that the examples of an epoch start with.

    Those of a large store are kept in its folder, where that can be written to, and mapped.

    Args:
        store: See `open_store`.
        num_tokens, min_tokens: As of `example_starts`.

    Returns:
        uint32 or int64 (E,), ascending. Not to be written to.

    Raises:
        ValueError: The store is damaged where its documents begin and end.
    """
    path = store.path / EXAMPLES / f"{num_tokens}-{min_tokens}.bin"
    dtype = np.dtype("<u4" if store.num_sentences < 1 << 32 else "<i8")
    if kept_blocks(path, store) is not None:
        return np.memmap(path, dtype, mode="c")
    _check_offsets(store)
    starts = example_starts(
        store.sentence_offsets, store.document_offsets, num_tokens, min_tokens
    ).astype(dtype)
    if len(starts) < _WORTH_KEEPING:
        return starts
    try:
        _keep(starts, path, store)
    except OSError:  # a folder that cannot be written to, or a full disk
        return starts
    return np.memmap(path, dtype, mode="c")


def keep_usual_examples(store: Store) -> None:
    """Find the examples of pairs in rows of 128 and of 512 tokens while a store is written.

    A training on a large store then begins at once; with another length it finds them when it
    begins for the first time.
    """
    for num_tokens in _USUAL:
        if store.num_tokens // num_tokens >= _WORTH_KEEPING:
            find_examples(store, num_tokens)


def example_starts(
    sentence_offsets, document_offsets, num_tokens: int, min_tokens: int = MIN_TOKENS
) -> np.ndarray:
    """The sentence each example of an epoch starts with.

    A document is cut greedily at sentence ends into stretches of at most `num_tokens` tokens (a
    longer sentence is a stretch of its own). Documents of fewer than `min_tokens` give no example:
    a single token cannot be cut in two.

    Args:
        sentence_offsets: int64 (S + 1,), in tokens.
        document_offsets: int64 (D + 1,), in sentences.
        num_tokens: Most tokens in a stretch.
        min_tokens: Fewest tokens in a stretch, 1 or 2.

    Returns:
        int64 (E,), ascending.
    """

    def found(documents: slice) -> np.ndarray:
        borders = np.array(document_offsets[documents.start : documents.stop + 1])
        offsets = sentence_offsets[borders[0] : borders[-1] + 1]
        is_start = _is_start(offsets, borders - borders[0], num_tokens, min_tokens)
        return np.flatnonzero(is_start) + borders[0]

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        parts = list(pool.map(found, _stretches(document_offsets)))
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def example_lengths(starts, sentence_offsets, document_offsets, num_tokens: int) -> np.ndarray:
    """int64 (E,): the tokens of the stretches that start there, at most `num_tokens`."""
    starts = np.asarray(starts, np.int64)
    documents = np.searchsorted(document_offsets, starts, side="right")
    ends = np.minimum(np.append(starts[1:], len(sentence_offsets) - 1), document_offsets[documents])
    lengths = np.asarray(sentence_offsets)[ends] - np.asarray(sentence_offsets)[starts]
    return np.minimum(lengths, num_tokens)


def _check_offsets(store: Store) -> None:
    """A document that ends where there are no sentences would be looked for outside the file."""
    documents, sentences = store.document_offsets, store.sentence_offsets
    whole = documents[0] == 0 and documents[-1] == store.num_sentences
    whole &= sentences[0] == 0 and sentences[-1] == store.num_tokens
    for first in range(0, store.num_documents, _SENTENCES_AT_ONCE):
        whole &= bool((np.diff(documents[first : first + _SENTENCES_AT_ONCE + 1]) > 0).all())
    if not whole:
        raise ValueError(
            f"{store.path} is damaged: its documents and sentences do not follow each other. "
            f"`tfpt store --verify {store.path}` tells where; write the store anew."
        )


def _stretches(document_offsets) -> Iterator[slice]:
    """Documents that follow each other, of about `_SENTENCES_AT_ONCE` sentences together."""
    first, num_documents = 0, len(document_offsets) - 1
    while first < num_documents:
        most = document_offsets[first] + _SENTENCES_AT_ONCE
        last = int(np.searchsorted(document_offsets, most, side="right")) - 1
        last = min(max(last, first + 1), num_documents)
        yield slice(first, last)
        first = last


def _is_start(sentence_offsets, borders, num_tokens: int, min_tokens: int) -> np.ndarray:
    """bool (S + 1,): whether an example starts there; offsets and borders of some documents."""
    size = len(sentence_offsets)
    span = int(sentence_offsets[-1] - sentence_offsets[0])
    dtype = np.int32 if span + 2 * num_tokens < 1 << 31 else np.int64
    # Past the end lie tokens that no stretch reaches, so that no step has to look where it ends.
    offsets = np.full(size + 2 * num_tokens, np.iinfo(dtype).max, dtype)
    offsets[:size] = sentence_offsets - sentence_offsets[0]
    # A sentence has a token at least: a stretch has `num_tokens` sentences at most.
    steps = [1 << power for power in reversed(range(num_tokens.bit_length()))]

    is_start = np.zeros(size, bool)
    current, ends = borders[:-1], borders[1:]
    last = offsets[ends] - min_tokens
    # One stretch of every document at a time: as many rounds as the longest document has stretches.
    while len(current):
        first = offsets[current]
        # A last sentence of a single token cannot be cut in two: it stays with the stretch before.
        more = first <= last
        if not more.all():
            current, ends, last, first = current[more], ends[more], last[more], first[more]
        is_start[current] = True
        limit, following = first + num_tokens, current
        for step in steps:
            following = following + step * (offsets[following + step] <= limit)
        current = np.minimum(np.maximum(following, current + 1), ends)
    return is_start


def _keep(starts: np.ndarray, path: Path, store: Store) -> None:
    """Write the file and, when it is whole, its description.

    Several processes may do so at once, on several machines too: what they write is the same.
    """
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    description = beside.with_suffix(".json")
    try:
        with open(beside, "wb") as file:
            file.write(starts.data)
            file.flush()
            os.fsync(file.fileno())  # the description, which says that it is whole, comes after it
        kept = {"store": store.identity, "bytes": starts.nbytes, "blocks": checksums(beside)}
        beside.rename(path)
        write_whole(description, json.dumps(kept) + "\n")
        description.rename(path.with_suffix(".json"))
    finally:
        for left in (beside, description):
            left.unlink(missing_ok=True)
