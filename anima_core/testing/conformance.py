"""Every check that fits a strategy, by the hooks that it implements.

In a plugin's tests, the whole conformance kit is one test::

    import pytest
    from anima_core.testing import checks_for
    from anima_focal.strategy import Focal

    @pytest.mark.parametrize("check", checks_for(Focal, "focal"), ids=str)
    def test_conformance(check):
        if check.skip:
            pytest.skip(check.skip)
        check()

Making the list loads no torch; each check imports what it needs when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from anima_core.registry.load import check as problems_of
from anima_core.registry.load import implemented
from anima_core.testing.by_hook import BY_HOOK
from anima_core.testing.instances import build, missing_options

if TYPE_CHECKING:
    from anima_core.strategy import Options


@dataclass(frozen=True)
class Check:
    """One check of one strategy.

    Calling it raises `AssertionError` with what was wrong, and `unittest.SkipTest` (which pytest
    and unittest both report as skipped) where it turns out not to fit.

    Attributes:
        name: what is checked; also what ``str()`` gives.
        run: the check.
        skip: why it cannot be made at all; empty when it can.
    """

    name: str
    run: Callable[[], None]
    skip: str = ""

    def __call__(self) -> None:
        """Make the check."""
        if self.skip:
            raise SkipTest(self.skip)
        self.run()

    def __str__(self) -> str:
        return self.name


def checks_for(
    cls: type,
    name: str,
    options: Options | None = None,
    *,
    sources: Sequence[str] | None = None,
) -> list[Check]:
    """The checks that fit a strategy.

    Always there: ``strategy`` (the class is sound), ``import-budget``, ``options``, ``answers``
    (each hook's answer) and ``globals`` (nothing shared is replaced). Then come those of each
    hook that it implements, named after the hook, and ``run``: two steps of training, alone and
    beside each bundled strategy that is installed and answers another slot. Of a class that is
    not sound, only what can be known about it is checked.

    Args:
        cls: the strategy's class.
        name: the strategy's name.
        options: what it is built with; its defaults when None. Without defaults, the checks that
            need an instance are skipped, and say so.
        sources: for a ``read_data`` strategy that reads no jsonl, two or more sources with the
            fields ``prompt`` and ``completion``.
    """
    checks = list(_of_the_class(cls, name))
    if any(problems_of(cls)):
        return checks
    reason = missing_options(cls, options)
    checks.append(Check("options", partial(_options, cls, name, options)))
    made = partial(build, cls, options)
    for what, run in [*_of_every_hook(made), *_of_its_hooks(cls, made, sources)]:
        checks.append(Check(what, run, reason))
    return checks + list(_runs(cls, name, options, sources, reason))


def _of_the_class(cls: type, name: str) -> Iterator[Check]:
    """What any strategy is put to, sound or not."""

    def strategy() -> None:
        from anima_core.testing.strategies import check_strategy

        check_strategy(cls)

    def budget() -> None:
        from anima_core.testing.budget import check_import_budget
        from anima_core.testing.installed import modules_of

        for module in modules_of(cls, name):
            check_import_budget(module)

    yield Check("strategy", strategy)
    yield Check("import-budget", budget)


def _options(cls: Any, name: str, options: Options | None) -> None:
    from anima_core.testing.options import check_options

    check_options(cls, name, options)


def _of_every_hook(made: Callable[[], Any]) -> Iterator[tuple[str, Callable[[], None]]]:
    """What every hook is put to."""

    def answers() -> None:
        from anima_core.testing.hooks import check_answers

        check_answers(made())

    def nothing_shared() -> None:
        from anima_core.testing.hooks import check_globals

        check_globals(made())

    yield "answers", answers
    yield "globals", nothing_shared


def _of_its_hooks(
    cls: type, made: Callable[[], Any], sources: Sequence[str] | None
) -> Iterator[tuple[str, Callable[[], None]]]:
    """What the hooks that it implements are put to."""
    own = implemented(cls)
    for hook, (check, families) in BY_HOOK.items():
        if hook not in own:
            continue
        more: Sequence[object] = [sources] if hook == "read_data" else families
        if not more:
            yield hook, partial(_one, check, made)
        for word in more:
            what = f"{hook}[{word}]" if families else hook
            yield what, partial(_one, check, made, word)


def _one(check: Callable[..., None], made: Callable[[], Any], *more: object) -> None:
    check(made(), *more)


def _runs(
    cls: Any, name: str, options: Options | None, sources: Sequence[str] | None, reason: str
) -> Iterator[Check]:
    """Runs alone and in company."""
    from anima_core.testing.company import companies

    for company in companies(cls, name):

        def run(others: Sequence[str] = company.others) -> None:
            from anima_core.testing.runs import check_run

            check_run(cls, name, options, beside=others, data=sources)

        yield Check(str(company), run, reason or company.skip)
