"""An audit on the screen."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from anima_core.cli.data.facts import Fact, facts_of, later_facts_of
from anima_core.cli.data.tokens import print_examples
from anima_core.data.audit.lengths import Bar
from anima_core.data.audit.report import AuditFinding, AuditReport

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_WIDTH = 14  # of the column on the left
_BAR = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


def print_report(console: Console, report: AuditReport) -> None:
    """Print figures, findings and examples."""
    title = f"What {report.setting.model} would be taught"
    console.print(Text(title, style="bold"), soft_wrap=True)
    _print_facts(console, facts_of(report))
    if report.lengths:
        for line in bars(report.lengths.bars, min(_BAR, console.width - 40)):
            console.print(Text(" " * (_WIDTH + 2)) + line, soft_wrap=True)
    _print_facts(console, later_facts_of(report))
    for finding in report.findings:
        _print_finding(console, finding)
    if report.shown:
        console.print()
        print_examples(console, report.shown)


def bars(of: Iterable[Bar], width: int) -> Iterable[Text]:
    """A histogram, a line for each bar: its lengths, the bar, and how many.

    Args:
        of: the bars.
        width: columns of the longest bar.
    """
    of = list(of)
    most = max(bar.count for bar in of)
    names = [f"{bar.first:,}–{bar.last:,}" for bar in of]
    widest = max(map(len, names))
    for bar, name in zip(of, names, strict=True):
        yield Text(f"{name:>{widest}} ", "dim") + Text(
            f"{_bar(bar.count / most, width)} {bar.count:,}"
        )


def _bar(share: float, width: int) -> str:
    """A bar of whole and, at its end, eighths of a character; never nothing for something."""
    eighths = max(round(share * width * 8), int(share > 0))
    whole, part = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")


def _print_facts(console: Console, facts: Iterable[Fact]) -> None:
    for fact in facts:
        lines = Text(fact.said).wrap(console, max(console.width - _WIDTH - 2, 20), overflow="fold")
        for number, line in enumerate(lines):
            what = "" if number else fact.what
            line.rstrip()
            console.print(Text(f"{what:<{_WIDTH}}  ", "dim") + line, soft_wrap=True)


def _print_finding(console: Console, finding: AuditFinding) -> None:
    head = Text(f"{finding.level}: ", style=STYLES[finding.level])
    console.print(head + Text(finding.what.replace("\n", "\n  ")), soft_wrap=True)
    for place in finding.places:
        console.print(Text(f"    {place}", style="dim"), soft_wrap=True)
    for line in finding.fix.splitlines():
        console.print(Text(f"  {line}"), soft_wrap=True)
