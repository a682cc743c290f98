"""The losses by name: pure functions of pairs, one file a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from anima_dpo.facts import LossName
from anima_dpo.losses.anchored import apo_down, apo_zero
from anima_dpo.losses.classifier import bco_pair, nca_pair
from anima_dpo.losses.hinge import hinge
from anima_dpo.losses.logistic import discopop, robust, sigmoid
from anima_dpo.losses.matching import exo_pair
from anima_dpo.losses.squared import ipo, sppo_hard
from anima_dpo.losses.transport import aot, aot_unpaired
from anima_dpo.pairs import Knobs, Pairs

PairLoss = Callable[[Pairs, Knobs], torch.Tensor]
"""Each pair's loss, ``[E]``."""

StepLoss = Callable[[Pairs, Knobs], torch.Tensor]
"""The weighted sum over all pairs of a step, a scalar."""

BY_PAIR: Mapping[LossName, PairLoss] = {
    "sigmoid": sigmoid,
    "hinge": hinge,
    "ipo": ipo,
    "robust": robust,
    "exo_pair": exo_pair,
    "nca_pair": nca_pair,
    "bco_pair": bco_pair,
    "sppo_hard": sppo_hard,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "discopop": discopop,
}

BY_STEP: Mapping[LossName, StepLoss] = {"aot": aot, "aot_unpaired": aot_unpaired}
