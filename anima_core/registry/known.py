"""The strategies that are published with Anima, so that one that is missing is not just unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anima_core.errors import UsageError
from anima_core.registry.names import split_reference
from anima_core.registry.offers import Offer


@dataclass(frozen=True)
class Published:
    """Where a strategy comes from.

    Attributes:
        distribution: what to install.
        slots: the slots that it answers.
    """

    distribution: str
    slots: tuple[str, ...] = ()


PUBLISHED: Mapping[str, Published] = {
    "lora": Published("anima-adapt-qlora", ("adapt_model",)),
    "qlora": Published("anima-adapt-qlora", ("load_model", "adapt_model")),
    "paged-adamw": Published("anima-adapt-qlora", ("optimizer",)),
    "dpo": Published("anima-adapt-dpo", ("loss",)),
    "orpo": Published("anima-adapt-dpo", ("loss",)),
    "simpo": Published("anima-adapt-dpo", ("loss",)),
    "cpo": Published("anima-adapt-dpo", ("loss",)),
    "kto": Published("anima-adapt-dpo", ("loss",)),
    "reward": Published("anima-adapt-dpo", ("loss",)),
    "xentropy": Published("anima-adapt-longctx", ("token_logps",)),
    "flash-attention-2": Published("anima-adapt-longctx", ("attention",)),
    "rope-scaling": Published("anima-adapt-longctx"),
}
"""By strategy's name; those of the core's own distribution are always there."""


def not_installed(reference: str, where: str, others: Sequence[Offer] = ()) -> UsageError | None:
    """The error for a published strategy that no installed distribution offers.

    Args:
        reference: ``name`` or ``dist:name``, as the user wrote it.
        where: the flag that named it.
        others: the strategies selected with it. One that answers the same slot is told too, since
            installing what is missing would only lead to the next refusal.

    Returns:
        None where it is not known, or asked for from another distribution.
    """
    distribution, name = split_reference(reference)
    known = PUBLISHED.get(name)
    if known is None or distribution not in ("", known.distribution):
        return None
    what = f"{name} comes with {known.distribution}, which is not installed"
    fix = f"pip install {known.distribution}"
    for slot in known.slots:
        rivals = [other for other in others if slot in _slots(other)]
        if rivals:
            named = " and ".join(map(str, rivals))
            answers = "answer" if len(rivals) > 1 else "answers"
            what += f"; and {named} {answers} the same slot `{slot}`: name one of them"
            fix += f", and leave out {' and '.join(f'--{rival.name}' for rival in rivals)}"
            break
    return UsageError(what, where=where, fix=fix)


def _slots(offer: Offer) -> tuple[str, ...]:
    from anima_core.registry.load import load_strategy

    return load_strategy(offer).slots
