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
    """

    compares: bool = True
    difference: bool = False
    smoothing: bool = False
    sorts: bool = False
    per_token: bool = False


FACTS: dict[LossName, LossFacts] = {
    "sigmoid": LossFacts(difference=True, smoothing=True),
    "hinge": LossFacts(difference=True),
    "ipo": LossFacts(difference=True, per_token=True),
    "robust": LossFacts(difference=True, smoothing=True),
    "exo_pair": LossFacts(difference=True, smoothing=True),
    "nca_pair": LossFacts(),
    "bco_pair": LossFacts(),
    "sppo_hard": LossFacts(),
    "aot": LossFacts(smoothing=True, sorts=True),
    "aot_unpaired": LossFacts(smoothing=True, sorts=True),
    "apo_zero": LossFacts(),
    "apo_down": LossFacts(),
    "discopop": LossFacts(difference=True),
    "sft": LossFacts(compares=False),
}
