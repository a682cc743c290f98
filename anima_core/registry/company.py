"""Whether the strategies of a run can stand beside one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anima_core.errors import UsageError
from anima_core.registry.known import not_installed
from anima_core.registry.names import split_reference
from anima_core.registry.offers import Offer, left_out

if TYPE_CHECKING:
    from anima_core.registry.selection import Provider


def refuse_repeats(named: Sequence[tuple[str, Offer]]) -> None:
    """One name twice, from two distributions.

    Raises:
        UsageError: naming both.
    """
    seen: dict[str, Offer] = {}
    for _, offer in named:
        if offer.name in seen:
            raise UsageError(
                f"{seen[offer.name].reference} and {offer.reference} are one strategy's name twice",
                where=f"--{offer.name}",
                fix="name one of them",
            )
        seen[offer.name] = offer


def refuse_missing(requested: Sequence[str], offered: Sequence[Offer]) -> None:
    """A published strategy that is not installed, told with those that it would clash with.

    Raises:
        UsageError: for the first of them.
    """
    by_name = {offer.name: offer for offer in offered}
    names = {reference: split_reference(reference)[1] for reference in requested}
    others = [by_name[name] for name in names.values() if name in by_name]
    for reference, name in names.items():
        if name not in by_name and left_out(name, f"--{name}") is None:
            error = not_installed(reference, f"--{name}", others)
            if error is not None:
                raise error


def answers(members: Sequence[Provider]) -> dict[str, Provider]:
    """Who answers each slot, among those that were named.

    Raises:
        UsageError: two answer one slot.
    """
    found: dict[str, Provider] = {}
    for member in members:
        for slot in member.cls.slots:
            if slot in found:
                first = found[slot]
                raise UsageError(
                    f"{first} and {member} both answer the slot `{slot}`",
                    where=f"--{first.strategy} --{member.strategy}",
                    fix="name one of them",
                )
            found[slot] = member
    return found


def check_company(members: Sequence[Provider], offered: Sequence[Offer]) -> None:
    """What the members demand of one another.

    Args:
        members: those who take part.
        offered: everyone who could.

    Raises:
        UsageError: an unmet ``requires`` or a met ``conflicts``.
    """
    present = {member.strategy: member for member in members}
    for member in members:
        for name in member.cls.requires:
            if name not in present:
                what, fix = _absent(name, offered)
                raise UsageError(
                    f"{member} needs the strategy `{name}`{what}",
                    where=f"--{member.strategy}",
                    fix=fix,
                )
        for name in member.cls.conflicts:
            if name in present:
                raise UsageError(
                    f"{member} cannot run beside {present[name]}",
                    where=f"--{member.strategy} --{name}",
                    fix="name one of them",
                )


def _absent(name: str, offered: Sequence[Offer]) -> tuple[str, str]:
    """Why a strategy that is needed is not there, and where to get it."""
    found = [offer for offer in offered if offer.name == name]
    if found:
        words = [(o.reference if len(found) > 1 else name, o) for o in found]
        flags = [f"--{word} (from {o.distribution} {o.version})" for word, o in words]
        return "", f"add {' or '.join(flags)}"
    error = left_out(name, "") or not_installed(name, "")
    if error is not None:
        return f": {error.what}", error.fix
    return ", which no installed distribution offers", "see `anima plugins list`"
