"""The pages of the reference, each a function that returns Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anima_reference.codes import exit_codes_page
from anima_reference.commands import commands_page
from anima_reference.formats import formats_page
from anima_reference.hooks import hooks_page
from anima_reference.python import core_page, testing_page
from anima_reference.strategies import strategies_page

PAGES: Mapping[str, Callable[[], str]] = {
    "hooks": hooks_page,
    "strategies": strategies_page,
    "commands": commands_page,
    "data": formats_page,
    "exit-codes": exit_codes_page,
    "python": core_page,
    "testing": testing_page,
}
