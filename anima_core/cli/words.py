"""Tell strategies' flags and options apart by how they are written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from anima_core.cli.parameters import is_flag
from anima_core.registry.names import kebab, split_reference
from anima_core.registry.offers import Offer, refusal
from anima_core.registry.options import option_flag

if TYPE_CHECKING:
    from anima_core.strategy import Options


def split_option(flag: str) -> tuple[str, str]:
    """``--dist:name.option`` as reference and option; the option is empty for another flag."""
    distribution, colon, rest = flag.removeprefix("--").rpartition(":")
    name, _, option = rest.partition(".")
    return f"{distribution}{colon}{name}", option


def is_strategy(flag: str, names: Collection[str]) -> bool:
    """Whether a flag is ``--name`` or ``--dist:name`` of a strategy."""
    reference, option = split_option(flag)
    fit = flag.startswith("--") and not option and "_" not in flag
    return fit and split_reference(reference)[1] in names


def option_flags(strategy: str, model: type[Options]) -> list[str]:
    """Every flag of a strategy's options, with those that switch a boolean off."""
    made = []
    for name, field in model.model_fields.items():
        made.append(option_flag(strategy, name))
        if is_flag(field):
            made.append(off_flag(strategy, name))
    return made


def off_flag(strategy: str, option: str) -> str:
    """How a boolean option is switched off: ``--qlora.no-dora``."""
    return f"--{strategy}.no-{kebab(option)}"


def selectable(offered: Sequence[Offer]) -> list[Offer]:
    """The offers whose name may be a flag."""
    return [offer for offer in offered if not refusal(offer)]
