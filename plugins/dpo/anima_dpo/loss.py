"""The DPO loss over the log-probabilities of chosen and rejected answers."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from anima_core import AnimaError, Batch, DataError, Loss, LossOutput, Role


class DpoLoss(Loss):
    """Direct Preference Optimisation (Rafailov et al. 2023, arXiv:2305.18290, eq. 7).

    For a prompt x with a chosen answer w and a rejected answer l::

        r(y) = beta * (log pi(y|x) - log pi_ref(y|x))               implicit reward, eq. 5
        loss = -(1 - e) * logsigmoid(r(w) - r(l)) - e * logsigmoid(r(l) - r(w))

    where e is the label smoothing (conservative DPO: Mitchell 2023, "A note on DPO with noisy
    preferences & relationship to IPO"). An answer's log-prob is the sum over its tokens.

    Args:
        beta: how strongly the model is held to its reference, > 0.
        label_smoothing: probability that a label is wrong, in [0, 0.5).
    """

    data = "preference"
    scope = "example"
    needs = "logps"
    uses_reference = True

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0) -> None:
        self.beta = beta
        self.label_smoothing = label_smoothing

    def denominators(self, batch: Batch) -> dict[str, float]:
        """The pairs, each counted by its weight.

        Raises:
            DataError: an example has no supervised token in one of its answers.
        """
        _require_pairs(batch)
        return {"dpo": float(batch.weights.double().sum())}

    def __call__(
        self, batch: Batch, logps: torch.Tensor, reference: torch.Tensor | None = None
    ) -> LossOutput:
        """The weighted sum of the pairs' losses, and what happened to their rewards.

        Args:
            batch: preference pairs: each example has chosen and rejected tokens as targets.
            logps: log-probs of ``batch.targets``, ``[S]``, differentiable.
            reference: the same under the model as training started, ``[S]``.

        Returns:
            The total ``dpo``, and metrics that are plain means over pairs: rewards in units of
            beta times nats, log-probs in nats an answer, accuracy as the share of pairs with a
            margin above 0, where a tie counts half.

        Raises:
            AnimaError: `reference` is missing or of another shape.
            DataError: an example has no supervised token in one of its answers.
        """
        if reference is None:
            raise AnimaError("DPO needs the reference model's log-probs", where="dpo")
        if reference.shape != logps.shape:
            raise AnimaError(
                f"{reference.numel()} reference log-probs for {logps.numel()} targets", where="dpo"
            )
        _require_pairs(batch)
        # The difference is taken token by token, before the sums: an answer's log-prob is in the
        # hundreds while its change is near 0, and float32 would lose the change in the sums.
        gain = logps - reference.to(logps.dtype)
        chosen = self.beta * batch.per_example(gain, Role.CHOSEN)
        rejected = self.beta * batch.per_example(gain, Role.REJECTED)
        margin = chosen - rejected
        right, wrong = -logsigmoid(margin), -logsigmoid(-margin)
        pairs = (1 - self.label_smoothing) * right + self.label_smoothing * wrong
        total = (batch.weights.to(pairs.dtype) * pairs).sum()
        spoken = logps.detach()
        means = {
            "rewards_chosen": chosen,
            "rewards_rejected": rejected,
            "margin": margin,
            "accuracy": (margin.sign() + 1) / 2,
            "logps_chosen": batch.per_example(spoken, Role.CHOSEN),
            "logps_rejected": batch.per_example(spoken, Role.REJECTED),
        }
        metrics = {name: (v.detach().sum(), float(batch.examples)) for name, v in means.items()}
        return LossOutput(totals={"dpo": total}, metrics=metrics)


def _require_pairs(batch: Batch) -> None:
    """Refuse an example whose chosen or rejected answer has nothing to learn from."""
    ones = torch.ones_like(batch.targets, dtype=torch.float32)
    for role in (Role.CHOSEN, Role.REJECTED):
        empty = (batch.per_example(ones, role) == 0).nonzero().flatten().tolist()
        if empty:
            rows = ", ".join(str(batch.rows[index] + 1) for index in empty[:5])
            raise DataError(
                f"no token of the {role.name.lower()} answer is a target in example {rows}",
                where="dpo",
                fix="Give every pair a chosen and a rejected answer that fit --max-length.",
            )
