"""`anima train` and `anima plan`: one command line, built for the strategies it selects."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anima_core.cli import parameters
from anima_core.cli.core_flags import core_parameters
from anima_core.cli.first_look import FirstLook
from anima_core.cli.words import off_flag
from anima_core.config.requests import core_flag, core_options, merge
from anima_core.registry.names import snake, split_reference
from anima_core.registry.options import option_flag
from anima_core.runs.request import RunRequest

STRATEGIES_PANEL = "Strategies"


@dataclass(frozen=True)
class CommandLine:
    """The parameters of a command, and how their values become a request."""

    look: FirstLook
    argv: Sequence[str]

    def parameters(self, *, machine: bool) -> list[inspect.Parameter]:
        """Every parameter: the core's, each strategy's flag, the selected ones' options.

        Args:
            machine: whether the command has ``--json``.
        """
        made = core_parameters()
        plain = parameters.plain
        run_file: dict[str, Any] = {"help": "Run file (YAML) to start from; the rest overrides it."}
        made.append(plain("config", Path | None, None, "--config", metavar="PATH", **run_file))
        made.append(
            plain(
                "no_plugin",
                list[str] | None,
                None,
                "--no-plugin",
                metavar="DIST",
                help="Leave out a distribution's strategies; may be repeated.",
            )
        )
        if machine:
            made.append(plain("json_", bool, False, "--json", help="The plan as JSON."))
        return made + self._strategies() + self._options()

    def _strategies(self) -> list[inspect.Parameter]:
        """A flag for every offer. Phase one has taken them already; here they are for the help."""
        offered = self.look.offered
        names = [offer.name for offer in offered]
        return [
            parameters.plain(
                f"strategy_{number}",
                bool,
                False,
                f"--{offer.reference if names.count(offer.name) > 1 else offer.name}",
                help=f"from {offer.distribution} {offer.version}",
                metavar=parameters.NO_TYPE,
                rich_help_panel=STRATEGIES_PANEL,
            )
            for number, offer in enumerate(offered)
        ]

    def _options(self) -> list[inspect.Parameter]:
        return [
            parameter
            for strategy, model in self.look.selected.items()
            for name, field in model.model_fields.items()
            for parameter in parameters.option(
                _dest(strategy, name),
                [option_flag(strategy, name)],
                off_flag(strategy, name),
                field,
                f"Options of --{strategy}",
            )
        ]

    def request(self, values: Mapping[str, Any]) -> RunRequest:
        """What the command line asks for, over the run file."""
        from anima_core.config.core import CoreOptions

        given = {
            name: parameters.given(values, name, core_flag(name))
            for name in CoreOptions.model_fields
        }
        core = {name: value for name, value in given.items() if value is not None}
        references = {split_reference(r)[1]: r for r in self.look.named}
        strategies: dict[str, dict[str, Any]] = {r: {} for r in self.look.named}
        for strategy, model in self.look.selected.items():
            for name in model.model_fields:
                value = parameters.given(values, _dest(strategy, name), option_flag(strategy, name))
                if value is not None:
                    strategies.setdefault(references.get(strategy, strategy), {})[name] = value
        over = RunRequest(core, strategies, argv=tuple(self.argv))
        return merge(self.look.base, over)


def _dest(strategy: str, option: str) -> str:
    return f"{snake(strategy)}__{option}"


def run_train(request: RunRequest) -> int:
    """Train, showing the plan first; the exit code."""
    from anima_core.cli.consoles import stderr
    from anima_core.cli.progress import RichReporter
    from anima_core.runs.reporter import main_reporter
    from anima_core.training.talk import parting

    reporter = main_reporter(RichReporter(stderr(), core_options(request).log_every))
    from anima_core.runs.prepare import prepare

    with parting():
        prepared = prepare(request, reporter=reporter)
        if prepared.plan.errors:  # each is told with the plan, and once
            reporter.plan(prepared.plan)
            return prepared.plan.exit_code
        with reporter.stage("loading libraries", None):
            from anima_core.training.run import train

        result = train(prepared, reporter)
    loss = "" if result.loss is None else f", loss {result.loss:.4f}"
    steps = f"{result.steps:,} step{'' if result.steps == 1 else 's'}"
    reporter.note(f"{steps} done{loss}; the run is in {result.run_dir}")
    return 0


def run_plan(request: RunRequest, *, machine: bool) -> int:
    """Print the plan on standard output; the first error's exit code when it has errors."""
    from anima_core.cli.consoles import stderr, stdout
    from anima_core.cli.progress import RichReporter
    from anima_core.cli.render_plan import print_plan

    reporter = RichReporter(stderr(), core_options(request).log_every)
    from anima_core.runs.prepare import prepare

    plan = prepare(request, reporter=reporter).plan
    if machine:
        sys.stdout.write(json.dumps(plan.to_dict(), ensure_ascii=False, indent=2) + "\n")
    else:
        print_plan(stdout(), plan)
    return plan.exit_code
