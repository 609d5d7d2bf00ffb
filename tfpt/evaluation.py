"""How good a model is: metrics and reports.

Shape letters: N rows of a data set, C classes.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from tfpt import (
    calibration,
    checkpoints,
    config,
    distribution,
    epoch_records,
    evaluation_logs,
    evaluation_page,
    features,
    importing,
    pages,
)
from tfpt.calibration import Calibration
from tfpt.worst_rows import WorstRow, with_texts, worst_rows

# Of a matrix of classes that is written out: 10,000 numbers; and of the pairs that are named.
_MOST_CLASSES = 100
_NUM_CONFUSIONS = 20


class Report(Protocol):
    """What a fine-tuned model got right; made by the function `report` of its recipe.

    One that names rows has also `with_texts`, which takes the texts of all rows evaluated, as
    `source_rows` of the data gives them, and returns a report with those that it names.
    """

    @property
    def measures(self) -> dict[str, float]:
        """The few numbers that sum it up, by name."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON.

        Where there are such: `classes` by name; `confusion`; `confusions`, the most frequent;
        `calibration`; `worst`, rows. See ClassificationReport.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassificationReport:
    """What a classifier got right, on the whole and for each class.

    A share whose denominator is 0 (the precision of a class that is never predicted) is 0.
    """

    label_names: tuple[str, ...]
    confusion: np.ndarray  # int64 (C, C): rows are true classes, columns predicted ones
    loss: float  # mean cross-entropy, in nats
    calibration: Calibration
    worst: tuple[WorstRow, ...]

    @property
    def num_rows(self) -> int:
        """Rows that were classified."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of rows classified right."""
        return float(np.trace(self.confusion) / self.num_rows)

    @property
    def majority_accuracy(self) -> float:
        """What always answering the most frequent class would get right."""
        return float(self.confusion.sum(axis=1).max() / self.num_rows)

    @property
    def precision(self) -> np.ndarray:
        """float64 (C,): of the rows classified as a class, the share that belongs to it."""
        return share(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> np.ndarray:
        """float64 (C,): of the rows of a class, the share classified as it."""
        return share(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def f1(self) -> np.ndarray:
        """float64 (C,): the harmonic mean of precision and recall."""
        total = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        return share(2 * np.diag(self.confusion), total)

    @property
    def measures(self) -> dict[str, float]:
        """Accuracy, the mean of the classes' F1, and the loss."""
        macro_f1 = float(self.f1.mean())
        return {"accuracy": self.accuracy, "macro_f1": macro_f1, "loss": self.loss}

    def confusions(self) -> list[dict[str, Any]]:
        """What is taken for what: the most frequent pairs of a class and a wrong answer."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:_NUM_CONFUSIONS]
        places = (divmod(int(place), len(wrong)) for place in order)
        return [
            {
                "right": self.label_names[right],
                "predicted": self.label_names[predicted],
                "num_rows": int(wrong[right, predicted]),
            }
            for right, predicted in places
            if wrong[right, predicted]
        ]

    def with_texts(self, rows: Sequence[tuple[str, ...]]) -> "ClassificationReport":
        """The same with the texts of the worst rows, of all rows evaluated."""
        return replace(self, worst=with_texts(self.worst, rows))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON; no matrix of more than 100 classes."""
        columns = zip(
            self.label_names,
            self.precision,
            self.recall,
            self.f1,
            self.confusion.sum(axis=1),
            strict=True,
        )
        told = {
            "num_rows": self.num_rows,
            "accuracy": self.accuracy,
            "majority_accuracy": self.majority_accuracy,
            "loss": self.loss,
            "macro_precision": float(self.precision.mean()),
            "macro_recall": float(self.recall.mean()),
            "macro_f1": float(self.f1.mean()),
            "classes": {
                name: {
                    "precision": float(precision),
                    "recall": float(recall),
                    "f1": float(f1),
                    "num_rows": int(count),
                }
                for name, precision, recall, f1, count in columns
            },
            "confusions": self.confusions(),
            "calibration": self.calibration.to_dict(),
            "worst": [one.to_dict() for one in self.worst],
        }
        if len(self.label_names) <= _MOST_CLASSES:
            told["confusion"] = self.confusion.tolist()
        return told


def evaluate_classification(
    model: keras.Model, dataset: tf.data.Dataset, label_names: Sequence[str]
) -> ClassificationReport:
    """Classify a data set and count.

    Args:
        model: With the output `classification`.
        dataset: Finite; rows of weight 0 do not count.
        label_names: The name of each class, by its id.

    Raises:
        ValueError: The data set holds no row.
    """
    labels, logits = predictions(model, dataset)
    return classification_report(labels, logits, label_names)


def classification_report(
    labels: np.ndarray, logits: np.ndarray, label_names: Sequence[str]
) -> ClassificationReport:
    """Count what logits, float (N, C), got right of labels, int (N,)."""
    confusion = tf.math.confusion_matrix(
        labels, logits.argmax(axis=1), num_classes=len(label_names), dtype=tf.int64
    )
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    shares = softmax(logits.astype(np.float64), axis=1)

    def describe(row: int) -> tuple[str, str, float]:
        answer = shares[row].argmax()
        return label_names[labels[row]], label_names[answer], float(shares[row, answer])

    return ClassificationReport(
        label_names=tuple(label_names),
        confusion=confusion.numpy(),
        loss=float(tf.reduce_mean(losses)),
        calibration=calibration.of_classes(shares, labels),
        worst=worst_rows(losses.numpy(), describe),
    )


def predictions(
    model: keras.Model, dataset: tf.data.Dataset, name: str = features.CLASSIFICATION
) -> tuple[np.ndarray, np.ndarray]:
    """What a model says of the rows that count, in order.

    Args:
        model: With the output `name`.
        dataset: Finite; rows of weight 0 do not count.
        name: Of the label and the output.

    Returns:
        The labels (N, ...) and the outputs (N, ...), as features.py has them: of a classification
        int32 (N,) and logits float32 (N, C).

    Raises:
        ValueError: The data set holds no row that counts.
    """
    predict = tf.function(lambda inputs: model(inputs, training=False)[name], reduce_retracing=True)
    labels, outputs = [], []
    for inputs, label, weight in dataset:
        weights = weight[name].numpy()
        counts = (weights > 0).any(axis=tuple(range(1, weights.ndim)))  # (B,)
        labels.append(label[name].numpy()[counts])
        outputs.append(predict(inputs).numpy()[counts])
    if not sum(map(len, labels)):
        raise ValueError("The data set to evaluate on holds no row.")
    return np.concatenate(labels), np.concatenate(outputs)


def evaluate_run(recipe: ModuleType, path: str | Path) -> Report | dict[str, float]:
    """Evaluate the best weights of a run and write `evaluation.json` into its folder.

    A fine-tuned model is evaluated on its test rows or, where there are none, on its validation
    rows; a pre-trained one on its validation store. Of a fine-tuned one the report is also written
    as a page, `evaluation.html`, where the extra `reports` is installed, and for TensorBoard.

    Args:
        recipe: The module that the run's configuration names. Where its report needs something
            else than batches, it has `judged(settings, data, split)`; see recipes/embed.py.
        path: The run folder.

    Returns:
        The recipe's report for a fine-tuned model, the losses and accuracies by name for a
        pre-trained one.

    Raises:
        FileNotFoundError: There is no run, or it has no checkpoint.
        ValueError: The run has nothing to be evaluated on, or its data set has other labels now.
    """
    run = checkpoints.open_run(path)
    settings = config.from_dict(recipe.config(), run.settings)
    if not hasattr(recipe, "report"):
        if run.read_record(importing.RECORD) and run.checkpoint_path() is None:
            raise ValueError(
                f"The run {path} was imported and has no data to evaluate on. Fine-tune it (`tfpt "
                "finetune RECIPE --from RUN`), or go on with its pre-training (`tfpt pretrain bert "
                "--from RUN`)."
            )
        data = recipe.dataset(settings)
        if data.validation is None:
            raise ValueError(
                f"The run {path} has no validation store to evaluate on. Pre-train with --set "
                "data.validation_store=FOLDER, a store of other texts."
            )
        model = checkpoints.load(path, build=lambda run: recipe.model(settings, run.tokenizer))
        model.compile(jit_compile=False)
        measured = model.evaluate(data.validation, verbose=0, return_dict=True)
        record = {name: float(value) for name, value in measured.items()}
        run.write_record("evaluation.json", {"split": "validation", **record})
        return record
    data = recipe.dataset(settings, run.tokenizer)
    if tuple(data.label_names) != run.label_names:
        raise ValueError(
            f"The run {path} was trained on the labels {run.label_names}; its data set has "
            f"{tuple(data.label_names)} now."
        )
    split = "validation" if data.test is None else "test"
    model = checkpoints.load(
        path, build=lambda run: recipe.model(settings, run.tokenizer, run.label_names)
    )
    rows = getattr(data, split)
    if hasattr(recipe, "judged"):  # where batches alone do not tell what a report needs
        rows = recipe.judged(settings, data, split)
    report = recipe.report(model, rows, run.label_names)
    if hasattr(report, "with_texts") and hasattr(data, "source_rows"):
        report = report.with_texts(data.source_rows(split))
    distribution.release(model)  # other runs may be evaluated
    _write(run, recipe, split, report)
    return report


def _write(run: checkpoints.Run, recipe: ModuleType, split: str, report: Report) -> None:
    """Write a report into the run's folder: as JSON, for TensorBoard, and as a page."""
    told = report.to_dict()
    step = epoch_records.weights_step(run)
    run.write_record("evaluation.json", {"split": split, "step": step, **told})
    evaluation_logs.write_logs(run, split, told, report.measures)
    if pages.are_possible():
        evaluation_page.write_page(
            run,
            split,
            told,
            measures=report.measures,
            monitor=recipe.MONITOR,
            defaults=config.to_dict(recipe.config()),
        )
        return
    # One from before would tell other numbers.
    (run.path / evaluation_page.PAGE).unlink(missing_ok=True)
    warnings.warn(
        f"{evaluation_page.PAGE} is not written: matplotlib and jinja2, which draw it, are not "
        "installed. Install them by pip install 'tfpt[reports]'.",
        stacklevel=3,
    )


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """float64: part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
