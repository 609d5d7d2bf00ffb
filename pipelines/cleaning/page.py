"""The report as a page."""

from pathlib import Path
from typing import Any

from tfpt import pages
from tfpt.pipelines.cleaning import plots

# What a step is called on the page, and what it does.
TITLES = {
    "unicode": "Unicode",
    "length": "Length",
    "repetition": "Repetition",
    "languages": "Languages",
    "overlap": "Evaluation texts",
    "personal_data": "Personal data",
    "exact_duplicates": "Exact duplicates",
    "near_duplicates": "Near duplicates",
}

_TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cleaning report</title>
<style>
{{ style | safe }}</style>
</head>
<body>
<main>
<h1>Cleaning report</h1>
<p class="sub">tfpt {{ report.tfpt }}; {{ report.steps | length }}
{{ "step" if report.steps | length == 1 else "steps" }}, in the order of the table.</p>
<div class="cards">
{% for what in ("documents", "sentences", "characters") %}
<div class="card"><b>{{ "{:,}".format(report.after[what]) }}</b>{{ what }}, of
{{ "{:,}".format(report.before[what]) }}
<span class="sub">({{ share(report.after[what], report.before[what]) }})</span></div>
{% endfor %}
</div>

<section><h2>Documents after each step</h2>
{{ funnel | safe }}
<table>
<tr><th>step</th><th class="n">dropped</th><th class="n">changed</th><th class="n">documents</th>
<th class="n">sentences</th><th class="n">characters</th></tr>
<tr><td>before</td><td></td><td></td>
{% for what in ("documents", "sentences", "characters") %}
<td class="n">{{ "{:,}".format(report.before[what]) }}</td>{% endfor %}</tr>
{% for step in report.steps %}
<tr><td>{{ titles[step.name] }}</td>
<td class="n">{{ "{:,}".format(step.dropped.values() | sum) }}</td>
<td class="n">{{ "{:,}".format(step.changed) }}</td>
{% for what in ("documents", "sentences", "characters") %}
<td class="n">{{ "{:,}".format(step.after[what]) }}</td>{% endfor %}</tr>
{% endfor %}
</table></section>

<section><h2>Length of documents</h2>{{ lengths | safe }}</section>

{% if languages %}<section><h2>Languages of documents</h2>{{ languages | safe }}
<p class="note">Of the documents that reached this step.</p></section>{% endif %}

{% if reasons %}<section><h2>Why documents were dropped</h2>
<table><tr><th>step</th><th>reason</th><th class="n">documents</th><th class="n">share</th></tr>
{% for name, reason, count in reasons %}
<tr><td>{{ titles[name] }}</td><td>{{ reason }}</td><td class="n">{{ "{:,}".format(count) }}</td>
<td class="n">{{ share(count, report.before.documents) }}</td></tr>
{% endfor %}</table></section>{% endif %}

{% if report.evaluation %}<section><h2>Evaluation texts in the corpus</h2>
<table><tr><th>source</th><th class="n">texts</th><th class="n">too short</th>
<th class="n">found</th><th class="n">share found</th></tr>
{% for one in report.evaluation %}
<tr><td>{{ one.source }}</td><td class="n">{{ "{:,}".format(one.texts) }}</td>
<td class="n">{{ "{:,}".format(one.too_short) }}</td>
<td class="n">{{ "{:,}".format(one.found) }}</td>
<td class="n">{{ share(one.found, one.texts) }}</td></tr>
{% endfor %}</table></section>{% endif %}

{% if masked %}<section><h2>Personal data that was masked</h2>
<table><tr><th>kind</th><th class="n">times</th></tr>
{% for kind, count in masked.items() %}
<tr><td>{{ kind }}</td><td class="n">{{ "{:,}".format(count) }}</td></tr>{% endfor %}
</table></section>{% endif %}

{% for step in report.steps if step.examples %}
<section><h2>Examples: {{ titles[step.name] }}</h2>
{% for reason, examples in step.examples.items() %}<h3>{{ reason }}</h3>
{% for one in examples %}<blockquote dir="auto">{{ one.text }}
{% if one.detail %}<span>{{ one.detail }}</span>{% endif %}
{% if one.repeats %}<span>repeats: {{ one.repeats }}</span>{% endif %}</blockquote>
{% endfor %}{% endfor %}</section>
{% endfor %}

<section><h2>Settings</h2>
<table>{% for name, value in report.cleaning.items() %}
<tr><td>{{ name }}</td><td><code>{{ value | tojson }}</code></td></tr>{% endfor %}
{% for name, version in report.decided_by.items() %}
<tr><td>{{ name }}</td><td>{{ version }}</td></tr>{% endfor %}
</table>
{% if report.bytes_per_document %}<p class="note">The removal of duplicates took up to
{{ "{:,}".format(report.bytes_per_document) }} bytes on disk for each document.</p>{% endif %}
</section>
</main>
</body>
</html>
"""


def write_page(report: dict[str, Any], path: Path) -> None:
    """Write the report as a page.

    Args:
        report: As `report.corpus_report` gives it.
        path: The file to write.
    """
    path.write_text(page(report), encoding="utf-8")


def page(report: dict[str, Any]) -> str:
    """The page of a report."""
    names = ["before", *(TITLES[step["name"]] for step in report["steps"])]
    documents = [report["before"]["documents"]]
    documents += [step["after"]["documents"] for step in report["steps"]]
    found = {step["name"]: step["found"] for step in report["steps"]}
    shares = found.get("languages", {})
    values = {
        "report": report,
        "titles": TITLES,
        "share": _share,
        # Of our own making; all text of the corpus is escaped.
        "funnel": plots.funnel(names, documents),
        "lengths": plots.lengths(report["lengths"]),
        "languages": plots.languages(shares) if shares else "",
        "reasons": [
            (step["name"], reason, count)
            for step in report["steps"]
            for reason, count in step["dropped"].items()
        ],
        "masked": found.get("personal_data", {}),
    }
    return pages.render(_TEMPLATE, values)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""
