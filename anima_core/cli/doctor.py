"""`anima doctor`: what this machine has, and what is wrong with it."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from anima_core.cli.plugins.listing import trying
from anima_core.problems import Finding
from anima_core.registry.blame import described, way_out
from anima_core.registry.catalog import OURS, Entry, catalog
from anima_core.registry.load import load_strategy
from anima_core.registry.offers import DISABLE_VARIABLE, Offer, unknown_in_variable

NEEDED = (
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "safetensors",
    "datasets",
    "pydantic",
)
OPTIONAL = ("peft", "bitsandbytes", "flash-attn", "kernels", "deepspeed")
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def examine(disabled: Sequence[str]) -> list[tuple[str, Finding]]:
    """Every finding with what it is about; nothing that fails here hides another."""
    found = [("python", _python()), *_packages(), *_device(), *_variable()]
    return [*found, *_strategies(disabled)]


def run_doctor(disabled: Sequence[str], *, machine: bool) -> int:
    """Print every finding on standard output; 1 when one of them is an error."""
    found = examine(disabled)
    if machine:
        listed = [{"about": about, **asdict(finding)} for about, finding in found]
        sys.stdout.write(json.dumps(listed, ensure_ascii=False, indent=2) + "\n")
    else:
        _print(found)
    return int(any(finding.level == "error" for _, finding in found))


def _print(found: Sequence[tuple[str, Finding]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from anima_core.cli.consoles import stdout

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for about, finding in found:
        said = finding.what + (f"\n{finding.fix}" if finding.fix else "")
        table.add_row(Text(finding.level, _STYLES[finding.level]), about, Text(said))
    stdout().print(table)


def _python() -> Finding:
    return Finding("ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[tuple[str, Finding]]:
    for name in (*NEEDED, *OPTIONAL):
        try:
            yield name, Finding("ok", version(name))
        except PackageNotFoundError:
            if name in NEEDED:
                yield name, Finding("error", "not installed", f"pip install {name}")


def _device() -> Iterator[tuple[str, Finding]]:
    try:
        from anima_core.model.dtype import choose_device, choose_precision

        device = choose_device("auto")
        precision = choose_precision("auto", device)
    except Exception as error:  # noqa: BLE001 - a broken torch is a finding
        fix = "reinstall torch"
        yield "device", Finding("error", f"{type(error).__name__}: {error}", fix)
        return
    yield "device", Finding("ok", _device_name(device))
    yield "dtype", Finding("ok", f"auto is {precision.dtype}: {precision.reason}")


def _variable() -> Iterator[tuple[str, Finding]]:
    """A misspelt distribution in the environment leaves nothing out, which nobody would notice."""
    for name in unknown_in_variable():
        what = f"{DISABLE_VARIABLE} names {name}, which offers no strategy here"
        yield "plugins", Finding("warning", what, "correct its name, or take it out")


def _device_name(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        total = torch.cuda.get_device_properties(device).total_memory / 2**30
        return f"{device}: {torch.cuda.get_device_name(device)}, {total:.0f} GiB"
    if device == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        return f"cpu: {capability}, {torch.get_num_threads()} threads"
    return device


def _strategies(disabled: Sequence[str]) -> Iterator[tuple[str, Finding]]:
    """What is wrong with each strategy, who it comes from, and how to do without it."""
    found = catalog(disabled, diagnose=True, again=True, tell=trying)
    left_out = sorted({e.offer.distribution for e in found if e.state == "blocked"})
    if left_out:
        yield "plugins", Finding("ok", f"left out: {', '.join(left_out)}")
    for entry in found:
        if entry.state != "blocked":
            yield from ((entry.offer.name, finding) for finding in _about(entry))


def _about(entry: Entry) -> Iterator[Finding]:
    offer, report = entry.offer, entry.report
    origin = f"from {offer.distribution} {offer.version}"
    out = way_out(offer.distribution)
    if report.broken:
        yield Finding("error", f"{origin}: {report.broken}", report.fix or out)
        return
    shared = "" if report.faults else f"; {entry.reason}" * bool(entry.reason)
    yield Finding("ok", f"{origin}: imports{shared}", entry.fix * bool(shared))
    for fault in report.faults.values():
        yield Finding("error", f"{origin}: {fault}", out)
    for note in report.notes:
        yield Finding("ok", f"{origin}: {note}")
    yield from report.findings
    if "diagnose" in report.hooks and offer.distribution in OURS:
        yield from _diagnosis(offer)


def _diagnosis(offer: Offer) -> Iterator[Finding]:
    """What a strategy of ours finds; it is asked here, where torch is loaded."""
    cls: Any = load_strategy(offer)
    try:
        findings = cls(cls.Options()).diagnose()
    except Exception as error:  # noqa: BLE001 - a failure is a finding about it
        what = f"its hook `diagnose` failed: {described(error)}"
        yield Finding("error", f"from {offer.distribution} {offer.version}: {what}")
        return
    yield from findings
