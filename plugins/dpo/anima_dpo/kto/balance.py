"""Whether good and bad answers of a data set count alike. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from anima_core import DataError, Problem
from anima_dpo.kto.strategy import KtoOptions

if TYPE_CHECKING:
    from anima_core import DataSummary

LEAST, MOST = 1.0, 4 / 3
"""How many times as much as the bad answers all good ones are to count (the paper's eq. 9)."""


def balance_problems(options: KtoOptions, data: DataSummary) -> Iterator[Problem]:
    """What is wrong with so many good and so many bad answers.

    Ethayarajh et al. 2024, arXiv:2402.01306, §4.3: with the weights lambda and the numbers n,
    ``lambda_D * n_D / (lambda_U * n_U)`` is to lie in [1, 4/3]. An example of weight w is w
    examples here, as it is in the loss.

    Args:
        options: how the loss is set.
        data: what is trained on.
    """
    good, bad = data.good_answers, data.bad_answers
    if not good or not bad:
        there, lacking = ("good", "false") if good else ("bad", "true")
        yield Problem(
            "data",
            f"all of its {good + bad:,} answers are {there} ones, and kto learns from the "
            "difference",
            f"Add answers whose label is {lacking}"
            + ("; or use --sft, which learns from good answers alone." if good else "."),
            exit_code=DataError.exit_code,
        )
        return
    share = data.good_weight / data.bad_weight
    ratio = options.desirable_weight / options.undesirable_weight * share
    if options.loss != "kto" or LEAST - 1e-9 <= ratio <= MOST + 1e-9:
        return
    desirable = options.undesirable_weight / share
    undesirable = options.desirable_weight * share
    plain = (good, bad) == (data.good_weight, data.bad_weight)
    weighed = "" if plain else ", by the weights of the records,"
    yield Problem(
        "--kto.desirable-weight",
        f"{good:,} good answers count{weighed} {ratio:.3g} times as much as {bad:,} bad ones, "
        "where 1 to 1.33 times is what KTO's paper advises",
        f"Say --kto.desirable-weight {_within(desirable, desirable * MOST)}, or "
        f"--kto.undesirable-weight {_within(undesirable / MOST, undesirable)}.",
        level="warning",
    )


def _within(low: float, high: float) -> str:
    """A short number between two."""
    middle = (low + high) / 2
    texts = (f"{middle:.{digits}g}" for digits in range(1, 17))
    return next(text for text in texts if low <= float(text) <= high)
