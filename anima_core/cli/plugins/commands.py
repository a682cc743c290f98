"""The commands of `anima plugins`, as typer shows and parses them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anima_core.cli.common import Debug, Disabled, Json, check_left_out, settle


def plugins_app() -> typer.Typer:
    """`anima plugins` with its commands."""
    app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    app.callback()(_plugins)
    app.command("list", help="List every strategy that is offered.")(_list)
    app.command("show", help="Say everything about one strategy.")(_show)
    app.command("check", help="Put a plugin's strategies to the conformance kit.")(_check)
    app.command("new", help="Write a new plugin, ready to install, test and change.")(_new)
    return app


def _plugins() -> None:
    """What is installed."""


def _list(no_plugin: Disabled = None, json: Json = False, debug: Debug = False) -> None:
    """List every strategy that is offered."""
    from anima_core.cli.plugins.listing import list_plugins

    del debug  # read by main
    check_left_out(no_plugin)
    raise typer.Exit(list_plugins(no_plugin or [], machine=json))


def _show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A strategy, or DIST:NAME where two offer it.")
    ],
    no_plugin: Disabled = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say everything about one strategy."""
    from anima_core.cli.plugins.showing import show_plugin

    del debug
    check_left_out(no_plugin)
    raise typer.Exit(show_plugin(name, no_plugin or [], machine=json))


def _check(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[DIST|PATH]",
            help="An installed distribution, or the folder of one's source; every distribution "
            "but the core's when left out.",
            show_default=False,
        ),
    ] = None,
    no_plugin: Disabled = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Put a plugin's strategies to the conformance kit."""
    settle(debug)
    from anima_core.cli.plugins.checking import check_plugins

    check_left_out(no_plugin)
    raise typer.Exit(check_plugins(target, no_plugin or [], machine=json))


def _new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The strategy's name, kebab-case: its flag.")
    ],
    slot: Annotated[
        str, typer.Option("--slot", metavar="SLOT", help="The hook that it answers, e.g. loss.")
    ],
    into: Annotated[
        Path,
        typer.Option(
            "--into", metavar="DIR", help="The folder to make NAME/ in.", show_default="."
        ),
    ] = Path(),
    debug: Debug = False,
) -> None:
    """Write a new plugin, ready to install, test and change."""
    from anima_core.cli.plugins.making import new_plugin

    del debug
    raise typer.Exit(new_plugin(name, slot, into))
