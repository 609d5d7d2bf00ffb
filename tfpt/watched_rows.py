"""What TensorBoard shows of a few rows: the masked words and what the model says, its attention.

Shape letters: R rows, T tokens in a row, P mask slots in a row, V vocabulary, A heads.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpt import features, pipelines, show_batch, workers
from tfpt.checkpoints import Run
from tfpt.tensorboard_parts import colored, escaped

_NUM_ROWS = 3
_NUM_WORDS = 3  # told of a place, the most probable ones
# Of the attention: layers from the first to the last, the first heads, the first tokens.
_NUM_LAYERS, _NUM_HEADS, _NUM_TOKENS = 3, 4, 64
# Of the images, in pixels: a map of the attention, and what lies between two, with a notch for
# each tenth token.
_MAP_SIDE, _GAP, _NOTCH_TOKENS = 256, 8, 10
_TO_PREDICT = {show_batch.MASKED, show_batch.REPLACED, show_batch.KEPT}

_ATTENTION = (
    "Who looks at whom in the first row that is shown as text. From top to bottom {layers}, from "
    "left to right heads {heads}. In a map a line is a token that looks, a column one that is "
    "looked at, both from the first on, with a notch for every tenth; the darker, the more (the "
    "square root of the weight)."
)


class WatchRows(keras.callbacks.Callback):
    """Writes, after each validation, what the model makes of its first rows.

    Args:
        run: The run folder; `logs/rows` in it is written to.
        validation: Finite; its first batch is drawn once.
    """

    def __init__(self, run: Run, validation: tf.data.Dataset):
        super().__init__()
        self.run, self.validation = run, validation

    def on_train_begin(self, logs=None):
        self._writer: tf.summary.SummaryWriter | None = None
        if not workers.is_chief(self.model.distribute_strategy):
            return
        with pipelines.damage_named():
            batch = next(iter(self.validation))
        self._rows = tuple(
            {name: np.asarray(value)[:_NUM_ROWS] for name, value in part.items()} for part in batch
        )
        has_tokens = features.PADDING_MASK in self._rows[0]
        self._attention = attention_inputs(self.model.encoder) if has_tokens else None
        self._writer = tf.summary.create_file_writer(str(self.run.path / "logs" / "rows"))

    def on_epoch_end(self, epoch, logs=None):
        if self._writer is None:
            return
        with self._writer.as_default(step=int(self.model.steps.numpy())), self.model.averaged():
            self._write_predictions()
            self._write_attention()
        self._writer.flush()

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()

    def _write_predictions(self) -> None:
        if features.MASKED_LM not in self._rows[1]:
            return
        outputs = self.model(_of_model(self.model, self._rows[0]), training=False)
        words = tf.nn.softmax(outputs[features.MASKED_LM]).numpy()  # (R, P, V)
        for number, text in enumerate(predictions(self._rows, words, self.run.tokenizer)):
            tf.summary.text(f"row_{number + 1}", text)

    def _write_attention(self) -> None:
        if self._attention is None:
            return
        layers, inputs = self._attention
        row = {name: value[:1] for name, value in self._rows[0].items()}
        # The tokens that are there, of a long row the first.
        length = min(_NUM_TOKENS, int(np.count_nonzero(row[features.PADDING_MASK])))
        maps = [
            tf.cast(one, tf.float32).numpy()[0, :_NUM_HEADS, :length, :length]
            for one in attention(layers, inputs, row)
        ]
        heads = f"1 to {len(maps[0])}"
        names = ", ".join(layer.name for layer in layers)
        told = _ATTENTION.format(layers=names, heads=heads)
        tf.summary.image("attention", attention_image(maps)[None], description=told)
        entries = [
            self.run.tokenizer.vocabulary[one] for one in row[features.TOKEN_IDS][0, :length]
        ]
        listed = " ".join(f"{n}&nbsp;**{escaped(one)}**" for n, one in enumerate(entries, 1))
        tf.summary.text("attention_tokens", f"{told}\n\n{listed}")


def predictions(
    rows: tuple[Mapping[str, np.ndarray], ...],
    words: np.ndarray,
    tokenizer: pipelines.TextTokenizer,
) -> list[str]:
    """What a model says of masked places, as Markdown: a text for each row.

    Args:
        rows: `(features, labels, weights)` of R rows.
        words: float32 (R, P, V). Probabilities at the mask slots.
        tokenizer: The vocabulary.
    """
    inputs, labels, weights = rows
    found = []
    for number in range(len(words)):
        used = np.flatnonzero(weights[features.MASKED_LM][number] > 0)
        # In the order of the text.
        used = used[np.argsort(inputs[features.MASK_POSITIONS][number][used], kind="stable")]
        answers = labels[features.MASKED_LM][number]
        places = inputs[features.MASK_POSITIONS][number]
        right = {int(places[slot]): int(answers[slot]) for slot in used}
        lines = [
            "`{a|b}`: a stands where b is to be predicted",
            "",
            _context(inputs, number, right, tokenizer),
        ]
        lines += ["", f"| right | {' | '.join(_ORDINALS)} |", "|---" * (1 + _NUM_WORDS) + "|"]
        for slot in used:
            best = np.argsort(-words[number, slot], kind="stable")[:_NUM_WORDS]
            cells = [_entry(int(answers[slot]), tokenizer)]
            for one in best:
                said = f"{_entry(int(one), tokenizer)} {words[number, slot, one]:.0%}"
                cells.append(f"**{said}**" if one == answers[slot] else said)
            lines.append(f"| {' | '.join(cells)} |")
        found.append("\n".join(lines))
    return found


_ORDINALS = ("first", "second", "third")


def _context(
    inputs: Mapping[str, np.ndarray],
    number: int,
    right: dict[int, int],
    tokenizer: pipelines.TextTokenizer,
) -> str:
    """A row as `show_batch` joins it, what is to be predicted in bold."""
    ids, mask = inputs[features.TOKEN_IDS][number], inputs[features.PADDING_MASK][number]
    tokens = [(int(ids[place]), right.get(int(place))) for place in np.flatnonzero(mask)]
    text = show_batch.joined(tokens, tokenizer)
    found, end = [], 0
    for span in text.spans:
        if span.style in _TO_PREDICT:
            found += [escaped(text.plain[end : span.start])]
            found += [f"**{escaped(text.plain[span.start : span.end])}**"]
            end = span.end
    return "".join([*found, escaped(text.plain[end:])])


def _entry(token: int, tokenizer: pipelines.TextTokenizer) -> str:
    size = tokenizer.vocabulary_size
    return escaped(tokenizer.vocabulary[token] if token < size else f"<{token - size}>")


def attention_inputs(encoder: keras.Model) -> tuple[list[Any], keras.Model] | None:
    """Some layers of an encoder that tell their attention, and a model to what they are given.

    Returns:
        The layers, and a model from the encoder's inputs to states and text ids of each layer in
        turn; None where no layer has `attention_weights`.
    """
    layers = [layer for layer in encoder.layers if hasattr(layer, "attention_weights")]
    if not layers:
        return None
    places = np.unique(np.linspace(0, len(layers) - 1, _NUM_LAYERS).round().astype(int))
    chosen = [layers[place] for place in places]
    # Keras gives a list in a list back as one.
    return chosen, keras.Model(encoder.input, [one for layer in chosen for one in layer.input])


def attention(layers: list[Any], inputs: keras.Model, row: Mapping[str, np.ndarray]) -> list[Any]:
    """float32 (R, A, T, T) of each layer: the weights that a token, of the first T, gives."""
    given = inputs(_of_model(inputs, row), training=False)
    return [
        layer.attention_weights(x, text_ids)
        for layer, x, text_ids in zip(layers, given[::2], given[1::2], strict=True)
    ]


def _of_model(model: keras.Model, row: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: tf.constant(row[name]) for name in model.input}


def attention_image(maps: list[np.ndarray]) -> np.ndarray:
    """Maps of attention beside and below each other.

    Args:
        maps: float (heads, T, T) of each layer.

    Returns:
        uint8 (height, width, 3).
    """
    num_heads, length, _ = maps[0].shape
    scale = max(1, _MAP_SIDE // length)
    side = scale * length + _GAP
    image = np.full((len(maps) * side, num_heads * side, 3), 255, np.uint8)
    notches = np.arange(0, length, _NOTCH_TOKENS) * scale + scale // 2
    for row, heads in enumerate(maps):
        for column, weights in enumerate(heads):
            top, left = row * side, column * side
            image[top + notches + _GAP, left + _GAP // 2 : left + _GAP] = 0
            image[top + _GAP // 2 : top + _GAP, left + notches + _GAP] = 0
            pixels = colored(np.sqrt(weights)).repeat(scale, axis=0).repeat(scale, axis=1)
            image[top + _GAP : top + side, left + _GAP : left + side] = pixels
    return image
