"""State without a pickle, bit for bit."""

from __future__ import annotations

import pytest
import torch

from anima_core.training.state import load_state, save_state


def test_nested_state_comes_back_as_it_was(tmp_path) -> None:  # type: ignore[no-untyped-def]
    state = {
        "state": {0: {"step": torch.tensor(3.0), "q": {"m": torch.arange(5, dtype=torch.uint8)}}},
        "param_groups": [{"betas": (0.9, 0.999), "lr": 1e-4, "params": [0], "x": None, "y": True}],
    }
    save_state(state, tmp_path, "optimizer")
    back = load_state(tmp_path, "optimizer")
    assert back["param_groups"] == state["param_groups"]
    assert isinstance(back["param_groups"][0]["betas"], tuple)
    assert list(back["state"]) == [0]
    assert torch.equal(back["state"][0]["q"]["m"], state["state"][0]["q"]["m"])
    assert back["state"][0]["q"]["m"].dtype == torch.uint8
    assert not list(tmp_path.glob("*.pt")) + list(tmp_path.glob("*.bin"))


def test_what_no_checkpoint_can_hold_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TypeError, match=r"loss\.thing is a set"):
        save_state({"thing": {1, 2}}, tmp_path, "loss")


def test_tensors_that_share_storage(tmp_path) -> None:  # type: ignore[no-untyped-def]
    base = torch.arange(6.0)
    save_state([base[:3], base[3:], base.view(2, 3).t()], tmp_path, "s")
    a, b, c = load_state(tmp_path, "s")
    assert a.tolist() == [0, 1, 2]
    assert b.tolist() == [3, 4, 5]
    assert torch.equal(c, base.view(2, 3).t())
