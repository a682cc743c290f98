"""What strategies are offered, known from entry-point metadata alone: no plugin is imported."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from anima_core.errors import UsageError
from anima_core.registry.names import (
    CORE_DISTRIBUTION,
    canonical_reference,
    did_you_mean,
    is_kebab,
    kebab,
    normalized_distribution,
    split_reference,
)

GROUP = "anima.strategies"
"""The entry-point group in which a distribution offers strategies."""

DISABLE_VARIABLE = "ANIMA_DISABLE_PLUGINS"
"""Environment variable: distributions to leave out, separated by commas."""

_CLI_WORDS = frozenset({"config", "no-plugin", "help", "version", "json", "html", "record", "show"})


@dataclass(frozen=True)
class Offer:
    """A strategy that an installed distribution offers.

    Attributes:
        name: the strategy's name, kebab-case.
        distribution: the distribution that offers it.
        version: that distribution's version.
        entry_point: where the class is.
    """

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint

    @property
    def reference(self) -> str:
        """``dist:name``, which names this offer even when another bears its name."""
        return f"{self.distribution}:{self.name}"

    def __str__(self) -> str:
        return f"{self.name} (from {self.distribution} {self.version})"


def offers(disabled: Iterable[str] = ()) -> list[Offer]:
    """Every offered strategy, sorted by name, then by distribution.

    Two distributions that offer one name are both listed.

    Args:
        disabled: distributions to leave out, besides those in ``ANIMA_DISABLE_PLUGINS``.

    Raises:
        UsageError: the core's own distribution is to be left out.
    """
    without = disabled_distributions(disabled)
    return [offer for offer in every_offer() if offer.distribution not in without]


def every_offer() -> list[Offer]:
    """Every offer of every installed distribution, those left out too."""
    found = []
    for point in entry_points(group=GROUP):
        dist = point.dist
        name = normalized_distribution(dist.name) if dist is not None else "unknown"
        version = dist.version if dist is not None else "unknown"
        found.append(Offer(point.name, name, version, point))
    return sorted(found, key=lambda offer: (offer.name, offer.distribution))


def refusal(offer: Offer) -> str:
    """Why an offer can never be selected because of its name; empty when it can."""
    if not is_kebab(offer.name):
        return f"the name {offer.name!r} is not lower-case words joined by hyphens"
    if offer.name in reserved_names():
        return f"the name {offer.name!r} belongs to the core's option --{offer.name}"
    return ""


def reserved_names() -> frozenset[str]:
    """Names that no strategy may bear, since the core has an option of that name."""
    from anima_core.config.core import CoreOptions

    words = {kebab(name) for name in CoreOptions.model_fields}
    words |= {
        f"no-{kebab(name)}"
        for name, field in CoreOptions.model_fields.items()
        if field.annotation is bool
    }
    return frozenset(words | _CLI_WORDS)


def find_offer(reference: str, offered: Sequence[Offer]) -> Offer:
    """The one offer that a user's ``name`` or ``dist:name`` means.

    Args:
        reference: a strategy's name in kebab-case or snake_case, with ``dist:`` before it
            where two distributions offer it.
        offered: what there is to choose from.

    Raises:
        UsageError: nobody offers it, two distributions do, or its name is refused.
    """
    distribution, name = split_reference(reference)
    named = [o for o in offered if o.name == name]
    found = [o for o in named if distribution in ("", o.distribution)]
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} distributions offer this strategy: "
            + ", ".join(f"{o.distribution} {o.version}" for o in found),
            where=f"--{name}",
            fix="say which one: "
            + " or ".join(f"--{o.reference}" for o in found)
            + ", or leave one out with --no-plugin",
        )
    if not found:
        raise _unknown(canonical_reference(reference), named, offered)
    if refusal(found[0]):
        raise _unfit(found[0], f"--{name}")
    return found[0]


def unfit_name(reference: str, where: str) -> UsageError | None:
    """The error for a strategy that can never be selected because of its name.

    Args:
        reference: ``name`` or ``dist:name``, as the user wrote it.
        where: the flag that named it.

    Returns:
        None where no installed distribution offers such a strategy.
    """
    distribution, name = split_reference(reference)
    for offer in every_offer():
        same = kebab(offer.name) == name and distribution in ("", offer.distribution)
        if same and refusal(offer):
            return _unfit(offer, where)
    return None


def _unfit(offer: Offer, where: str) -> UsageError:
    what = f"{offer.distribution} {offer.version} offers a strategy that is refused"
    return UsageError(f"{what}: {refusal(offer)}", where=where)


def _unknown(reference: str, named: Sequence[Offer], offered: Sequence[Offer]) -> UsageError:
    from anima_core.registry.known import not_installed

    distribution, name = split_reference(reference)
    if named:
        has = ", ".join(f"{o.distribution} {o.version}" for o in named)
        return UsageError(
            f"{distribution} does not offer {name}; {has} does", where=f"--{reference}"
        )
    where = f"--{name}"
    error = unfit_name(reference, where) or left_out(name, where) or not_installed(reference, where)
    if error is not None:
        return error
    hint = did_you_mean(where, (f"--{o.name}" for o in offered))
    return UsageError(
        "no installed distribution offers this strategy",
        where=where,
        fix=hint or "see `anima plugins list`",
    )


def left_out(name: str, where: str) -> UsageError | None:
    """The error for a strategy that nobody offers only because its distribution is left out.

    Args:
        name: the strategy's name, kebab-case; no offer bears it.
        where: the flag that named it.
    """
    for offer in every_offer():
        if offer.name == name and not refusal(offer):
            return UsageError(
                f"{offer.distribution} {offer.version} offers this strategy, and is left out",
                where=where,
                fix=way_in(offer.distribution),
            )
    return None


def way_in(distribution: str) -> str:
    """How to have a distribution back that was left out."""
    if distribution in _names(_variable()):
        return f"take {distribution} out of {DISABLE_VARIABLE}"
    return f"name it without --no-plugin {distribution}"


def unknown_in_variable() -> list[str]:
    """Distributions in ``ANIMA_DISABLE_PLUGINS`` that offer no strategy: misspelt, perhaps."""
    return sorted(_names(_variable()) - {offer.distribution for offer in every_offer()})


def disabled_distributions(disabled: Iterable[str]) -> set[str]:
    """Every distribution to leave out: those named here, and those of the environment.

    Raises:
        UsageError: the core's own is among them.
    """
    names = _names([*disabled, *_variable()])
    if CORE_DISTRIBUTION in names:
        raise UsageError(
            f"{CORE_DISTRIBUTION} holds the strategies that answer when nobody else does; "
            "it cannot be left out",
            where=f"--no-plugin or {DISABLE_VARIABLE}",
        )
    return names


def _variable() -> list[str]:
    return os.environ.get(DISABLE_VARIABLE, "").split(",")


def _names(words: Iterable[str]) -> set[str]:
    return {normalized_distribution(word) for word in words if word.strip()}
