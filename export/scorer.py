"""What an exported model of scores answers: the score of each text or pair of texts.

Shape letters: B texts.
"""

from collections.abc import Mapping
from typing import Any

from tfpt import features


def score_answers(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Of `regression` (B,), score float32 (B,), in the units of the data."""
    return {"score": outputs[features.REGRESSION]}
