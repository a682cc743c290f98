"""Options and first steps that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Disabled = Annotated[
    list[str] | None,
    typer.Option("--no-plugin", metavar="DIST", help="Leave out a distribution's strategies."),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for machines.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


def check_left_out(no_plugin: list[str] | None) -> None:
    """Refuse a distribution to leave out that is not there."""
    if no_plugin:
        from anima_core.cli.refuse import check_disabled

        check_disabled(no_plugin)


def settle(debug: bool) -> None:
    """Quieten the libraries before a command that loads them."""
    from anima_core.cli.quiet import settle_libraries

    settle_libraries(debug=debug)
