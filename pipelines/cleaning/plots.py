"""The plots of a report: SVG as text, the same to the byte each time."""

import io
import re
from typing import Any

_BLUE, _ORANGE, _GREY, _INK = "#2b6cb0", "#dd8a2f", "#cbd5e0", "#1a202c"
_WIDTH = 9.0  # inches
# Of a plot of languages; more are in the table.
_MOST_LANGUAGES = 15


def funnel(names: list[str], documents: list[int]) -> str:
    """A bar for what is left after each step, the first for what there was."""
    with _style():
        figure, axes = _figure(0.8 + 0.42 * len(names))
        places = range(len(names))
        axes.barh(places, [documents[0]] * len(names), color=_GREY, height=0.62, alpha=0.45)
        axes.barh(places, documents, color=_BLUE, height=0.62)
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        for place, count in enumerate(documents):
            share = count / max(documents[0], 1)
            axes.text(
                documents[0] * 1.01, place, f"{count:,}  ({share:.1%})", va="center", fontsize=10
            )
        axes.set_xlim(0, documents[0] * 1.22)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        return _svg(figure)


def lengths(bins: list[list[int]]) -> str:
    """Documents by length before and after; the bins are on a logarithmic axis."""
    with _style():
        figure, axes = _figure(3.0)
        places = list(range(len(bins)))
        axes.bar(places, [one[1] for one in bins], color=_GREY, width=0.92, label="before")
        axes.bar(places, [one[2] for one in bins], color=_BLUE, width=0.6, label="after")
        every = max(1, len(bins) // 12)
        axes.set_xticks(places[::every], [_short(one[0]) for one in bins][::every])
        axes.set_xlabel("characters in a document, at least")
        axes.set_ylabel("documents")
        axes.yaxis.set_major_formatter(lambda value, _: _short(value))
        axes.legend(frameon=False)
        return _svg(figure)


def languages(shares: dict[str, int]) -> str:
    """Documents in each language, the most frequent first."""
    shown = list(shares.items())[:_MOST_LANGUAGES]
    rest = sum(shares.values()) - sum(count for _, count in shown)
    if rest:
        shown.append(("others", rest))
    with _style():
        figure, axes = _figure(0.8 + 0.3 * len(shown))
        places = range(len(shown))
        axes.barh(places, [count for _, count in shown], color=_ORANGE, height=0.62)
        axes.set_yticks(places, [name for name, _ in shown])
        axes.invert_yaxis()
        most, total = max(count for _, count in shown), sum(shares.values())
        for place, (_, count) in enumerate(shown):
            axes.text(count + most * 0.01, place, f"{count:,}  ({count / total:.1%})", va="center")
        axes.set_xlim(0, most * 1.22)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        return _svg(figure)


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(
        {
            **matplotlib.rcParamsDefault,
            "svg.hashsalt": "tfpt",  # else the ids inside are random
            "svg.fonttype": "none",  # text stays text, in the reader's font
            "font.family": ["sans-serif"],
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 10,
            "text.color": _INK,
            "axes.edgecolor": _GREY,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "ytick.major.size": 0,
        }
    )


def _figure(height: float) -> Any:
    # The classes, not pyplot: no window, no backend, nothing global.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Any) -> str:
    """The drawing without a header: neither date nor addresses of other sites."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    # Inside a page the names of XML's own are known.
    drawing = re.sub(r' (xmlns(:\w+)?)="[^"]*"', "", drawing)
    return drawing.replace("xlink:href", "href")


def _short(number: float) -> str:
    for factor, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.3g}"
