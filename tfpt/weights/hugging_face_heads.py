"""Which head a model of Hugging Face has, and what has the same here.

Where a class of transformers has such a head, it is told by the names of its tensors and by
config.json. Sources: modeling_bert.py and its sisters, as of tables.py.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpt.weights.tables import CLASSIFICATION, HEADS, POOLER, PYTORCH, Line, linear


@dataclass(frozen=True, kw_only=True)
class Head:
    """What is told of a text, or of its tokens."""

    ours: str  # the layer here
    recipe: str  # the name of the recipe that has such models
    architecture: str  # the end of the name of the class there
    problem_type: str | None = None  # as config.json tells it
    of_tokens: str = ""  # its layer there, where it reads the states of tokens and no pooled one


CLASSES = Head(
    ours="classification_head", recipe="classify", architecture="ForSequenceClassification"
)
LABELS = Head(
    ours="multi_label_head",
    recipe="label",
    architecture="ForSequenceClassification",
    problem_type="multi_label_classification",
)
SCORE = Head(
    ours="regression_head",
    recipe="score",
    architecture="ForSequenceClassification",
    problem_type="regression",
)
TAGS = Head(
    ours="token_classification_head",
    recipe="tag",
    architecture="ForTokenClassification",
    of_tokens="classifier",
)
ANSWERS = Head(
    ours="question_answering_head",
    recipe="answer",
    architecture="ForQuestionAnswering",
    of_tokens="qa_outputs",
)
ALL = (CLASSES, LABELS, SCORE, TAGS, ANSWERS)
_UNITS = "regression_units"


def head_there(config: Mapping[str, Any], names: Set[str]) -> Head | None:
    """The head of a checkpoint; None of one for pre-training, and of an encoder alone.

    Args:
        config: Of config.json.
        names: Of the tensors, without the prefix of the encoder.
    """
    if _kernel("qa_outputs") in names:
        return ANSWERS
    one_layer = _kernel("classifier") in names
    if not one_layer and _kernel("classifier.out_proj") not in names:
        return None
    (architecture,) = (config.get("architectures") or [""])[:1]
    reads_pooled = {_kernel("pooler.dense"), _kernel("pre_classifier")} & names
    # Of BERT's taggers those that are older hold a pooler that nothing reads.
    if architecture.endswith(TAGS.architecture) or (one_layer and not reads_pooled):
        return TAGS
    if config.get("problem_type") == LABELS.problem_type:
        return LABELS
    has_one_output = len(config.get("id2label") or (0, 1)) == 1
    is_score = config.get("problem_type") == SCORE.problem_type or has_one_output
    return SCORE if is_score else CLASSES


def _kernel(layer: str) -> str:
    return layer + PYTORCH.kernel


def head_here(values: Mapping[str, np.ndarray]) -> Head | None:
    """The head of a model by the paths of its weights."""
    return next((one for one in ALL if f"{one.ours}/kernel" in values), None)


def with_head(table: Sequence[Line], head: Head | None) -> tuple[Line, ...]:
    """A table of a family, or of its classifiers, with the lines of a head alone."""
    if head is not None and head.of_tokens:
        encoder = (line for line in table if line.group not in {*HEADS, POOLER})
        return (*encoder, linear(head.ours, head.of_tokens, group=CLASSIFICATION))
    ours = CLASSES.ours if head is None else head.ours
    return tuple(line._replace(ours=ours) if line.ours == CLASSES.ours else line for line in table)


def without_units(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights with a score told in deviations from a mean made those of one in its own units."""
    if f"{_UNITS}/deviation" not in values:
        return dict(values)
    found = dict(values)
    mean, deviation = (found.pop(f"{_UNITS}/{name}") for name in ("mean", "deviation"))
    kernel, bias = (f"{SCORE.ours}/{name}" for name in ("kernel", "bias"))
    found |= {kernel: found[kernel] * deviation, bias: found[bias] * deviation + mean}
    return found
