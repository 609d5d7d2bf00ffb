"""What is written for TensorBoard in more than one place: Markdown and maps of colours."""

import re
from collections.abc import Sequence

import numpy as np

# From 0 to 1: white, blue, nearly black.
_COLORS = np.array([[255, 255, 255], [110, 165, 220], [20, 70, 150], [5, 15, 45]], np.float32)


def escaped(text: str) -> str:
    """A text of which Markdown changes nothing: what is no letter or digit becomes an entity."""
    return re.sub(r"[^\w\s]|_", lambda found: f"&#{ord(found[0])};", text)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; a text of a user's in it is to be `escaped` before."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def colored(values: np.ndarray) -> np.ndarray:
    """uint8 (..., 3): colours of values in [0, 1]."""
    places = np.linspace(0, 1, len(_COLORS))
    channels = [np.interp(values, places, _COLORS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
