"""The documents of stores one after another, an end token between them, cut into rows.

Shape letters: B rows, L tokens in a row, N tokens of a store, D documents.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines import mixing
from tfpt.pipelines.epochs import shuffled_rows
from tfpt.pipelines.settings import CausalDrawing, SpanDrawing
from tfpt.pipelines.store import Store, tensor_over

USED = "used"

# Orders of one seed: those of masked rows (batches.py) are below. This is of the mix, the following
# are of its stores.
_ORDERS = 1 << 20


class Windows:
    """Rows of stores, by their number in the stream of all epochs.

    A store is its documents in order, with an end token before the first and after each: Y, of
    1 + N + D tokens. Row r has the tokens r * L + 1 to (r + 1) * L of Y, so that an epoch has each
    token of each document, and the end behind it, exactly once. The last row of a store may be
    shorter. An epoch visits the rows in an order of its own.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        num_tokens: int,
        end_id: int,
        pad_id: int,
        weights: Sequence[float] | None,
        seed: int,
    ):
        """Map the tokens; find where the documents end.

        Args:
            num_tokens: L.
            weights: The shares of rows from each store; None: all rows of each.
            seed: Of the orders.
        """
        self._num_tokens, self._end_id, self._pad_id = num_tokens, end_id, pad_id
        self._seed = seed
        self._sizes = [_size(store) for store in stores]
        self._token_ids = [tensor_over(store.token_ids) for store in stores]
        self._ends = [tf.constant(_ends(store)) for store in stores]
        self._rows = [-(-size // num_tokens) for size in self._sizes]
        counts = mixing.shares(weights, sum(self._rows)) if weights else self._rows
        self._counts = np.array(counts, np.int64)

    def read(self, row, *, previous: bool = False, texts: bool = False) -> dict[str, Any]:
        """The tokens of rows.

        Args:
            row: int64 (B,), numbers in the stream.
            previous: Whether to begin with the token before; rows are then of L + 1 tokens.
            texts: Whether to tell texts apart. One begins with the end of the text before it, or
                with the row.

        Returns:
            `token_ids`, int32 (B, L), the padding id where there is none, and `used`, bool (B, L);
            with `texts` also `text_ids` and `position_ids` as features.py describes them.
        """
        number, index = mixing.stream_rows(row, self._counts, seed=self._seed, stream=_ORDERS)

        def draw(store: int, place) -> dict[str, Any]:
            own = tf.gather(index, place)
            size = self._rows[store]
            order = {"seed": self._seed, "size": size, "stream": _ORDERS + 1 + store}
            return self._read(
                store, shuffled_rows(own % size, own // size, **order), previous, texts
            )

        drawn = mixing.stitched(number, len(self._sizes), draw)
        shape = [row.shape[0], self._num_tokens + previous]
        return {name: tf.ensure_shape(value, shape) for name, value in drawn.items()}

    def _read(self, store: int, row, previous: bool, texts: bool) -> dict[str, Any]:
        """Rows of one store, by their number in it."""
        token_ids, all_ends = self._token_ids[store], self._ends[store]
        length = self._num_tokens + previous
        column = tf.range(length)[None, :]
        first = row * self._num_tokens + (0 if previous else 1)  # (B,), in Y
        before = tf.searchsorted(all_ends, first, out_type=tf.int64)
        ends = tf.ragged.range(
            before, tf.searchsorted(all_ends, first + length, out_type=tf.int64)
        )  # (B, None): the numbers of the ends in each row
        owner = ends.value_rowids()
        place = tf.gather(all_ends, ends.values) - tf.gather(first, owner)
        shape = tf.shape(first, out_type=tf.int64)[0], tf.constant(length, tf.int64)
        is_end = tf.scatter_nd(tf.stack([owner, place], 1), tf.ones_like(place, tf.int32), shape)
        passed = tf.cumsum(is_end, axis=1)

        # Places in a file of fewer than 2**31 tokens fit into 32 bits, which is faster.
        places = tf.int32 if token_ids.shape[0] < 1 << 31 else tf.int64
        source = tf.cast(first - before, places)[:, None] + tf.cast(column - passed, places)
        # What is no token of a document is read from somewhere, and written over.
        source = tf.clip_by_value(source, 0, tf.cast(token_ids.shape[0] - 1, places))
        left = tf.cast(tf.minimum(self._sizes[store] + 1 - first, length), tf.int32)
        used = column < left[:, None]
        row_ids = tf.where(
            is_end > 0, self._end_id, tf.cast(tf.gather(token_ids, source), tf.int32)
        )
        found = {features.TOKEN_IDS: tf.where(used, row_ids, self._pad_id), USED: used}
        if texts:
            latest = tf.gather(
                all_ends, tf.maximum(before[:, None] + tf.cast(passed, tf.int64) - 1, 0)
            )
            begin = tf.where(passed > 0, tf.cast(latest - first[:, None], tf.int32), 0)
            found[features.TEXT_IDS] = tf.where(used, passed + 1 - is_end[:, :1], 0)
            found[features.POSITION_IDS] = tf.where(used, column - begin, 0)
        return found


def entry_id(drawing: CausalDrawing | SpanDrawing, field: str, default: int, size: int) -> int:
    """The id that a field of a drawing names, or the default; an entry of the vocabulary.

    Args:
        size: Of the vocabulary.
    """
    given = getattr(drawing, field)
    if given is not None and given >= size:
        raise ValueError(
            f"`{field}` is an entry of the vocabulary, from 0 to {size - 1}; received "
            f"{field}={given}."
        )
    return default if given is None else given


def num_rows(stores: Sequence[Store], num_tokens: int) -> int:
    """How many rows of L tokens all stores have together."""
    return sum(-(-_size(store) // num_tokens) for store in stores)


def _size(store: Store) -> int:
    """Tokens of the documents and of the ends behind them."""
    return store.num_tokens + store.num_documents


def _ends(store: Store) -> np.ndarray:
    """int64 (D + 1,): the places of end tokens in Y, ascending."""
    offsets = np.asarray(store.sentence_offsets)[np.asarray(store.document_offsets)]
    return offsets + np.arange(len(offsets))
