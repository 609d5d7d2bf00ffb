"""A confusion matrix as SVG, readable also of many classes.

Not by matplotlib: each cell tells its classes and its count to the pointer, which a plot cannot,
and of a hundred classes only the cells that hold something are written.
"""

from collections.abc import Sequence
from html import escape

# Classes up to which a cell has its count as a number.
_MOST_NUMBERS = 20
_LONGEST_NAME = 40  # letters; the whole name is told to the pointer
# The width of a letter of the labels over their size, on the safe side.
_LETTER = 0.6


def confusion_svg(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """The matrix, with its classes at the left and at the top.

    Args:
        names: Of the classes, C.
        counts: (C, C): rows are true classes, columns answers.
    """
    side = 36 if len(names) <= _MOST_NUMBERS else 14
    size = 11 if side > 14 else 9  # of letters
    shown = [
        name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}\u2026" for name in names
    ]
    margin = round(max(map(len, shown), default=0) * size * _LETTER) + 10
    extent = side * len(names)
    whole = margin + extent + 2
    parts = [
        f'<svg class="matrix" viewBox="0 0 {whole} {whole}" font-size="{size}" '
        f'style="width: {whole}px; max-width: none" role="img">'
    ]
    for number, (name, label) in enumerate(zip(names, shown, strict=True)):
        middle = margin + number * side + side / 2
        parts.append(
            f'<text x="{margin - 5}" y="{middle:g}" text-anchor="end" dominant-baseline="central">'
            f"<title>{escape(name)}</title>{escape(label)}</text>"
            f'<text transform="translate({middle:g} {margin - 5}) rotate(-90)" '
            f'dominant-baseline="central"><title>{escape(name)}</title>{escape(label)}</text>'
        )
    for row, line in enumerate(counts):
        total = max(sum(line), 1)
        for column, count in enumerate(line):
            if count:
                place = (margin + column * side, margin + row * side)
                told = f"{names[row]} \u2192 {names[column]}: {count:,} of {total:,}"
                kind = "right" if row == column else "wrong"
                parts.append(_cell(place, side, told, kind, (count, count / total)))
    parts.append(
        f'<rect class="frame" x="{margin}" y="{margin}" width="{extent}" height="{extent}"/></svg>'
    )
    return "".join(parts)


def _cell(place: tuple[int, int], side: int, told: str, kind: str, count: tuple[int, float]) -> str:
    """A square with its count and the share of the class that it is."""
    (x, y), (number, share) = place, count
    # Few of many are to be seen too.
    strength = 0.1 + 0.9 * share**0.5
    rect = (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{side}" height="{side}" '
        f'fill-opacity="{strength:.2f}"><title>{escape(told)}</title></rect>'
    )
    if side <= 14:
        return rect
    on = ' class="on"' if strength > 0.6 else ""
    return (
        f'{rect}<text{on} x="{x + side / 2:g}" y="{y + side / 2:g}" text-anchor="middle" '
        f'dominant-baseline="central" pointer-events="none">{number}</text>'
    )
