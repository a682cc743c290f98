"""Are the value and the gradient of Anima's preference losses those of TRL's?

    python benchmarks/parity/dpo_losses.py

Each library computes every loss that both have, by its own code from the model down, in an
environment of its own: on one float32 model, one reference and one batch, TRL over padded rows,
Anima over segments that share their prompts. Ends with 1 where they differ by more than 1e-4 of
the value, or of the gradient's norm.
"""

from __future__ import annotations

from typing import Any

from two_sides import run

FAMILY = (
    "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft",
)  # fmt: skip
COMPARING = ("sigmoid", "hinge", "robust", "exo_pair", "discopop")
SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")


def cases() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """What is compared: a name, the options of `DpoOptions`, and those of `DPOConfig`."""
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def add(name: str, loss: str, theirs: str = "", ours: Any = None, **both: Any) -> None:
        if "exo_pair" in loss:
            both.setdefault("label_smoothing", 1e-3)
        names = {"f_divergence": "f_divergence_type", "f_alpha": "f_alpha_divergence_coef"}
        names |= {"weights": "loss_weights", "wpo": "use_weighting"}
        config = {names.get(key, key): value for key, value in both.items()}
        found[name] = (
            {"loss": loss, **both, **(ours or {})},
            {"loss_type": (theirs or loss).split(","), **config},
        )

    for loss in FAMILY:
        add(loss, loss)
    for loss in FAMILY[:-1]:
        add(f"{loss}, beta 0.5", loss, beta=0.5)
    for loss in SMOOTHED:
        add(f"{loss}, label smoothing 0.2", loss, label_smoothing=0.2)
    for divergence in ("forward_kl", "js_divergence", "alpha_divergence"):
        for loss in COMPARING:
            add(f"{loss}, {divergence}", loss, f_divergence=divergence)
    add("sigmoid, alpha 0.2", "sigmoid", f_divergence="alpha_divergence", f_alpha=0.2)
    for loss in ("sigmoid", "ipo", "aot", "apo_down", "sppo_hard"):
        add(f"{loss}, LD alpha 0.3", loss, ld_alpha=0.3)
    for loss in ("sigmoid", "ipo", "bco_pair", "apo_down"):
        add(f"{loss}, WPO", loss, wpo=True)
    add("sigmoid, WPO, LD alpha 0.3", "sigmoid", wpo=True, ld_alpha=0.3)
    normalised = {"length_normalised": True}
    add("sigmoid, length normalised", "sigmoid", "sigmoid_norm", normalised, beta=2.0)
    add("sigmoid + bco_pair + sft", "sigmoid,bco_pair,sft", weights=[0.8, 0.2, 1.0])
    add("ipo + aot + hinge", "ipo,aot,hinge", weights=[0.1, 2.0, 0.5])
    add("sigmoid + apo_zero, WPO", "sigmoid,apo_zero", weights=[0.5, 2.0], wpo=True)
    return found


if __name__ == "__main__":
    raise SystemExit(run("dpo_losses", __doc__, cases()))
