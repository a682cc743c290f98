"""`report.html`: one self-contained page about a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from anima_core.cache import write_whole
from anima_core.runs.folder import RunFolder

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid
#ddd;text-align:left;vertical-align:top}th{font-weight:600}h1{font-size:1.5rem}h2{font-size:1.1rem;
margin-top:2rem}svg{width:100%;height:auto}.muted{color:#777}
"""


def write_report(folder: RunFolder) -> None:
    """Write the page from what the run directory holds."""
    manifest, rows = folder.manifest, folder.read_metrics()
    steps = [row for row in rows if "loss" in row]
    evaluations = [row for row in rows if "eval_loss" in row]
    subtitle = (
        f"{manifest['model']['given']} · {manifest['state']} · {len(steps)} steps · "
        f"{manifest['created']}"
    )
    body = [
        f"<h1>{escape(folder.path.name)}</h1>",
        f"<p>{escape(subtitle)}</p>",
        "<h2>Who did what</h2>",
        _table(
            ("slot", "strategy", "from", "note"),
            [
                (s["hook"], s["strategy"], f"{s['distribution']} {s['version']}", s["note"])
                for s in manifest["plan"]["slots"]
            ],
        ),
        "<h2>Data</h2>",
        _pairs(manifest["plan"]["data"] or {}),
        "<h2>Loss</h2>",
        _curve([(row["step"], row["loss"]) for row in steps]),
        "<h2>Evaluations</h2>" if evaluations else "",
        _records(evaluations),
        "<h2>Sample answers</h2>" if folder.read_samples() else "",
        _samples(folder.read_samples()),
        "<h2>Versions</h2>",
        _pairs(manifest["versions"]),
    ]
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{escape(folder.path.name)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )
    write_whole(folder.path / "report.html", page)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(_text(c))}</{tag}>" for c in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _pairs(values: Mapping[str, Any]) -> str:
    return _table(("what", "value"), list(values.items()))


def _records(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    names = list(rows[-1])
    return _table(names, [[row.get(name, "") for name in names] for row in rows])


def _samples(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    steps = sorted({row["step"] for row in rows})
    prompts = list(dict.fromkeys(row["prompt"] for row in rows))
    by_place = {(row["prompt"], row["step"]): row["answer"] for row in rows}
    table = [[prompt, *(by_place.get((prompt, s), "") for s in steps)] for prompt in prompts]
    return _table(("prompt", *(f"after step {s}" for s in steps)), table)


def _curve(points: Sequence[tuple[int, float]]) -> str:
    """The loss by step as an inline drawing."""
    if len(points) < 2:
        return _table(("step", "loss"), points)
    width, height, left, low = 800, 240, 60, 24
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    top, bottom = max(ys), min(ys)
    spread = (top - bottom) or 1.0

    def place(step: int, loss: float) -> str:
        x = left + (width - left - 10) * (step - xs[0]) / (xs[-1] - xs[0])
        y = 10 + (height - 10 - low) * (top - loss) / spread
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(*point) for point in points)
    labels = (
        f"<text x='0' y='16' font-size='12'>{top:.3f}</text>"
        f"<text x='0' y='{height - low}' font-size='12'>{bottom:.3f}</text>"
        f"<text x='{left}' y='{height - 4}' font-size='12'>step {xs[0]}</text>"
        f"<text x='{width - 80}' y='{height - 4}' font-size='12'>step {xs[-1]}</text>"
    )
    return (
        f"<svg viewBox='0 0 {width} {height}' role='img' aria-label='loss by step'>{labels}"
        f"<polyline fill='none' stroke='#2563eb' stroke-width='1.5' points='{line}'/></svg>"
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    return str(value)
