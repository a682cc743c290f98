"""Refuse what no parser would understand, in words that help."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anima_core.cli.core_flags import switches, valued
from anima_core.cli.scan import Flag
from anima_core.cli.words import is_strategy, option_flags, split_option
from anima_core.errors import UsageError
from anima_core.registry.known import not_installed
from anima_core.registry.names import did_you_mean, normalized_distribution, split_reference
from anima_core.registry.offers import Offer, left_out, offers, unfit_name

if TYPE_CHECKING:
    from anima_core.strategy import Options


@dataclass(frozen=True)
class Refusals:
    """What is known when a command line is checked.

    Attributes:
        names: every strategy that may be selected.
        selected: options model of every selected strategy, by name.
        chosen: the selected strategies' offers.
    """

    names: Collection[str]
    selected: Mapping[str, type[Options]]
    chosen: Sequence[Offer] = ()

    def check(self, found: Sequence[Flag]) -> None:
        """Check every long option of a command line; short ones are left to the parser.

        Raises:
            UsageError: an unknown option or strategy, or an option of one not selected.
        """
        own = valued() | switches()
        for flag in found:
            if flag.name in own or not flag.name.startswith("--"):
                continue
            reference, option = split_option(flag.name)
            if option:
                self._check_option(flag.name, reference, option)
            elif not is_strategy(flag.name, self.names):
                raise self._unknown(flag.name, flag.name, self._all_flags() | own)
            elif flag.joined:
                raise UsageError(
                    "a strategy's flag takes no value",
                    where=flag.name,
                    fix=f"its options are written {flag.name}.NAME VALUE",
                )

    def _check_option(self, flag: str, reference: str, option: str) -> None:
        name = split_reference(reference)[1]
        if name in self.selected:
            known = option_flags(name, self.selected[name])
            if f"--{name}.{option}" not in known:
                raise UsageError(
                    f"the strategy `{name}` has no such option",
                    where=flag,
                    fix=did_you_mean(f"--{name}.{option}", known)
                    or (f"it has {', '.join(known)}" if known else "it has no options"),
                )
        elif name in self.names:
            raise UsageError(
                f"this option belongs to the strategy `{name}`, which is not selected",
                where=flag,
                fix=f"add --{reference}",
            )
        else:
            raise self._unknown(f"--{name}", flag, {f"--{n}" for n in self.names})

    def _all_flags(self) -> set[str]:
        dotted = {f for name, model in self.selected.items() for f in option_flags(name, model)}
        return dotted | {f"--{name}" for name in self.names}

    def _unknown(self, wanted: str, shown: str, known: Collection[str]) -> UsageError:
        reference = wanted.removeprefix("--")
        error = (
            unfit_name(reference, shown)
            or left_out(reference.rpartition(":")[2], shown)
            or not_installed(reference, shown, self.chosen)
        )
        if error is not None:
            return error
        return UsageError(
            "there is no such option or strategy",
            where=shown,
            fix=did_you_mean(wanted, known) or "see `anima train --help` and `anima plugins list`",
        )


def check_disabled(disabled: Sequence[str]) -> None:
    """A distribution to leave out must be there: a misspelt one would be used after all.

    Raises:
        UsageError: it offers no strategy.
    """
    present = {offer.distribution for offer in offers()} if disabled else set()
    for name in disabled:
        if normalized_distribution(name) not in present:
            raise UsageError(
                "this distribution offers no strategy",
                where=f"--no-plugin {name}",
                fix=did_you_mean(name, present) or f"these do: {', '.join(sorted(present))}",
            )
