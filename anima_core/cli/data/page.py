"""An audit as one page: no script, nothing fetched."""

from __future__ import annotations

from importlib.resources import files

from anima_core.cli.data.facts import facts_of, later_facts_of
from anima_core.cli.data.visible import visible
from anima_core.data.audit.report import AuditReport
from anima_core.data.audit.view import Piece
from anima_core.runs.report import STYLE


def page(report: AuditReport) -> str:
    """The page's text (HTML, UTF-8)."""
    from jinja2 import Environment

    source = (files("anima_core.cli.data") / "page.html.jinja").read_text("utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    most = max((bar.count for bar in report.lengths.bars), default=1) if report.lengths else 1
    return environment.from_string(source).render(
        report=report,
        style=STYLE,
        facts=list(facts_of(report)),
        later=list(later_facts_of(report)),
        bars=report.lengths.bars if report.lengths else (),
        most=most,
        visible=visible,
        title=title,
        kind=kind,
    )


def title(piece: Piece) -> str:
    """What is said of a token when it is pointed at: its id, or ids, and its text."""
    ids = " ".join(map(str, piece.ids))
    return f"{'taught' if piece.supervised else 'context'} · {ids} · {piece.text!r}"


def kind(piece: Piece) -> str:
    """The classes of a token."""
    return " ".join(("t" if piece.supervised else "c", *(("s",) if piece.special else ())))
