"""Every strategy of every installed distribution, and whether a run can name it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anima_core.errors import AnimaError
from anima_core.registry.blame import way_out
from anima_core.registry.known import PUBLISHED
from anima_core.registry.load import implemented, load_strategy
from anima_core.registry.names import CORE_DISTRIBUTION
from anima_core.registry.offers import (
    Offer,
    disabled_distributions,
    every_offer,
    refusal,
    way_in,
)
from anima_core.registry.report import Report

OURS = frozenset({CORE_DISTRIBUTION, *(known.distribution for known in PUBLISHED.values())})
"""The distributions that are tested with the core, and so are imported without more ado."""

STATES = ("ok", "shadowed", "broken", "blocked")


@dataclass(frozen=True)
class Entry:
    """What is known of one offered strategy.

    Attributes:
        offer: the strategy and where it comes from.
        report: what its class says, and what trying it brought to light. Empty when `blocked`.
        state: ``ok``; ``broken``, a run that names it would fail; ``blocked``, its distribution is
            left out; ``shadowed``, another distribution offers the name too, and neither answers to
            the bare name.
        reason: why it is not ``ok``, or how to name it.
        fix: what to do about it.
    """

    offer: Offer
    report: Report
    state: str
    reason: str = ""
    fix: str = ""


def catalog(
    disabled: Sequence[str] = (),
    *,
    only: Callable[[Offer], bool] = lambda _offer: True,
    diagnose: bool = False,
    again: bool = False,
    tell: Callable[[int], None] = lambda _number: None,
) -> list[Entry]:
    """An entry for each offer, by name and distribution; a broken one hides no other.

    The strategies of third parties are imported and tried in another process, and what comes of it
    is remembered; those that are left out are not imported at all.

    Args:
        disabled: distributions to leave out, besides those of the environment.
        only: which offers are wanted.
        diagnose: whether `diagnose` of third parties is called too.
        again: whether those found at fault before are tried again.
        tell: called with the number of strategies that are about to be tried.

    Raises:
        UsageError: the core's own distribution is to be left out.
    """
    without = disabled_distributions(disabled)
    every = every_offer()
    wanted = [offer for offer in every if only(offer)]
    there = [offer for offer in every if offer.distribution not in without and not refusal(offer)]
    foreign = [offer for offer in wanted if offer in there and offer.distribution not in OURS]
    tried: dict[str, Report] = {}
    if foreign:
        from anima_core.registry.remembered import reports

        found = reports(foreign, disabled, diagnose=diagnose, again=again, tell=tell)
        tried = {offer.reference: report for offer, report in zip(foreign, found, strict=True)}
    entries = []
    for offer in wanted:
        if offer.distribution in without:
            entries.append(
                Entry(offer, Report(), "blocked", "left out", way_in(offer.distribution))
            )
        else:
            report = tried.get(offer.reference) or _loaded(offer)
            entries.append(_entry(offer, report, [o for o in there if o.name == offer.name]))
    return entries


def _loaded(offer: Offer) -> Report:
    """A report on a strategy that is imported here; its hooks are not tried."""
    try:
        cls = load_strategy(offer)
    except AnimaError as error:
        return Report(broken=error.what, fix=error.fix)
    return Report(summary=cls.summary, slots=cls.slots, hooks=tuple(sorted(implemented(cls))))


def _entry(offer: Offer, report: Report, namesakes: Sequence[Offer]) -> Entry:
    if report.reason:
        out = way_out(offer.distribution)
        return Entry(offer, report, "broken", report.reason, report.fix or out)
    others = [o for o in namesakes if o != offer]
    if not others:
        return Entry(offer, report, "ok")
    theirs = " and ".join(f"{o.distribution} {o.version}" for o in others)
    verb = "offer" if len(others) > 1 else "offers"
    reason, fix = f"{theirs} {verb} the name too", f"name it --{offer.reference}"
    # The core's own goes on answering where nobody is named.
    state = "ok" if offer.distribution == CORE_DISTRIBUTION else "shadowed"
    return Entry(offer, report, state, reason, fix)
