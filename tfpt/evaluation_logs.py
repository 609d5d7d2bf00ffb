"""What TensorBoard shows of an evaluation: measures, classes, confusion, calibration.

It is written into `logs/evaluation` of the run, under the name of the split, at the step of the
weights that were evaluated, in the place of what an evaluation before has written.
"""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfpt.checkpoints import Run
from tfpt.epoch_records import weights_step
from tfpt.tensorboard_parts import colored, escaped, markdown_table

# Classes of a table, which has a line for each.
_MOST_CLASSES = 500
# Of the image of a confusion matrix, in pixels; a notch for each tenth class.
_IMAGE_SIDE, _MARGIN, _NOTCH_CLASSES = 512, 8, 10

_CONFUSION = (
    "A line for each true class, a column for each answer, in the order of the table of classes, "
    "with a notch for every tenth; the darker, the more of the class's rows (the square root of "
    "their share)."
)


def write_logs(run: Run, split: str, report: Mapping[str, Any], measures: Mapping[str, float]):
    """Write an evaluation for TensorBoard.

    Args:
        run: The run.
        split: Whose rows were evaluated.
        report: From `evaluation.Report.to_dict`.
        measures: From `evaluation.Report.measures`.
    """
    folder = run.path / "logs" / "evaluation"
    before = list(folder.glob("events.out.tfevents.*"))
    calibration = report.get("calibration", {})
    names = ("expected_calibration_error", "brier_score")
    values = {**measures, **{name: calibration[name] for name in names if calibration}}
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=weights_step(run)):
        for name, value in values.items():
            tf.summary.scalar(f"{split}/{name}", value)
        for name, text in texts(report).items():
            tf.summary.text(f"{split}/{name}", text)
        if "confusion" in report:
            image = confusion_image(np.array(report["confusion"]))
            tf.summary.image(f"{split}/confusion", image[None], description=_CONFUSION)
    writer.close()
    for old in before:
        with contextlib.suppress(FileNotFoundError):
            old.unlink()


def points(run: Run, tag: str) -> list[tuple[int, float]]:
    """The steps and values of a curve that the training of a run wrote, in order."""
    folder = run.path / "logs" / "train"
    if not folder.exists():
        return []
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    if tag not in events.Tags()["tensors"]:
        return []
    # What was written again after a stop comes last.
    found = {one.step: float(tf.make_ndarray(one.tensor_proto)) for one in events.Tensors(tag)}
    return sorted(found.items())


def texts(report: Mapping[str, Any]) -> dict[str, str]:
    """The tables of a report as Markdown, by name."""
    found = {}
    if "classes" in report:
        found["classes"] = _classes(report["classes"])
    if report.get("confusions"):
        rows = [
            [escaped(one["right"]), escaped(one["predicted"]), f"{one['num_rows']:,}"]
            for one in report["confusions"]
        ]
        found["confusions"] = markdown_table(["true class", "answer", "rows"], rows)
    if "calibration" in report:
        rows = [
            [
                f"{one['from']:.3f} to {one['to']:.3f}",
                f"{one['count']:,}",
                *(f"{one[name]:.3f}" for name in ("mean_probability", "share_right")),
            ]
            for one in report["calibration"]["bins"]
            if one["count"]
        ]
        columns = ["probability", "count", "mean", "share that is right"]
        found["calibration"] = markdown_table(columns, rows)
    return found


def _classes(classes: Mapping[str, Mapping[str, float]]) -> str:
    first: Mapping[str, float] = next(iter(classes.values()), {})
    columns = ["class", *(escaped(name.replace("_", " ")) for name in first)]
    rows = [
        [escaped(name), *(_number(value) for value in measured.values())]
        for name, measured in list(classes.items())[:_MOST_CLASSES]
    ]
    more = len(classes) - len(rows)
    return markdown_table(columns, rows) + (f"\n\nand {more:,} more" if more else "")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def confusion_image(confusion: np.ndarray) -> np.ndarray:
    """A confusion matrix as colours.

    Args:
        confusion: int (C, C).

    Returns:
        uint8 (height, width, 3).
    """
    totals = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    scale = max(1, math.ceil(_IMAGE_SIDE / len(confusion)))
    pixels = colored(np.sqrt(confusion / totals)).repeat(scale, axis=0).repeat(scale, axis=1)
    image = np.full((len(pixels) + _MARGIN, len(pixels) + _MARGIN, 3), 255, np.uint8)
    image[_MARGIN:, _MARGIN:] = pixels
    notches = np.arange(0, len(confusion), _NOTCH_CLASSES) * scale + scale // 2 + _MARGIN
    image[notches, : _MARGIN // 2] = image[: _MARGIN // 2, notches] = 0
    return image
