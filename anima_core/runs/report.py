"""`report.html`: one self-contained page about a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from anima_core.cache import write_whole
from anima_core.runs.charts import chart
from anima_core.runs.folder import RunFolder
from anima_core.runs.held_out import PREFIX, Change, changes

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid
#ddd;text-align:left;vertical-align:top}th{font-weight:600}h1{font-size:1.5rem}h2{font-size:1.1rem;
margin-top:2rem}svg{width:100%;height:auto}.muted{color:#777}figure{margin:0}figcaption{font-weight:
600;font-size:13px}.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));
gap:1rem 1.5rem}
"""

_APART = frozenset(
    {
        "step",
        "loss",
        "learning_rate",
        "grad_norm",
        "examples",
        "tokens",
        "tokens_per_second",
        "memory_bytes",
        "seconds",
        "skipped",
    }
)
"""What of a step's record is no metric of the loss's own."""


def write_report(folder: RunFolder) -> None:
    """Write the page from what the run directory holds."""
    manifest, rows = folder.manifest, folder.read_metrics()
    steps = [row for row in rows if "loss" in row]
    evaluations = [row for row in rows if "eval_loss" in row]
    headline = manifest["plan"].get("headline", ())
    before_after = changes(rows, ())
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
        _warnings(manifest),
        f"<h2>Held-out data, before and after</h2>{_changes(before_after)}" if before_after else "",
        "<h2>By step</h2>",
        _charts(steps, evaluations, headline),
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


def _charts(
    steps: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]],
    headline: Sequence[str],
) -> str:
    """A drawing for the loss, one for each of its metrics, and one for the gradient's norm.

    Metrics whose names begin with one word (``rewards_chosen``, ``rewards_rejected``) share one.
    """
    named = list(dict.fromkeys(name for row in steps for name in row if name not in _APART))
    named.sort(key=lambda name: headline.index(name) if name in headline else len(headline))
    groups: dict[str, list[str]] = {"loss": ["loss"]}
    for name in [*named, "grad_norm"]:
        groups.setdefault(name.split("_")[0] if name in named else name, []).append(name)
    drawn = []
    for title, names in groups.items():
        lines = {name: _points(steps, name) for name in names}
        lines = {name: points for name, points in lines.items() if points}
        dots = {name: _points(evaluations, PREFIX + name) for name in lines}
        if lines:
            drawn.append(chart(title if len(lines) > 1 else next(iter(lines)), lines, dots))
    return f"<div class='charts'>{''.join(drawn)}</div>"


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    values = ((row["step"], row.get(name)) for row in rows)
    return [(s, v) for s, v in values if isinstance(v, int | float) and math.isfinite(v)]


def _changes(found: Sequence[Change]) -> str:
    return _table(("metric", "before", "after"), found)


def _warnings(manifest: Mapping[str, Any]) -> str:
    """What the plan warned of, and what the loss did as the run went on."""
    rows = [
        ("plan", ": ".join(part for part in (p["where"], p["what"]) if part), p["fix"])
        for p in manifest["plan"]["problems"]
        if p["level"] == "warning"
    ]
    rows += [(f"step {w['step']}", w["text"], "") for w in manifest.get("warnings", [])]
    return f"<h2>Warnings</h2>{_table(('when', 'what', 'what to do'), rows)}" if rows else ""


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    return str(value)
