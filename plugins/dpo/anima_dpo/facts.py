"""What there is to know of each loss before a run starts. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

LossName = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
]
NAMES: tuple[LossName, ...] = get_args(LossName)


@dataclass(frozen=True)
class LossFacts:
    """What a loss looks at.

    Attributes:
        compares: whether it looks at the two answers' log-ratios to the reference; sft does not.
        difference: whether it depends on nothing but the difference of the two scores. Only then
            does the partition function that an f-divergence leaves in each of them cancel
            (Wang et al. 2023, arXiv:2309.16240, §4).
        smoothing: whether it uses the label smoothing.
        sorts: whether it sorts the pairs of the whole optimizer step.
        per_token: whether it divides by the answers' lengths whatever is asked.
        logistic: whether it looks at the sigmoid of the margin, which is then the logit of the
            Bradley-Terry model. Losses that sort the pairs do too: their differences have the
            margins' mean. hinge has no sigmoid, and in those that look at each answer by itself
            the logit is a reward.
        aims: whether beta sets a number that log-ratios are pulled to; else beta multiplies them.
        lowers: whether it makes both answers less likely on purpose.
    """

    compares: bool = True
    difference: bool = False
    smoothing: bool = False
    sorts: bool = False
    per_token: bool = False
    logistic: bool = False
    aims: bool = False
    lowers: bool = False


FACTS: dict[LossName, LossFacts] = {
    "sigmoid": LossFacts(difference=True, smoothing=True, logistic=True),
    "hinge": LossFacts(difference=True),
    "ipo": LossFacts(difference=True, per_token=True, aims=True),
    "robust": LossFacts(difference=True, smoothing=True, logistic=True),
    "exo_pair": LossFacts(difference=True, smoothing=True, logistic=True),
    "nca_pair": LossFacts(),
    "bco_pair": LossFacts(),
    "sppo_hard": LossFacts(aims=True),
    "aot": LossFacts(smoothing=True, sorts=True, logistic=True),
    "aot_unpaired": LossFacts(smoothing=True, sorts=True, logistic=True),
    "apo_zero": LossFacts(),
    "apo_down": LossFacts(logistic=True, lowers=True),
    "discopop": LossFacts(difference=True, logistic=True),
    "sft": LossFacts(compares=False),
}
