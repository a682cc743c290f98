"""Are the value and the gradient of orpo, simpo, cpo and kto those of TRL's?

    python benchmarks/parity/family_losses.py

As `dpo_losses.py`, with the trainers that TRL has for each. TRL's ORPO counts the prompt's tokens
in its negative log-likelihood; prompts of one token, which nothing predicts, leave the answer's.
Ends with 1 where a value or a gradient differs by more than 1e-4.
"""

from __future__ import annotations

from typing import Any

from two_sides import run

Case = dict[str, Any]


def cases() -> dict[str, Case]:
    """What is compared: the strategy and its options, TRL's trainer and its configuration."""
    found: dict[str, Case] = {}

    def add(name: str, trainer: str, config: dict[str, Any], **ours: Any) -> None:
        strategy = name.split(",", maxsplit=1)[0]
        found[name] = {"strategy": strategy, "ours": ours, "trainer": trainer, "config": config}

    add("orpo", "ORPO", {})
    add("orpo, beta 0.5", "ORPO", {"beta": 0.5}, beta=0.5)

    def simpo(name: str, nll: float = 0.0, smoothing: float = 0.0, **ours: Any) -> None:
        beta, ratio = ours.get("beta", 2.0), ours.get("gamma_beta_ratio", 0.5)
        config = {"loss_type": "simpo", "beta": beta, "simpo_gamma": beta * ratio}
        config |= {"cpo_alpha": nll, "label_smoothing": smoothing}
        add(name, "CPO", config, nll_weight=nll, label_smoothing=smoothing, **ours)

    simpo("simpo")
    simpo("simpo, beta 10, gamma ratio 0.3", beta=10.0, gamma_beta_ratio=0.3)
    simpo("simpo, label smoothing 0.1", smoothing=0.1)
    simpo("simpo, NLL weight 0.5 (CPO-SimPO)", nll=0.5)

    for loss in ("sigmoid", "hinge", "ipo"):
        add(f"cpo, {loss}", "CPO", {"loss_type": loss}, loss=loss)
        both = {"beta": 0.5}
        add(f"cpo, {loss}, beta 0.5", "CPO", {"loss_type": loss, **both}, loss=loss, **both)
    add("cpo, NLL weight 0", "CPO", {"cpo_alpha": 0.0}, nll_weight=0.0)
    smoothed = {"label_smoothing": 0.2}
    add("cpo, label smoothing 0.2", "CPO", smoothed, **smoothed)

    for loss in ("kto", "apo_zero_unpaired"):
        for more in ({}, {"beta": 0.5}, {"desirable_weight": 1.3, "undesirable_weight": 0.7}):
            words = [f"{name.replace('_', ' ')} {value:g}" for name, value in more.items()]
            name = ", ".join(["kto", *([] if loss == "kto" else [loss]), *words])
            add(name, "KTO", {"loss_type": loss, **more}, loss=loss, **more)
    # The reference's and the model's part exchanged: the estimate is then on 0's other side.
    for name in ("kto", "kto, beta 0.5"):
        found[f"{name}, models exchanged"] = {**found[name], "exchanged": True}
    return found


if __name__ == "__main__":
    raise SystemExit(run("family_losses", __doc__, cases()))
