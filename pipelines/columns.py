"""The tensors of a row, as features.py describes them. Imports no TensorFlow."""

from collections.abc import Sequence
from typing import NamedTuple

from tfpt import features

PARTS = ("features", "labels", "weights")
TABLES = {"features": features.FEATURES, "labels": features.LABELS}


class Column(NamedTuple):
    """A tensor of a row."""

    part: str  # one of PARTS
    name: str
    dtype: str
    shape: tuple[int, ...]  # without B

    @property
    def key(self) -> str:
        """Its name in an Example."""
        return f"{self.part}/{self.name}"


def check_columns(columns: Sequence[Column], source: str) -> None:
    """Raise a ValueError where columns are not as features.py describes them.

    Args:
        source: Where they come from, to begin the sentence.
    """
    sizes: dict[str, int] = {}
    labels = {column.name: column for column in columns if column.part == "labels"}
    for column in columns:
        if column.part == "weights":
            label = labels.get(column.name)
            expected = label and Column("weights", column.name, "float32", label.shape)
            if column != expected:
                raise ValueError(
                    f"{source}: the weights {column.name!r} are {column.dtype} {column.shape}; "
                    "weights are float32, of the shape of the label of their name."
                )
            continue
        known = TABLES[column.part].get(column.name)
        if known is None:
            raise ValueError(
                f"{source}: {column.name!r} is none of the {column.part} that this tfpt knows: "
                f"{', '.join(TABLES[column.part])}."
            )
        letters = known.shape[1:]
        fits = len(letters) == len(column.shape) and all(
            sizes.setdefault(letter, size) == size
            for letter, size in zip(letters, column.shape, strict=True)
        )
        if column.dtype != known.dtype or not fits:
            told = ", ".join(f"{letter} = {size}" for letter, size in sizes.items())
            raise ValueError(
                f"{source}: {column.name!r} is {column.dtype} {column.shape} in a row; it should "
                f"be {known.dtype} ({', '.join(letters)}), with {told}."
            )
    if not labels.keys() == {column.name for column in columns if column.part == "weights"}:
        raise ValueError(f"{source}: labels and weights have different names.")
