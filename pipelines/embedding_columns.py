"""Which columns of a file tell which texts mean the same. Imports no TensorFlow."""

import numbers
from dataclasses import dataclass

# What tells which texts mean the same.
PAIRS, LABELS, ALONE = KINDS = ("pairs", "labels", "alone")


@dataclass(frozen=True, kw_only=True)
class EmbeddingColumns:
    """Where texts stand, and what tells which of them mean the same.

    Names from the header or, where a file has none, numbers counted from zero: "0".

    Raises:
        ValueError: The columns tell nothing, or two things.
    """

    # One column; or two, whose texts mean the same; or these and one that means something else.
    text: tuple[str, ...] = ("text",)
    label: str = ""  # of one column of text: those of a label mean the same
    # Of pairs: how alike they are. Those of less than `least_score` are left out.
    score: str = ""
    least_score: float | None = None

    def __post_init__(self) -> None:
        told = ", ".join(self.text)
        if isinstance(self.text, str) or not 1 <= len(self.text) <= 3:
            raise ValueError(
                "`text` is a tuple of one column, of the two of a pair, or of these and one of "
                f"texts that mean something else; received {self.text!r}."
            )
        if len(set(self.text)) < len(self.text):
            raise ValueError(
                f"A text cannot be its own partner: received the columns {told}. Name each once; "
                "one alone is paired with itself."
            )
        if self.label and len(self.text) > 1:
            raise ValueError(
                f"Texts are grouped by pairs or by a label: received the columns {told} and the "
                f"label {self.label}. Leave the label out, or all texts but one."
            )
        if self.score and len(self.text) == 1:
            raise ValueError(
                f"A score is of pairs: received the score {self.score} and one column of text, "
                f"{told}. Name two."
            )
        if bool(self.score) != isinstance(self.least_score, numbers.Real):
            raise ValueError(
                "`score` and `least_score` go together: the column, and the least of it that "
                f"means the same; received {self.score!r} and {self.least_score!r}."
            )

    @property
    def kind(self) -> str:
        """What tells which texts mean the same, of `KINDS`."""
        if len(self.text) > 1:
            return PAIRS
        return LABELS if self.label else ALONE
