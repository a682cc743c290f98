"""The options of ``--dpo``. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from anima_core import Options
from anima_dpo.facts import NAMES, LossName
from anima_dpo.naming import REFERENCE, ModelName

Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]


def _several(value: object) -> object:
    """``"sigmoid,sft"`` counts as two; so does a list whose items hold commas."""
    parts = [value] if isinstance(value, str | float | int) else value
    if not isinstance(parts, list | tuple):
        return value
    return tuple(
        word.strip() if isinstance(word, str) else word
        for part in parts
        for word in (part.split(",") if isinstance(part, str) else [part])
    )


class DpoOptions(Options):
    """Options of the `Dpo` strategy."""

    loss: Annotated[tuple[LossName, ...], BeforeValidator(_several)] = Field(
        default=("sigmoid",),
        min_length=1,
        description="What is minimised: one loss, or several with commas, which are added up; "
        f"of {', '.join(NAMES)}. aot and aot_unpaired look at the whole step: a second "
        "forward pass, one process only.",
    )
    weights: Annotated[
        tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], BeforeValidator(_several)
    ] = Field(
        default=(),
        description="What each loss is multiplied by, above 0, in the order of --dpo.loss; "
        "1 for each when left out.",
    )
    beta: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=False,
        description="How strongly the model is held to its reference: the beta of the implicit "
        "reward beta * log(pi / pi_ref), a number per nat (Rafailov et al. 2023, eq. 7, who use "
        "0.1 and 0.5). Smaller lets it drift further. Of ipo, 1 / (2 beta) is by how many nats a "
        "token the chosen answer is to gain on the other; of sppo_hard, how many nats an answer "
        "each of the two is to gain or lose (Wu et al. 2024 have 500: beta 0.001).",
    )
    reference: ModelName | None = Field(default=None, min_length=1, description=REFERENCE)
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Probability that a pair is labelled the wrong way round, in [0, 0.5); "
        "0 trusts every label. For sigmoid (conservative DPO, Mitchell 2023), robust, exo_pair, "
        "aot and aot_unpaired.",
    )
    length_normalised: bool = Field(
        default=False,
        description="Divide each answer's log-ratio by its number of tokens (Lambert et al. 2024, "
        "Tülu 3); beta then wants to be larger, 5 in theirs. ipo always does.",
    )
    ld_alpha: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="What the tokens of the longer answer count that go past the shorter one's "
        "length, in [0, 1); 0 leaves them out (LD-DPO, Liu et al. 2024). [default: all count 1]",
    )
    rpo_alpha: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Add so many times the chosen answer's mean negative log-likelihood per token "
        "(RPO, Pang et al. 2024, who use 1). [default: nothing is added]",
    )
    wpo: bool = Field(
        default=False,
        description="Weigh each pair, in every loss that is added up, by how likely the model "
        "finds both answers, per token and beside what it would say itself (WPO, Zhou et al. "
        "2024): pairs such as it would write itself count about 1, unlikelier ones less and "
        "likelier ones more.",
    )
    f_divergence: Divergence = Field(
        default="reverse_kl",
        description="What keeps the model near its reference (f-DPO, Wang et al. 2023). All but "
        "reverse_kl want losses that compare the two answers and divide neither by its length: "
        "sigmoid, hinge, robust, exo_pair or discopop.",
    )
    f_alpha: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="The alpha of alpha_divergence, in (0, 1): near 0 it is forward_kl, near 1 "
        "reverse_kl.",
    )
    discopop_tau: float = Field(
        default=0.05,
        gt=0,
        allow_inf_nan=False,
        description="Temperature at which discopop goes from its logistic to its exponential part "
        "(Lu et al. 2024).",
    )
    bco_shift: bool = Field(
        default=True,
        description="Let bco_pair subtract the running mean of the rewards (Jung et al. 2024, "
        "their delta). Off, it is 0, and the run may use several processes.",
    )

    @field_validator("loss")
    @classmethod
    def _once(cls, names: tuple[LossName, ...]) -> tuple[LossName, ...]:
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]} is named twice; name it once, with a weight")
        return names

    @field_validator("weights")
    @classmethod
    def _matching(cls, weights: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        names = info.data.get("loss")
        if weights and names is not None and len(weights) != len(names):
            raise ValueError(
                f"{len(weights)} for {len(names)} of --dpo.loss ({', '.join(names)}); "
                "give one for each, or none"
            )
        return weights

    @property
    def terms(self) -> dict[LossName, float]:
        """Each loss and its weight."""
        weights = self.weights or (1.0,) * len(self.loss)
        return dict(zip(self.loss, weights, strict=True))
