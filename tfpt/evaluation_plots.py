"""The plots of an evaluation: learning curves and the reliability of probabilities, as SVG."""

from collections.abc import Sequence
from typing import Any

from tfpt import drawing
from tfpt.drawing import BLUE, INK, ORANGE

# Of a curve; of more, the means of neighbours are drawn.
_MOST_POINTS = 400


def learning_curve(
    records: Sequence[dict[str, float]],
    measure: str,
    *,
    points: Sequence[tuple[int, float]] = (),
    best: int | None = None,
) -> str:
    """A measure of training and validation by the step.

    Args:
        records: Of the epochs; see `epoch_records.history`.
        measure: Such as "loss"; "val_loss" is that of the validation.
        points: Steps and values of training within epochs.
        best: The step of the best epoch, which is marked.
    """
    with drawing.style():
        figure, axes = drawing.figure(2.9)
        steps = [record["step"] for record in records]
        if points:
            thinned = _thinned(points)
            axes.plot(
                *zip(*thinned, strict=True), color=INK, alpha=0.35, linewidth=1.0, label="steps"
            )
        for name, color, label in (
            (measure, BLUE, "training, mean of the epoch"),
            (f"val_{measure}", ORANGE, "validation"),
        ):
            values = [record[name] for record in records if name in record]
            if len(values) == len(steps):
                axes.plot(steps, values, color=color, marker="o", markersize=4, label=label)
        if best is not None:
            axes.axvline(best, color=INK, linewidth=0.8, linestyle=":", label="best epoch")
        axes.set_xlabel("step")
        axes.set_ylabel(measure.replace("_", " "))
        axes.grid(axis="y", linewidth=0.5)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return drawing.svg(figure)


def reliability(bins: Sequence[dict[str, Any]]) -> str:
    """The share that is right by the probability; what is told right lies on the diagonal.

    Args:
        bins: Of `calibration.Calibration.to_dict`.
    """
    with drawing.style():
        figure, axes = drawing.figure(3.6, 6.6)
        filled = [one for one in bins if one["count"]]
        axes.bar(
            [one["from"] for one in filled],
            [one["share_right"] for one in filled],
            [one["to"] - one["from"] for one in filled],
            align="edge",
            color=BLUE,
            alpha=0.75,
            edgecolor=INK,
            linewidth=0.6,
            label="share that is right",
        )
        axes.plot(
            [one["mean_probability"] for one in filled],
            [one["mean_probability"] for one in filled],
            color=ORANGE,
            marker="o",
            markersize=4,
            linestyle="none",
            label="mean probability",
        )
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="probability", ylabel="share that is right")
        axes.set_aspect("equal", anchor="W")
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return drawing.svg(figure)


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    size = -(-len(points) // _MOST_POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [
        (sum(step for step, _ in group) / len(group), sum(value for _, value in group) / len(group))
        for group in groups
    ]
