"""An evaluation as a page, `evaluation.html`: what evaluation.json holds, and how it came."""

import json
import shlex
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from tfpt import __version__, config, evaluation_plots, pages
from tfpt.checkpoints import Run
from tfpt.confusion_drawing import confusion_svg
from tfpt.epoch_records import best_epoch, history
from tfpt.evaluation_logs import points
from tfpt.record_files import write_text

PAGE = "evaluation.html"
# What has a place of its own on the page; all other numbers come after the measures.
_SHOWN = {"split", "classes", "confusion", "confusions", "calibration", "worst"}

_TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
{{ style | safe }}
.bar { display: inline-block; height: .6rem; border-radius: 2px; background: var(--blue); }
.matrix .right { fill: var(--blue); } .matrix .wrong { fill: var(--orange); }
.matrix text { fill: var(--ink); } .matrix .on { fill: var(--paper); }
.matrix .frame { fill: none; stroke: var(--line); }
td.wrong { color: var(--orange); font-weight: 600; }
.half { max-width: 34rem; }
.worst td { overflow-wrap: anywhere; min-width: 9rem; } .worst td.text { min-width: 16rem; }
.worst td.n { min-width: 0; overflow-wrap: normal; }
/* A large matrix may be wider than the column of the page, up to the window. */
.wide { width: max-content; max-width: calc(100vw - 4rem); margin-left: 50%;
        transform: translateX(-50%); box-sizing: border-box; }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p class="sub">{{ recipe }}, {{ split }} rows; tfpt {{ version }}</p>
<div class="cards">
{% for name, value in measures.items() %}
<div class="card"><b>{{ number(value) }}</b>{{ words(name) }}</div>
{% endfor %}
</div>
{% if others %}<p class="note">{% for name, value in others.items() -%}
{{ words(name) }} {{ number(value) }}{{ ", " if not loop.last else "." }}
{%- endfor %}</p>{% endif %}

{% if curves %}<section><h2>Learning curves</h2>
{% for curve in curves %}{{ curve | safe }}{% endfor %}</section>{% endif %}

{% if report.classes %}<section><h2>Classes</h2>
<table><tr><th>class</th>{% for name in class_columns %}
<th class="n">{{ words(name) }}</th>{% endfor %}<th></th></tr>
{% for name, row in report.classes.items() %}
<tr><td dir="auto">{{ name }}</td>{% for value in row.values() %}
<td class="n">{{ number(value) }}</td>{% endfor %}
<td><span class="bar" style="width: {{ "%.2f" | format(6 * row.get("f1", 0)) }}rem"></span></td>
</tr>
{% endfor %}</table></section>{% endif %}

{% if confusion %}<section{% if report.classes | length > 20 %} class="wide"{% endif %}>
<h2>Confusion</h2>
<p class="note">A line for each true class, a column for each answer: right in blue, wrong in
orange, the stronger the larger the share of the class. What is under the pointer is told in
words.</p>
{{ confusion | safe }}</section>{% endif %}

{% if report.confusions %}<section><h2>What is taken for what most often</h2>
<table><tr><th>true class</th><th>answer</th><th class="n">rows</th></tr>
{% for one in report.confusions %}
<tr><td dir="auto">{{ one.right }}</td><td dir="auto">{{ one.predicted }}</td>
<td class="n">{{ number(one.num_rows) }}</td></tr>{% endfor %}</table></section>{% endif %}

{% if report.calibration %}<section><h2>Calibration</h2>
<p>Expected calibration error {{ number(report.calibration.expected_calibration_error) }}, Brier
score {{ number(report.calibration.brier_score) }}.</p>
<div class="half">{{ reliability | safe }}</div>
<table><tr><th>probability</th><th class="n">count</th><th class="n">mean probability</th>
<th class="n">share that is right</th></tr>
{% for one in report.calibration.bins if one.count %}
<tr><td>{{ "%.3f to %.3f" | format(one["from"], one.to) }}</td>
<td class="n">{{ number(one.count) }}</td><td class="n">{{ number(one.mean_probability) }}</td>
<td class="n">{{ number(one.share_right) }}</td></tr>{% endfor %}</table>
<p class="note">{{ report.calibration.bins | length }} bins of equal width (Guo et al. 2017,
arXiv:1706.04599). The error is the distance of the last two columns, in the mean of all that are
counted; the score the mean squared distance of the probabilities from what is right (Brier
1950).</p></section>{% endif %}

{% if report.worst %}<section><h2>Worst examples</h2>
{% set measure = "rank" if report.worst[0].rank is defined else "loss" %}
<p class="note">The {{ report.worst | length }} rows with the highest {{ measure }}, by their
numbers from 0; long texts are cut.</p>
<table class="worst"><tr><th class="n">row</th><th>text</th><th>right</th><th>predicted</th>
{% if report.worst[0].probability is defined %}<th class="n">with probability</th>{% endif %}
<th class="n">{{ measure }}</th></tr>
{% for one in report.worst %}
<tr><td class="n">{{ one.row }}</td><td class="text" dir="auto">
{% for text in one.text %}<div>{{ text }}</div>{% endfor %}</td>
<td dir="auto">{{ breakable(one.right) | safe or "none" }}</td>
<td dir="auto"{% if one.right != one.predicted %} class="wrong"{% endif %}>
{{- breakable(one.predicted) | safe or "none" }}</td>
{% if one.probability is defined %}<td class="n">{{ number(one.probability) }}</td>{% endif %}
<td class="n">{{ number(one[measure]) }}</td></tr>{% endfor %}</table></section>{% endif %}

<section><h2>How it was made</h2>
<pre>{{ commands }}</pre>
<table>{% for name, value in settings %}
<tr><td>{{ name }}</td><td><code>{{ value | tojson }}</code></td></tr>{% endfor %}
</table></section>
</main>
</body>
</html>
"""


def write_page(run: Run, split: str, report: Mapping[str, Any], **numbers: Any) -> None:
    """Write the page into the run's folder, as a whole or not at all; see `page`."""
    write_text(run.path / PAGE, page(run, split, report, **numbers))


def page(
    run: Run,
    split: str,
    report: Mapping[str, Any],
    *,
    measures: Mapping[str, float],
    monitor: str,
    defaults: Mapping[str, Any],
) -> str:
    """An evaluation as a page.

    Args:
        run: The run, whose records of epochs are drawn.
        split: Whose rows were evaluated.
        report: From `evaluation.Report.to_dict`.
        measures: From `evaluation.Report.measures`.
        monitor: The measure of the best epoch.
        defaults: The recipe's configuration before anything is set, as `config.to_dict` gives it.
    """
    classes, calibration = report.get("classes", {}), report.get("calibration")
    values = {
        "title": str(_path(run)),
        "recipe": run.recipe.removeprefix("tfpt.recipes."),
        "split": split,
        "version": __version__,
        "measures": measures,
        "others": {
            name: value
            for name, value in report.items()
            if name not in {*_SHOWN, *measures} and isinstance(value, int | float)
        },
        "report": report,
        "class_columns": list(next(iter(classes.values()), {})),
        # Drawings of our own making; all else on the page is escaped.
        "curves": _curves(run, monitor),
        "confusion": confusion_svg(list(classes), report["confusion"])
        if "confusion" in report
        else "",
        "reliability": evaluation_plots.reliability(calibration["bins"]) if calibration else "",
        "commands": f"{command(run, defaults)}\ntfpt evaluate {_quoted(_path(run))}",
        "settings": list(config.flatten(run.settings)),
        "number": _number,
        "words": _words,
        "breakable": _breakable,
    }
    return pages.render(_TEMPLATE, values)


def command(run: Run, defaults: Mapping[str, Any]) -> str:
    """The command that trains a run anew, in lines that a shell reads as one.

    Args:
        run: The run.
        defaults: The recipe's configuration before anything is set, as `config.to_dict` gives it.
    """
    name = run.recipe.removeprefix("tfpt.recipes.")
    start = run.settings.get("start", "")
    before = dict(config.flatten(dict(defaults)))
    told = {
        field: value
        for field, value in config.flatten(run.settings)
        if field != "start"
        and before.get(field) != value
        # A run that took over an encoder took over its size.
        and not (start and field.startswith("model."))
    }
    lines = [f"tfpt finetune {name}"]
    lines += [f"--from {_quoted(start)}"] if start else []
    lines += [f"--set {_quoted(f'{field}={_as_set(value)}')}" for field, value in told.items()]
    lines.append(f"--out {_quoted(_path(run))}")
    return " \\\n    ".join(lines)


def _path(run: Run) -> Path:
    """Of the run, also where it was opened by a link, as the best of a sweep is."""
    return run.path.parent / run.path.readlink() if run.path.is_symlink() else run.path


def _quoted(value: Any) -> str:
    return shlex.quote(str(value))


def _as_set(value: Any) -> str:
    """The value of a field as --set takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(_as_set, value))
    return (
        str(value) if isinstance(value, str | float) else json.dumps(value).replace("null", "none")
    )


def _curves(run: Run, monitor: str) -> list[str]:
    """The loss, and every other measure of training and validation alike."""
    records = history(run)
    if not records:
        return []
    best = int(records[best_epoch(records, monitor)]["step"]) if monitor in records[0] else None
    names = [
        name for name in records[0] if f"val_{name}" in records[0] and not name.endswith("_loss")
    ]
    names.sort(key=lambda name: name != "loss")
    return [
        evaluation_plots.learning_curve(
            records, name, points=points(run, f"steps/{name}"), best=best
        )
        for name in names
    ]


def _breakable(text: str) -> str:
    """Escaped, with places where a line may end in names such as card_payment_not_recognised."""
    return escape(text).replace("_", "_<wbr>")


def _words(name: str) -> str:
    """The name of a measure as it is read."""
    return name.removeprefix("num_").replace("_", " ").replace("f1", "F1")


def _number(value: Any) -> str:
    """A count, or a measure with four places."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
