"""`anima data`: its own options, and what it does."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anima_core.cli import parameters
from anima_core.cli.core_flags import PANELS, POSITIONAL

if TYPE_CHECKING:
    from anima_core.data.audit.report import AuditReport
    from anima_core.runs.request import RunRequest

PANEL = "Audit"
SHOWN = 3
"""Examples that are shown token by token unless asked otherwise."""

_WAYS = ("batch_size", "batching", "seed", "micro_tokens", "trust_remote_code", "debug")
_CONCERN = frozenset({*PANELS["Data"], *_WAYS} - {"eval_data", "eval_fraction", "cache"})
"""The core options that change what an audit says. The others are taken and not shown."""


def audit_parameters(core: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """The parameters of `train` with those that concern no data out of sight, and the audit's own.

    Args:
        core: what `CommandLine.parameters` makes.
    """
    from anima_core.config.core import CoreOptions

    for parameter in core:
        name = parameter.name.removesuffix(parameters.OFF)
        if name in CoreOptions.model_fields and name not in {*_CONCERN, *POSITIONAL}:
            parameter.annotation.__metadata__[0].hidden = True
    plain, panel = parameters.plain, {"rich_help_panel": PANEL}
    own = [
        plain(
            "show",
            int,
            SHOWN,
            "--show",
            min=0,
            metavar="INTEGER",
            help=f"Examples to show token by token, drawn by --seed; {SHOWN} unless it is given.",
            **panel,
        ),
        plain(
            "record",
            list[str] | None,
            None,
            "--record",
            metavar="FILE:LINE",
            help="Show the example of this record, too; may be repeated.",
            **panel,
        ),
        plain("json_", bool, False, "--json", help="The report as JSON.", **panel),
        plain(
            "html",
            Path | None,
            None,
            "--html",
            metavar="PATH",
            help="Write the report as a page, too.",
            **panel,
        ),
    ]
    return [*core[: len(POSITIONAL)], *own, *core[len(POSITIONAL) :]]


def run_data(request: RunRequest, values: Mapping[str, Any]) -> int:
    """Audit and print; 3 when a run would refuse the data as it is.

    Args:
        request: what is asked for.
        values: the audit's own options, by parameter.
    """
    from anima_core.cli.consoles import stderr, stdout
    from anima_core.cli.progress import RichReporter
    from anima_core.runs.audit import audit_data

    report = audit_data(
        request,
        reporter=RichReporter(stderr()),
        show=values["show"],
        records=values["record"] or (),
    )
    if values["html"]:
        _write_page(report, values["html"])
    if values["json_"]:
        told = json.dumps(report.to_dict(), ensure_ascii=False, indent=2)
        sys.stdout.write(told + "\n")
    else:
        from anima_core.cli.data.text import print_report

        print_report(stdout(), report)
        if values["html"]:
            stderr().print(f"The page is {values['html']}", soft_wrap=True, markup=False)
    return 3 if any(finding.level == "error" for finding in report.findings) else 0


def _write_page(report: AuditReport, path: Path) -> None:
    from anima_core.cache import write_whole
    from anima_core.cli.data.page import page
    from anima_core.errors import UsageError

    try:
        write_whole(path, page(report))
    except OSError as error:
        what = f"the page cannot be written: {error.strerror}"
        raise UsageError(what, where=f"--html {path}") from None
