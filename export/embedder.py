"""What an exported embedder answers: the embedding of each text.

Shape letters: B texts, H hidden width.
"""

from collections.abc import Mapping
from typing import Any

from tfpt import features


def embedding_answers(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Of `contrastive` or `embedding` (B, H), embedding float32 (B, H), of length 1."""
    name = features.CONTRASTIVE if features.CONTRASTIVE in outputs else features.EMBEDDING
    return {"embedding": outputs[name]}
