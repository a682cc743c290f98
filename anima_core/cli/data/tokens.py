"""Examples token by token on the screen: in colour, or with brackets where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from anima_core.cli.data.visible import visible
from anima_core.data.audit.view import ExampleView, Piece, SegmentView

OPEN, CLOSE = "⟦", "⟧"

# Two shades each, so that where one token ends and the next begins can be seen.
_TARGET = ("black on green3", "black on pale_green3")
_CONTEXT = ("grey50", "grey62")
_SPECIAL_TARGET = "bold white on magenta"
_SPECIAL = "magenta"
_SKIPPED = "italic cyan"
_COLUMNS = 100
"""Longer lines are hard to read."""


def print_examples(console: Console, examples: Sequence[ExampleView]) -> None:
    """Print a legend and the examples."""
    coloured = console.color_system is not None and not console.no_color
    console.print(_legend(coloured), soft_wrap=True)
    for example in examples:
        weight = "" if example.weight == 1 else f", weight {example.weight:g}"
        console.print()
        console.print(Text(f"{example.place}{weight}", style="bold"), soft_wrap=True)
        for segment in example.segments:
            console.print(Text(_head(segment), style="dim"), soft_wrap=True)
            width = min(console.width, _COLUMNS)
            console.print(body(segment.pieces, coloured=coloured), width=width, no_wrap=False)


def body(pieces: Sequence[Piece], *, coloured: bool) -> Text:
    """Pieces as one text.

    Args:
        pieces: the pieces.
        coloured: whether to colour them; targets stand between `OPEN` and `CLOSE` otherwise.
    """
    text = Text(overflow="fold")
    for supervised, run in groupby(pieces, key=lambda p: p.supervised):
        if supervised and not coloured:
            text.append(OPEN)
        for number, piece in enumerate(run):
            words = f" … {piece.skipped:,} tokens … " if piece.skipped else visible(piece.text)
            text.append(words, style=_style(piece, number) if coloured else None)
        if supervised and not coloured:
            text.append(CLOSE)
    return text


def _style(piece: Piece, number: int) -> str:
    if piece.skipped:
        return _SKIPPED
    if piece.special:
        return _SPECIAL_TARGET if piece.supervised else _SPECIAL
    return (_TARGET if piece.supervised else _CONTEXT)[number % 2]


def _head(segment: SegmentView) -> str:
    return f"{segment.role}: {segment.tokens:,} tokens, {segment.targets:,} targets"


def _legend(coloured: bool) -> Text:
    if not coloured:
        return Text(f"Examples ({OPEN}taught{CLOSE}, all else is context; ↵ a line end)", "bold")
    text = Text("Examples ", "bold")
    for words, style in (
        ("taught", _TARGET[0]),
        ("context", _CONTEXT[0]),
        ("special, taught", _SPECIAL_TARGET),
        ("special", _SPECIAL),
    ):
        text.append(f" {words} ", style=style).append(" ")
    return text.append("↵ a line end")
