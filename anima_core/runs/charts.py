"""Numbers by step as inline drawings (SVG), without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean

Points = Sequence[tuple[int, float]]

WIDTH, HEIGHT, LEFT, LOW = 400, 170, 62, 22
MOST = 300
"""Points of a line; of more, neighbours are drawn as their mean."""
COLOURS = ("#2563eb", "#dc2626", "#059669", "#9333ea", "#d97706", "#475569")


def chart(title: str, lines: Mapping[str, Points], dots: Mapping[str, Points]) -> str:
    """One drawing.

    Args:
        title: what it shows.
        lines: values by step, by name; at least one of them with a point.
        dots: values that belong to the line of that name, measured on other data.
    """
    lines = {name: thinned(points) for name, points in lines.items()}
    every = [point for points in (*lines.values(), *dots.values()) for point in points]
    steps, values = [p[0] for p in every], [p[1] for p in every]
    first, last, top, bottom = min(steps), max(steps), max(values), min(values)
    wide, high = (last - first) or 1, (top - bottom) or 1.0

    def place(step: int, value: float) -> tuple[str, str]:
        x = LEFT + (WIDTH - LEFT - 8) * (step - first) / wide
        y = 8 + (HEIGHT - 8 - LOW) * (top - value) / high
        return f"{x:.1f}", f"{y:.1f}"

    drawn = []
    for number, name in enumerate(dict.fromkeys((*lines, *dots))):
        colour = COLOURS[number % len(COLOURS)]
        spots = [place(*point) for point in lines.get(name, ())]
        if spots:
            path = " ".join(",".join(spot) for spot in spots)
            drawn.append(
                f"<polyline fill='none' stroke='{colour}' stroke-width='1.5' points='{path}'/>"
            )
        if len(spots) == 1:
            drawn.append(_dot(*spots[0], colour, 2.5))
        drawn += [_dot(*place(*point), colour, 3.5) for point in dots.get(name, ())]
    labels = (
        f"<text x='0' y='16'>{top:.4g}</text><text x='0' y='{HEIGHT - LOW}'>{bottom:.4g}</text>"
        f"<text x='{LEFT}' y='{HEIGHT - 4}'>step {first}</text>"
        f"<text x='{WIDTH - 8}' y='{HEIGHT - 4}' text-anchor='end'>step {last}</text>"
    )
    return (
        f"<figure><figcaption>{_caption(title, lines, dots)}</figcaption>"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(title)} by step'"
        f" font-size='11'>{labels}{''.join(drawn)}</svg></figure>"
    )


def thinned(points: Points) -> Points:
    """At most `MOST` points; neighbours that are too many give their mean, at the last's step."""
    size = -(-len(points) // MOST)
    if size <= 1:
        return points
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    return [(part[-1][0], fmean(value for _, value in part)) for part in parts]


def _caption(title: str, lines: Mapping[str, Points], dots: Mapping[str, Points]) -> str:
    names = list(dict.fromkeys((*lines, *dots)))
    keys = [
        f"<span style='color:{COLOURS[number % len(COLOURS)]}'>{escape(name)}</span>"
        for number, name in enumerate(names)
    ]
    whole = ", ".join(keys) if len(names) > 1 else escape(title)
    return whole + (" <span class='muted'>● held-out data</span>" if any(dots.values()) else "")


def _dot(x: str, y: str, colour: str, radius: float) -> str:
    return f"<circle cx='{x}' cy='{y}' r='{radius}' fill='{colour}'/>"
