"""The plots of a report: SVG as text."""

from tfpt import drawing
from tfpt.drawing import BLUE, GREY, ORANGE

# Of a plot of languages; more are in the table.
_MOST_LANGUAGES = 15


def funnel(names: list[str], documents: list[int]) -> str:
    """A bar for what is left after each step, the first for what there was."""
    with drawing.style():
        figure, axes = drawing.figure(0.8 + 0.42 * len(names))
        places = range(len(names))
        axes.barh(places, [documents[0]] * len(names), color=GREY, height=0.62, alpha=0.45)
        axes.barh(places, documents, color=BLUE, height=0.62)
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
        return drawing.svg(figure)


def lengths(bins: list[list[int]]) -> str:
    """Documents by length before and after; the bins are on a logarithmic axis."""
    with drawing.style():
        figure, axes = drawing.figure(3.0)
        places = list(range(len(bins)))
        axes.bar(places, [one[1] for one in bins], color=GREY, width=0.92, label="before")
        axes.bar(places, [one[2] for one in bins], color=BLUE, width=0.6, label="after")
        every = max(1, len(bins) // 12)
        axes.set_xticks(places[::every], [drawing.short(one[0]) for one in bins][::every])
        axes.set_xlabel("characters in a document, at least")
        axes.set_ylabel("documents")
        axes.yaxis.set_major_formatter(lambda value, _: drawing.short(value))
        axes.legend(frameon=False)
        return drawing.svg(figure)


def languages(shares: dict[str, int]) -> str:
    """Documents in each language, the most frequent first."""
    shown = list(shares.items())[:_MOST_LANGUAGES]
    rest = sum(shares.values()) - sum(count for _, count in shown)
    if rest:
        shown.append(("others", rest))
    with drawing.style():
        figure, axes = drawing.figure(0.8 + 0.3 * len(shown))
        places = range(len(shown))
        axes.barh(places, [count for _, count in shown], color=ORANGE, height=0.62)
        axes.set_yticks(places, [name for name, _ in shown])
        axes.invert_yaxis()
        most, total = max(count for _, count in shown), sum(shares.values())
        for place, (_, count) in enumerate(shown):
            axes.text(count + most * 0.01, place, f"{count:,}  ({count / total:.1%})", va="center")
        axes.set_xlim(0, most * 1.22)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        return drawing.svg(figure)
