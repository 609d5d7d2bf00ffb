"""How well a tagger finds entities: precision, recall and F1, in total and by type.

An entity counts as found where its type, its first and its last word are right, which nervaluate
counts (its strict scenario). Tags are read strictly, in what is true as in what is predicted; see
`pipelines.tags`.

Shape letters: B rows in a batch, T tokens in a row, N words, C tags.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from tfpt import features
from tfpt.calibration import Calibration, binned
from tfpt.pipelines.tags import OUTSIDE, Entity, find_entities, has_ends, parse_tag
from tfpt.pipelines.token_classification import TaggedSentence
from tfpt.worst_rows import WorstRow, with_texts, worst_rows


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
    is_bioes: bool = False  # or BIO
    calibration: Calibration | None = None  # of the words' tags
    worst: tuple[WorstRow, ...] = ()  # sentences, by the mean loss of their words

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

    def with_texts(self, rows: Sequence[tuple[str, ...]]) -> "EntityReport":
        """The same with the words, and the entities in words, of the worst sentences.

        Args:
            rows: The words of every sentence, those that were evaluated.
        """
        worst = [_in_words(one, rows[one.row], ends=self.is_bioes) for one in self.worst]
        return replace(self, worst=tuple(worst))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        found = self.scores.values()
        count = len(found) or 1
        told: dict[str, Any] = {
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
        if self.calibration is not None:
            told["calibration"] = self.calibration.to_dict()
        return {**told, "worst": [one.to_dict() for one in self.worst]} if self.worst else told


def evaluate_entities(
    model: keras.Model,
    dataset: tf.data.Dataset,
    *,
    sentences: Sequence[TaggedSentence],
    label_names: Sequence[str],
) -> EntityReport:
    """Tag a data set and count the entities.

    A word without a label in the batches, such as one past the end of a row, counts as tagged O,
    since nothing tags it; loss and calibration are those of the others.

    Args:
        model: With the output `token_classification`.
        dataset: Finite; its targets are words, in the order of their sentences.
        sentences: Those of the data set, in its order.
        label_names: The tag of each class, by its id.

    Raises:
        ValueError: The data set holds no word.
    """
    predicted = [[OUTSIDE] * len(one.tags) for one in sentences]
    # Of the sentences with a word that has a label.
    rows, losses, right = [], [], []
    sure, squares = [], []  # of the tag that is given; of what Brier adds up
    for row, labels, logits in labelled_rows(model, dataset):
        answers = logits.argmax(axis=-1)
        places = np.flatnonzero(sentences[row].has_label)
        for place, label in zip(places, answers, strict=True):
            predicted[row][place] = label_names[label]
        rows.append(row)
        right.append(labels == answers)
        losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits).numpy())
        shares = softmax(logits.astype(np.float64), axis=-1)
        words = np.arange(len(labels))
        sure.append(shares[words, answers])
        squares.append(np.square(shares).sum(axis=-1) - 2 * shares[words, labels] + 1)
    if not rows:
        raise ValueError("The data set to evaluate on holds no word.")
    report = entity_report(
        [one.tags for one in sentences],
        predicted,
        label_names,
        loss=float(np.mean(np.concatenate(losses), dtype=np.float64)),
    )
    worst = worst_rows(
        np.array([one.mean(dtype=np.float64) for one in losses]),
        lambda number: (
            "\t".join(sentences[rows[number]].tags),
            "\t".join(predicted[rows[number]]),
            float(sure[number].prod()),
        ),
    )
    return replace(
        report,
        calibration=binned(
            np.concatenate(sure),
            np.concatenate(right),
            brier_score=np.concatenate(squares).mean(),
        ),
        worst=tuple(replace(one, row=rows[one.row]) for one in worst),
    )


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
        is_bioes=ends,
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


def labelled_rows(
    model: keras.Model, dataset: tf.data.Dataset
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Of each sentence with a word that counts: its row, and of its words labels and logits.

    Yields:
        The number of the row in the data set, from 0; int32 (N,); float32 (N, C).
    """
    name = features.TOKEN_CLASSIFICATION
    tag = tf.function(lambda inputs: model(inputs, training=False)[name], reduce_retracing=True)
    rows = itertools.count()
    for inputs, labels, weights in dataset:
        counts = weights[name].numpy() > 0  # (B, T)
        for is_word, label, logits in zip(
            counts, labels[name].numpy(), tag(inputs).numpy(), strict=True
        ):
            row = next(rows)
            if is_word.any():
                yield row, label[is_word], logits[is_word]


def _in_words(worst: WorstRow, words: tuple[str, ...], *, ends: bool) -> WorstRow:
    """A sentence with its words, and entities in the place of tags: `per: Ada Byron`."""

    def entities(tags: str) -> str:
        return "; ".join(
            f"{entity.kind}: {' '.join(words[entity.first : entity.last + 1])}"
            for entity in find_entities(tags.split("\t"), ends=ends)
        )

    (whole,) = with_texts([replace(worst, row=0)], [(" ".join(words),)])
    return replace(
        whole,
        row=worst.row,
        right=entities(worst.right),
        predicted=entities(worst.predicted),
    )
