"""Show a plan: who answers what, what the data holds, what is computed, and every problem."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from anima_core.cli.units import size
from anima_core.runs.plan import DataSummary, Plan

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def print_plan(console: Console, plan: Plan) -> None:
    """Print a plan, its problems last."""
    console.print(Text(f"Plan for {plan.model}", style="bold"), soft_wrap=True)
    console.print(_slots(plan))
    console.print(_facts(plan))
    for problem in plan.problems:
        head = Text(f"{problem.level}: ", style=_STYLES[problem.level])
        where = f"{problem.where}: " if problem.where else ""
        console.print(head + Text(where + problem.what), soft_wrap=True)
        for line in problem.fix.splitlines():
            console.print(Text(f"  {line}"), soft_wrap=True)


def _slots(plan: Plan) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("hook", "strategy", "from", "note"):
        table.add_column(name, overflow="fold")
    for line in plan.slots:
        style = "dim" if line.default else ""
        note = "; ".join(part for part in ("default" if line.default else "", line.note) if part)
        origin = f"{line.distribution} {line.version}"
        table.add_row(*(Text(t, style) for t in (line.hook, line.strategy, origin, note)))
    return table


def _facts(plan: Plan) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column("what", style="dim", no_wrap=True)
    table.add_column("value", overflow="fold")
    for what, value in _lines(plan):
        table.add_row(what, Text(value))
    return table


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    for name, data in (("data", plan.data), ("held-out data", plan.eval_data)):
        if data is not None:
            yield name, _described(data)
    yield "computes in", f"{plan.dtype} on {plan.device} ({plan.dtype_reason})"
    yield "steps", f"{plan.steps:,} ({plan.steps_per_epoch:,} a pass over the data)"
    yield "learning rate", f"{plan.learning_rate:g} ({plan.learning_rate_reason})"
    if plan.memory:
        yield "memory", _memory(plan)


def _memory(plan: Plan) -> str:
    """What the run needs, and of what that is made."""
    parts = sorted(plan.memory.items(), key=lambda part: -part[1])
    each = ", ".join(f"{name} {size(count)}" for name, count in parts)
    training = sum(plan.memory.values())
    if plan.reference_memory <= training:
        return f"about {size(training)}: {each}"
    before = f"about {size(plan.peak_memory)}: the reference model, before training, unless cached"
    return f"{before}; then {size(training)}: {each}"


def _described(data: DataSummary) -> str:
    formats = ", ".join(f"{count:,} {name}" for name, count in data.formats.items())
    shared = [
        f"{data.examples:,} {data.kind} examples of {', '.join(data.sources)}",
        f"records: {formats}" if formats else "",
        f"{data.tokens:,} tokens, {data.supervised_tokens:,} of them targets",
        f"p50 {data.p50:,} · p95 {data.p95:,} · max {data.longest:,} of {data.limit:,} tokens",
        f"{data.copies:,} copies" if data.copies else "",
        f"one answer to {data.alike:,} prompts" if _is_told(data.alike, data.examples) else "",
        f"{data.unended:,} with an answer whose end is not taught" if data.unended else "",
        f"{data.bad:,} bad records left out" if data.bad else "",
        f"{data.overlong:,} over the limit" if data.overlong else "",
        f"{data.dropped:,} dropped" if data.dropped else "",
        f"{data.truncated:,} cut from the left" if data.truncated else "",
        f"{data.split:,} split" if data.split else "",
        f"{data.short:,} too short" if data.short else "",
        f"{data.not_drawn:,} not drawn" if data.not_drawn else "",
        f"{data.unmixed:,} left out by the mixture" if data.unmixed else "",
        f"{data.unsupervised:,} left out: nothing to learn from" if data.unsupervised else "",
    ]
    return "; ".join(part for part in shared if part)


def _is_told(alike: int, examples: int) -> bool:
    """Whether so many prompts with one answer are many, as the audit of the data counts them."""
    from anima_core.data.audit.findings import OFTEN, OFTEN_SHARE

    return alike >= max(OFTEN, OFTEN_SHARE * examples)
