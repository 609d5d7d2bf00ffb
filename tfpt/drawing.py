"""Plots for pages: SVG as text, the same to the byte each time, in the colours of the page.

Imports matplotlib where it draws, not before.
"""

import io
import re
from typing import Any

# Each is drawn as this colour and becomes a variable of the page, which has one for a light and one
# for a dark background; see pages.py.
INK, GREY, BLUE, ORANGE = "#1a202c", "#cbd5e0", "#2b6cb0", "#dd8a2f"
_VARIABLES = {INK: "--ink", GREY: "--line", BLUE: "--blue", ORANGE: "--orange"}
_WIDTH = 9.0  # inches


def style() -> Any:
    """A context in which nothing of the machine's settings shows in a plot."""
    import matplotlib

    return matplotlib.rc_context(
        {
            **matplotlib.rcParamsDefault,
            "svg.hashsalt": "tfpt",  # else the ids inside are random
            "svg.fonttype": "none",  # text stays text, in the reader's font
            "font.family": ["sans-serif"],
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 10,
            "text.color": INK,
            "axes.labelcolor": INK,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "xtick.color": GREY,
            "axes.edgecolor": GREY,
            "grid.color": GREY,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "ytick.major.size": 0,
            # The page shows through.
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
        }
    )


def figure(height: float, width: float = _WIDTH) -> Any:
    """A figure and its axes, in inches."""
    # The classes, not pyplot: no window, no backend, nothing global.
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    return drawn, drawn.add_subplot()


def svg(figure: Any) -> str:
    """The drawing, to stand in a page: neither date nor addresses of other sites."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    # Inside a page the names of XML's own are known.
    drawing = re.sub(r' (xmlns(:\w+)?)="[^"]*"', "", drawing)
    for color, variable in _VARIABLES.items():
        drawing = drawing.replace(color, f"var({variable})")
    return drawing.replace("xlink:href", "href")


def short(number: float) -> str:
    """A count in few letters, such as 1.5k."""
    for factor, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.3g}"
