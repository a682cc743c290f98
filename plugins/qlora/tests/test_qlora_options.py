from __future__ import annotations

import pytest
from anima_qlora.options import LoraOptions, QloraOptions
from pydantic import ValidationError


def test_targets_are_read_from_a_list_or_from_commas() -> None:
    assert LoraOptions(targets="q_proj, v_proj").targets == ("q_proj", "v_proj")
    assert LoraOptions(targets=["q_proj,k_proj", "q_proj"]).targets == ("q_proj", "k_proj")
    assert LoraOptions().all_linear
    assert LoraOptions(targets="all-linear").all_linear
    assert not LoraOptions(targets="q_proj").all_linear


@pytest.mark.parametrize("targets", ["", "q_proj,", [], "all-linear,q_proj", 3])
def test_targets_that_name_nothing_are_refused(targets: object) -> None:
    with pytest.raises(ValidationError):
        LoraOptions(targets=targets)


@pytest.mark.parametrize(
    "given",
    [
        {"r": 0},
        {"alpha": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"init": "eva"},
        {"bits": 3},
        {"quant_type": "int4"},
        {"rank": 8},
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        QloraOptions(**given)


def test_the_scaling_is_alpha_over_r_and_with_rslora_over_its_root() -> None:
    assert LoraOptions(r=16, alpha=32).scaling == 2.0
    assert LoraOptions(r=16, alpha=32, rslora=True).scaling == 8.0
