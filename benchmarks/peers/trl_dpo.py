"""Direct preference optimisation with TRL's DPOTrainer on ShareGPT pairs, timed step by step.

Tuned by hand, the reference log-probs are computed before training starts; as TRL comes, they are
computed again in every step. Either way they are timed apart.
"""
# mypy: disable-error-code="import-not-found,import-untyped,misc"

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from records import prompt_and_answers
from trl import DPOConfig, DPOTrainer
from trl_common import Clock, Counting, arguments, common_config, lora, to_end_of_turn, train


class Dpo(Counting, DPOTrainer):
    """DPOTrainer that counts tokens, times its reference and can group by length.

    It ends every answer at its end-of-turn token.
    """

    precompute_seconds = 0.0
    _asked = 0.0

    def time_reference(self) -> None:
        """From now on note how long the forwards without a gradient take: the reference's."""

        def before(*_: Any) -> None:
            self._asked = time.perf_counter()

        def after(*_: Any) -> None:
            if not torch.is_grad_enabled():
                self.reference_seconds += time.perf_counter() - self._asked

        self.model.register_forward_pre_hook(before)
        self.model.register_forward_hook(after)

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        dataset = super()._precompute_ref_logps(*args, **kwargs)
        self.precompute_seconds += time.perf_counter() - start
        return dataset

    def _prepare_dataset(self, *args: Any, **kwargs: Any) -> Any:
        end = self._tokenizer.eos_token_id

        def trim(row: dict[str, Any]) -> dict[str, Any]:
            answers = {
                name: row[name][: to_end_of_turn(row[name], end)]
                for name in ("chosen_ids", "rejected_ids")
            }
            longest = max(len(ids) for ids in answers.values())
            return {**answers, "length": len(row["prompt_ids"]) + longest}

        return super()._prepare_dataset(*args, **kwargs).map(trim)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "length" not in self._signature_columns:
            self._signature_columns.append("length")  # Else it is dropped before the sampler looks.


def pairs(file: Path) -> Dataset:
    """A ShareGPT preference file as prompt, chosen and rejected messages."""
    rows = map(prompt_and_answers, json.loads(file.read_text(encoding="utf-8")))
    return Dataset.from_list(
        [
            {"prompt": prompt, "chosen": chosen, "rejected": rejected}
            for prompt, (chosen, rejected) in rows
        ]
    )


def main() -> None:
    """Train once."""
    options = arguments(__doc__, beta=True)
    clock = Clock()
    tuning = {"precompute_ref_log_probs": True} if options.config == "tuned" else {}
    trainer = Dpo(
        model=str(options.model),
        args=DPOConfig(**common_config(options), beta=options.beta, **tuning),
        train_dataset=pairs(options.data),
        peft_config=lora(),
    )
    trainer.time_reference()
    train(trainer, clock, options.result, reference_seconds=trainer.precompute_seconds)


if __name__ == "__main__":
    main()
