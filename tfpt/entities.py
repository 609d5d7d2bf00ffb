"""How well a tagger finds entities: precision, recall and F1, in total and by type.

An entity counts as found where its type, its first and its last word are right, which nervaluate
counts (its strict scenario). Tags are read strictly, in what is true as in what is predicted; see
`pipelines.tags`.

Shape letters: B rows in a batch, T tokens in a row, N words, C tags.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines.tags import Entity, find_entities, has_ends, parse_tag


@dataclass(frozen=True, kw_only=True)
class Score:
    """What was found of the entities of a type, or of all.

    A share whose denominator is 0 (the precision where nothing is predicted) is 0.
    """

    num_correct: int
    num_predicted: int
    num_true: int

    @property
    def precision(self) -> float:
        """Of the entities that are predicted, the share that is right."""
        return self.num_correct / self.num_predicted if self.num_predicted else 0.0

    @property
    def recall(self) -> float:
        """Of the true entities, the share that is predicted."""
        return self.num_correct / self.num_true if self.num_true else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        total = self.num_predicted + self.num_true
        return 2 * self.num_correct / total if total else 0.0


@dataclass(frozen=True, kw_only=True)
class EntityReport:
    """What a tagger found. It makes an `evaluation.Report`."""

    scores: dict[str, Score]  # by type, in the order of the alphabet
    num_sentences: int
    num_words: int
    accuracy: float  # share of words whose tag is right, O included
    loss: float  # mean cross-entropy of words, in nats

    @property
    def total(self) -> Score:
        """Of the entities of all types together, the micro average."""
        found = self.scores.values()
        return Score(
            num_correct=sum(one.num_correct for one in found),
            num_predicted=sum(one.num_predicted for one in found),
            num_true=sum(one.num_true for one in found),
        )

    @property
    def measures(self) -> dict[str, float]:
        """F1, precision and recall of all entities, the accuracy of words, and the loss."""
        total = self.total
        return {
            "f1": total.f1,
            "precision": total.precision,
            "recall": total.recall,
            "word_accuracy": self.accuracy,
            "loss": self.loss,
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        found = self.scores.values()
        count = len(found) or 1
        return {
            "num_sentences": self.num_sentences,
            "num_words": self.num_words,
            "num_entities": self.total.num_true,
            "num_predicted": self.total.num_predicted,
            **self.measures,
            "macro_precision": sum(one.precision for one in found) / count,
            "macro_recall": sum(one.recall for one in found) / count,
            "macro_f1": sum(one.f1 for one in found) / count,
            "classes": {
                kind: {
                    "precision": one.precision,
                    "recall": one.recall,
                    "f1": one.f1,
                    "num_entities": one.num_true,
                    "num_predicted": one.num_predicted,
                }
                for kind, one in self.scores.items()
            },
        }


def evaluate_entities(
    model: keras.Model, dataset: tf.data.Dataset, label_names: Sequence[str]
) -> EntityReport:
    """Tag a data set and count the entities.

    Words without weight, as those past the end of a row, do not count.

    Args:
        model: With the output `token_classification`.
        dataset: Finite; its targets are words, in the order of their sentences.
        label_names: The tag of each class, by its id.

    Raises:
        ValueError: The data set holds no word.
    """
    true, predicted, losses = [], [], []
    for labels, logits in sentences(model, dataset):
        true.append([label_names[label] for label in labels])
        predicted.append([label_names[label] for label in logits.argmax(axis=-1)])
        losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits).numpy())
    if not true:
        raise ValueError("The data set to evaluate on holds no word.")
    loss = float(np.mean(np.concatenate(losses), dtype=np.float64))
    return entity_report(true, predicted, label_names, loss=loss)


def entity_report(
    true: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    label_names: Sequence[str],
    *,
    loss: float = 0.0,
) -> EntityReport:
    """Count what predicted tags got right of the true ones.

    Args:
        true, predicted: The tags of the words of each sentence.
        label_names: All tags, which tell the types and whether they are BIO or BIOES.
        loss: To report.
    """
    from nervaluate.evaluator import Evaluator

    kinds = sorted({parse_tag(name).kind for name in label_names} - {""})
    ends = has_ends(label_names)
    found = [
        [[_as_dict(one) for one in find_entities(tags, ends=ends)] for tags in rows]
        for rows in (true, predicted)
    ]
    counted = Evaluator(*found, tags=kinds, loader="dict").evaluate()["entities"]
    words = [tag for tags in true for tag in tags]
    answers = [tag for tags in predicted for tag in tags]
    num_right = sum(tag == answer for tag, answer in zip(words, answers, strict=True))
    return EntityReport(
        scores={kind: _score(counted.get(kind, {}).get("strict")) for kind in kinds},
        num_sentences=len(true),
        num_words=len(words),
        accuracy=num_right / len(words) if words else 0.0,
        loss=loss,
    )


def _as_dict(entity: Entity) -> dict[str, Any]:
    return {"label": entity.kind, "start": entity.first, "end": entity.last}


def _score(counted: Any) -> Score:
    """What nervaluate counted of a type; nothing where the type never occurs."""
    if counted is None:
        return Score(num_correct=0, num_predicted=0, num_true=0)
    return Score(
        num_correct=counted.correct, num_predicted=counted.actual, num_true=counted.possible
    )


def sentences(
    model: keras.Model, dataset: tf.data.Dataset
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The labels, int32 (N,), and logits, float32 (N, C), of the words of each sentence."""
    name = features.TOKEN_CLASSIFICATION
    tag = tf.function(lambda inputs: model(inputs, training=False)[name], reduce_retracing=True)
    for inputs, labels, weights in dataset:
        counts = weights[name].numpy() > 0  # (B, T)
        for is_word, label, logits in zip(
            counts, labels[name].numpy(), tag(inputs).numpy(), strict=True
        ):
            if is_word.any():
                yield label[is_word], logits[is_word]
