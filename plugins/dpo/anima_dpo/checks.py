"""Options that contradict each other, or that would do nothing. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from anima_core import Problem
from anima_dpo.facts import FACTS, LossFacts
from anima_dpo.idle import changed, nothing
from anima_dpo.options import DpoOptions
from anima_dpo.rest import Steps, small_rest

if TYPE_CHECKING:
    from anima_core import DataSummary


def problems(options: DpoOptions) -> Iterator[Problem]:
    """What is wrong with the options as a whole."""
    yield from _idle(options)
    yield from _clashing(options)
    yield from _feeble(options)


def _idle(options: DpoOptions) -> Iterator[Problem]:
    """Options that no selected loss would look at."""

    def unused(field: str, any_of: Callable[[LossFacts], bool]) -> Iterator[Problem]:
        if not changed(options, field) or any(any_of(FACTS[name]) for name in options.loss):
            return
        users = ", ".join(name for name, facts in FACTS.items() if any_of(facts))
        yield nothing(
            "dpo",
            field,
            f"{', '.join(options.loss)} does not look at it",
            f"Leave it out, or use it with a --dpo.loss of {users}.",
        )

    yield from unused("beta", lambda facts: facts.compares)
    yield from unused("reference", lambda facts: facts.compares)
    yield from unused("label_smoothing", lambda facts: facts.smoothing)
    yield from unused("length_normalised", lambda facts: facts.compares and not facts.per_token)
    yield from unused("ld_alpha", lambda facts: facts.compares)
    yield from unused("wpo", lambda facts: facts.compares)
    if not any(FACTS[name].compares for name in options.loss):  # else see `_clashing`
        yield from unused("f_divergence", lambda facts: facts.difference and not facts.per_token)
    for field, name in (("discopop_tau", "discopop"), ("bco_shift", "bco_pair")):
        if changed(options, field) and name not in options.loss:
            fix = f"Leave it out, or add {name} to --dpo.loss."
            yield nothing("dpo", field, f"only {name} looks at it", fix)
    if changed(options, "f_alpha") and options.f_divergence != "alpha_divergence":
        fix = "Leave it out, or add --dpo.f-divergence alpha_divergence."
        yield nothing("dpo", "f_alpha", "only alpha_divergence looks at it", fix)


def _clashing(options: DpoOptions) -> Iterator[Problem]:
    """Options that make no sense together."""
    if "exo_pair" in options.loss and options.label_smoothing == 0:
        yield Problem(
            "--dpo.label-smoothing",
            "exo_pair takes its logarithm, so it must be above 0",
            "Add --dpo.label-smoothing 0.001, as its paper has it.",
        )
    if options.f_divergence != "reverse_kl":
        yield from _constants(options)
    sorting = [name for name in options.loss if FACTS[name].sorts]
    if options.wpo and sorting:
        yield Problem(
            "--dpo.wpo",
            f"{', '.join(sorting)} sorts the pairs, which leaves no pair to weigh",
            "Leave out --dpo.wpo, or use another loss, such as sigmoid.",
        )


def _constants(options: DpoOptions) -> Iterator[Problem]:
    """Losses in which the normalising constant of an f-divergence would not cancel."""
    where = "--dpo.f-divergence"
    constant = f"the normalising constant of {options.f_divergence}"
    comparing = [name for name in options.loss if FACTS[name].compares]
    if several := [name for name in comparing if not FACTS[name].difference]:
        yield Problem(
            where,
            f"{', '.join(several)} looks at each answer by itself, where {constant} does not "
            "cancel",
            "Use reverse_kl, or a loss that compares the two answers, such as sigmoid.",
        )
        return
    if means := [n for n in comparing if FACTS[n].per_token or options.length_normalised]:
        by_option = "leave out --dpo.length-normalised" if options.length_normalised else ""
        yield Problem(
            where,
            f"{', '.join(means)} divides each answer's score by its length, after which {constant} "
            "does not cancel between answers of different lengths",
            f"Use reverse_kl, or {by_option or 'a loss of whole answers, such as sigmoid'}.",
        )


def _feeble(options: DpoOptions) -> Iterator[Problem]:
    """Options that do much less than they seem to."""
    scaled = [name for name in options.loss if (facts := FACTS[name]).compares and not facts.aims]
    if options.length_normalised and options.beta < 1 and scaled:
        yield Problem(
            "--dpo.beta",
            f"a mean over tokens is as many times smaller than a sum as an answer has tokens, so "
            f"that at a beta of {options.beta:g} {', '.join(scaled)} hardly moves the model",
            "Say --dpo.beta 5, as Tülu 3 does (Lambert et al. 2024, arXiv:2411.15124), or leave "
            "out --dpo.length-normalised.",
            level="warning",
        )
    if "robust" in options.loss and options.label_smoothing == 0:
        yield Problem(
            "--dpo.loss",
            "without label smoothing robust is sigmoid",
            "Say --dpo.label-smoothing 0.1, or what share of the labels is wrong, or use sigmoid.",
            level="warning",
        )


def lonely(options: DpoOptions, batch_size: int) -> Iterator[Problem]:
    """A loss that sorts the pairs of a step, where there is one."""
    sorting = [name for name in options.loss if FACTS[name].sorts]
    if sorting and batch_size == 1:
        yield Problem(
            "--batch-size",
            f"{', '.join(sorting)} sorts the pairs of a step, and a step of one pair has no order",
            "Raise --batch-size: the more pairs, the better the order.",
        )


def unsorted_rest(options: DpoOptions, data: DataSummary, steps: Steps | None) -> Iterator[Problem]:
    """A last step that is too small for losses that sort the pairs of a step."""
    sorting = [name for name in options.loss if FACTS[name].sorts]
    if sorting and steps and steps.size > 1:
        why = f"{', '.join(sorting)} sorts the pairs of a step: of few there is hardly an order"
        yield from small_rest(data.examples, steps, why)


def biased(options: DpoOptions, data: DataSummary) -> Iterator[Problem]:
    """Pairs that differ mostly in length, beside losses whose rewards grow with it."""
    facts = [FACTS[name] for name in options.loss]
    minds = any(fact.compares and not fact.per_token for fact in facts)
    if minds and not options.length_normalised and options.ld_alpha is None:
        yield from length_biased(
            data,
            "divide by length with --dpo.length-normalised --dpo.beta 5, or count what goes past "
            "the shorter answer less with --dpo.ld-alpha 0.5",
        )


def length_biased(data: DataSummary, remedy: str = "") -> Iterator[Problem]:
    """Pairs that differ mostly in length, beside a loss whose rewards grow with it.

    Park et al. 2024, "Disentangling Length from Quality in Direct Preference Optimization",
    arXiv:2403.19159.

    Args:
        data: what is trained on.
        remedy: what helps besides other pairs.
    """
    pairs = data.pairs
    if pairs is None or not pairs.preferred_length:
        return
    count = pairs.longer if pairs.preferred_length == "longer" else pairs.shorter
    yield Problem(
        "data",
        f"in {count:,} of {data.examples:,} pairs the better answer is the "
        f"{pairs.preferred_length} one ({pairs.chosen_tokens:.0f} tokens against "
        f"{pairs.rejected_tokens:.0f} on average): the model may learn the length alone",
        f"Balance the pairs{remedy and ', '}{remedy}.",
        level="warning",
    )
