"""The head that the loss uses is the model's own."""

from __future__ import annotations

import pytest
import torch

from anima_core import UsageError
from anima_core.model.head import check_head, head_of
from anima_core.testing import FAMILIES, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_model_s_own(family: str) -> None:
    check_head(tiny_model(family))


def test_soft_cap_and_tied_weight_are_found() -> None:
    model = tiny_model("gemma2")
    head = head_of(model)
    assert head.softcap == 2.0
    assert head.weight is model.get_input_embeddings().weight


def test_a_model_that_does_more_to_its_logits_is_refused() -> None:
    model = tiny_model("llama")
    forward = model.forward

    def shifted(*args: object, **kwargs: object):  # type: ignore[no-untyped-def]
        output = forward(*args, **kwargs)
        output.logits = output.logits * torch.linspace(0.5, 1.5, output.logits.shape[-1])
        return output

    model.forward = shifted
    with pytest.raises(UsageError, match="more to its logits"):
        check_head(model)
