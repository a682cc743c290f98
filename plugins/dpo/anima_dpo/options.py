"""The options of ``--dpo``. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from anima_core import Options


class DpoOptions(Options):
    """Options of the `Dpo` strategy."""

    beta: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=False,
        description="How strongly the model is held to its reference: the beta of the implicit "
        "reward beta * log(pi / pi_ref) (Rafailov et al. 2023, eq. 7). Smaller lets it drift "
        "further; 0.1 to 0.5 is usual.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Probability that a pair is labelled the wrong way round, in [0, 0.5) "
        "(conservative DPO, Mitchell 2023); 0 trusts every label.",
    )
