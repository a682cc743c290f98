"""The commands, as typer shows and parses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anima_core.cli.common import Debug, Disabled, Json, check_left_out, settle
from anima_core.cli.plugins.commands import plugins_app
from anima_core.version import __version__

if TYPE_CHECKING:
    from anima_core.cli.train import CommandLine

RUN_COMMANDS = {
    "data": "Show what data would teach a model, token by token, and what is wrong with it.",
    "train": "Train a model on data.",
    "plan": "Say what a run would do, without reading a weight.",
}

LEFT_OUT = "\n\nMODEL and DATA may be left out where --config says them."


def run_app(words: Sequence[str]) -> None:
    """Parse a command line and run its command.

    Args:
        words: the words after ``anima``.

    Raises:
        SystemExit: always, with the exit code.
    """
    command, rest = (words[0], list(words[1:])) if words else ("", [])
    line = None
    if command in RUN_COMMANDS:
        from anima_core.cli.first_look import first_look
        from anima_core.cli.train import CommandLine

        line = CommandLine(first_look(rest), argv=("anima", *words))
        rest = list(line.look.rest)
    build_app(command, line)([command, *rest] if words else [], prog_name="anima")


def build_app(command: str = "", line: CommandLine | None = None) -> typer.Typer:
    """The application, with the parser of one of `RUN_COMMANDS` complete if that is the command.

    Args:
        command: the first word of the command line.
        line: what phase one made of the words after it.
    """
    app = typer.Typer(
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        add_completion=False,
        no_args_is_help=True,
        help="Adapt a language model to your data; every technique is a plugin.",
    )
    app.callback()(_top)
    for name, text in RUN_COMMANDS.items():
        app.command(name, help=text + LEFT_OUT)(
            _run_command(name, line if name == command else None)
        )
    app.command("generate", help="Answer a prompt with a model or a run.")(_generate)
    app.add_typer(plugins_app(), name="plugins", help="What is installed.")
    app.command("doctor", help="Look at this machine, and say what is wrong with it.")(_doctor)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anima {__version__}")
        raise typer.Exit


def _top(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Adapt a language model to your data; every technique is a plugin."""


def _run_command(name: str, line: CommandLine | None) -> Callable[..., Any]:
    """`data`, `train` or `plan`; without a command line a name in the list of commands."""
    if line is None:
        return lambda: None
    from anima_core.cli.data.command import audit_parameters, run_data
    from anima_core.cli.parameters import with_signature
    from anima_core.cli.train import run_plan, run_train

    def run(**values: Any) -> None:
        settle(bool(values["debug"]))
        request = line.request(values)
        if name == "data":
            raise typer.Exit(run_data(request, values))
        if name == "train":
            raise typer.Exit(run_train(request))
        raise typer.Exit(run_plan(request, machine=values["json_"]))

    made = line.parameters(machine=name == "plan")
    return with_signature(run, audit_parameters(made) if name == "data" else made)


def _generate(
    target: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="A run directory, or a model as for train.")
    ],
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What to answer.")],
    max_new_tokens: Annotated[
        int, typer.Option(min=1, metavar="INTEGER", help="Longest answer, in tokens.")
    ] = 256,
    temperature: Annotated[
        float, typer.Option(min=0, metavar="NUMBER", help="0 takes the likeliest token each time.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, metavar="INTEGER", help="Seed of the sampling.")] = 42,
    device: Annotated[
        str, typer.Option(metavar="TEXT", help="auto, cpu, cuda, cuda:N or mps.")
    ] = "auto",
    dtype: Annotated[
        str, typer.Option(metavar="TEXT", help="auto, float32, bfloat16 or float16.")
    ] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let code that comes with the model run.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Answer a prompt on standard output."""
    settle(debug)
    from anima_core.generation import generate

    answer = generate(
        target,
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    typer.echo(answer)


def _doctor(no_plugin: Disabled = None, json: Json = False, debug: Debug = False) -> None:
    """Look at this machine."""
    settle(debug)
    from anima_core.cli.doctor import run_doctor

    check_left_out(no_plugin)
    raise typer.Exit(run_doctor(no_plugin or [], machine=json))
