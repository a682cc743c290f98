"""The options of `lora` and `qlora`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

import anima_core

ALL_LINEAR = "all-linear"
Init = Literal["default", "gaussian", "orthogonal", "pissa", "pissa_niter_16", "olora"]

MUTATING: frozenset[str] = frozenset({"pissa", "pissa_niter_16", "olora"})
"""Initialisations that move a part of the base weight into the adapter."""


def _targets(value: object) -> object:
    """``"q_proj,v_proj"`` counts as two targets; so does a list whose items hold commas."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    words = tuple(word.strip() for part in parts for word in str(part).split(","))
    if not words or not all(words):
        raise ValueError("name at least one layer, or all-linear")
    if ALL_LINEAR in words and len(words) > 1:
        raise ValueError("all-linear stands alone")
    return tuple(dict.fromkeys(words))


class LoraOptions(anima_core.Options):
    """Options of `lora`."""

    r: int = Field(
        default=16, ge=1, description="Rank of the update (Hu et al. 2021, §4.1); QLoRA used 64."
    )
    alpha: float = Field(
        default=32.0,
        gt=0,
        description="The update is scaled by alpha/r, with rslora by alpha/sqrt(r). Today's "
        "practice is twice the rank, so that the learning rate need not follow it.",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Probability of dropping an input of the adapter. QLoRA used 0.1 up to 13B "
        "and 0.05 above; today's practice is 0, which saves a copy of every layer's input.",
    )
    targets: Annotated[tuple[str, ...], BeforeValidator(_targets)] = Field(
        default=(ALL_LINEAR,),
        description="Layers to adapt, by the end of their names, with commas (q_proj,v_proj); "
        "all-linear is every linear layer but the output head (Dettmers et al. 2023, §4).",
    )
    rslora: bool = Field(
        default=False, description="Scale by alpha/sqrt(r) (rsLoRA, Kalajdzievski 2023)."
    )
    dora: bool = Field(
        default=False,
        description="Train magnitude and direction apart (DoRA, Liu et al. 2024); slower.",
    )
    init: Init = Field(
        default="default",
        description="How the adapter starts: default and gaussian at a zero update, orthogonal "
        "with orthogonal factors, pissa (or pissa_niter_16, its quick approximation) from the "
        "largest singular vectors of the weight, olora from its QR factors.",
    )

    @property
    def all_linear(self) -> bool:
        """Whether every linear layer but the head is adapted."""
        return self.targets == (ALL_LINEAR,)

    @property
    def scaling(self) -> float:
        """What the update BA is multiplied by."""
        return float(self.alpha / (self.r**0.5 if self.rslora else self.r))


class QloraOptions(LoraOptions):
    """Options of `qlora`: those of `lora`, and how the base weights are stored."""

    bits: Literal[4, 8] = Field(
        default=4,
        description="Bits a base weight is stored in: 4 (a scale for 64 weights) or 8 (a scale "
        "for each row).",
    )
    quant_type: Literal["nf4", "fp4"] = Field(
        default="nf4",
        description="The sixteen values of a 4-bit weight: nf4 (quantiles of a normal "
        "distribution; Dettmers et al. 2023, §3) or fp4 (a 4-bit float).",
    )
    double_quant: bool = Field(
        default=True,
        description="Store the scales of 4-bit weights in 8 bits: 0.37 bits a weight less.",
    )
