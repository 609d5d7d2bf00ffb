"""Rows in which each token is predicted from those before it.

Shape letters: B rows, T tokens in a row.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpt import features
from tfpt.pipelines import batches
from tfpt.pipelines.batches import Batch, Share
from tfpt.pipelines.settings import CausalDrawing
from tfpt.pipelines.store import Store, store_tokenizer
from tfpt.pipelines.windows import USED, Windows, entry_id


def causal_lm(
    store: Store | Sequence[Store],
    *,
    sequence_length: int,
    batch_size: int,
    seed: int = 0,
    first_batch: int = 0,
    drawing: CausalDrawing | None = None,
    share: Share | None = None,
) -> tf.data.Dataset:
    """Batches to predict the token that follows, without end.

    The documents of a store are laid one after another, with an end token between them, and cut
    into rows of T tokens; an epoch visits them in an order of its own. In an epoch each token of
    each document, and the end behind each, is predicted once: the first token of a document from
    the end token before it, the first of a row from the last of the row before. Only the last row
    of a store may be padded. Several stores are mixed as by `masked_lm`: a row is of one store.

    Batch N is a pure function of the stores, the settings, the seed and N, as with `masked_lm`.

    Args:
        store: See `open_store`; or several, of one vocabulary.
        sequence_length: T, at least 8.
        batch_size: B.
        seed: Any int; other seeds give unrelated orders.
        first_batch: The number of the first batch.
        drawing: How a row is made; by default `settings.CausalDrawing()`. With `within_documents`
            the rows have `text_ids` and `position_ids`: a text begins with the end token of the
            text before, and attention stays within it.
        share: The part of each batch to draw, for one of several workers.

    Returns:
        An infinite dataset of `(features, labels, weights)` as features.py describes them, with the
        label `causal_lm`.

    Raises:
        ValueError: An argument is out of range, or the stores have different vocabularies.
    """
    drawing, share = drawing or CausalDrawing(), share or Share()
    stores = [store] if isinstance(store, Store) else list(store)
    batches.check_sizes(sequence_length, batch_size, share)
    batches.check_stores(stores, drawing.weights)
    tokenizer = store_tokenizer(stores[0])
    windows = Windows(
        stores,
        num_tokens=sequence_length,
        end_id=entry_id(drawing, "end_id", tokenizer.sep_id, tokenizer.vocabulary_size),
        pad_id=tokenizer.pad_id,
        weights=drawing.weights,
        seed=seed,
    )

    def draw(batch) -> Batch:
        row = batches.rows_of(batch, batch_size, share)
        texts = drawing.within_documents
        return _to_predict(windows.read(row, previous=True, texts=texts), tokenizer.pad_id)

    return batches.batch_stream(draw, first_batch, batch_size)


def _to_predict(window: dict[str, Any], pad_id: int) -> Batch:
    """Rows of T + 1 tokens as T tokens and the T that follow them."""
    tokens, used = window[features.TOKEN_IDS], window.pop(USED)
    used = tf.cast(used[:, 1:], tf.int32)  # whether a token follows
    # The end behind a store's last document has nothing to tell.
    inputs = {name: value[:, :-1] * used for name, value in window.items()}
    inputs[features.TOKEN_IDS] = tf.where(used > 0, tokens[:, :-1], pad_id)
    inputs[features.PADDING_MASK] = used
    labels = {features.CAUSAL_LM: tokens[:, 1:] * used}
    return inputs, labels, {features.CAUSAL_LM: tf.cast(used, tf.float32)}
