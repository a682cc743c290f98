"""Supervised fine-tuning with TRL's SFTTrainer on an Alpaca-type file, timed step by step."""
# mypy: disable-error-code="import-not-found,import-untyped,misc"

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset
from records import prompt_and_answers
from trl import SFTConfig, SFTTrainer
from trl_common import Clock, Counting, arguments, common_config, lora, to_end_of_turn, train


class Sft(Counting, SFTTrainer):
    """SFTTrainer that counts tokens, and ends every answer at its end-of-turn token."""

    def _prepare_dataset(self, *args: Any, **kwargs: Any) -> Any:
        def trim(row: dict[str, list[int]]) -> dict[str, list[int]]:
            stop = to_end_of_turn(row["input_ids"], self._tokenizer.eos_token_id)
            return {name: row[name][:stop] for name in ("input_ids", "labels")}

        return super()._prepare_dataset(*args, **kwargs).map(trim)


def examples(file: Path) -> Dataset:
    """An Alpaca-type file as prompt and completion: the loss is on the completion alone."""
    rows = map(prompt_and_answers, json.loads(file.read_text(encoding="utf-8")))
    return Dataset.from_list(
        [{"prompt": prompt, "completion": answers[0]} for prompt, answers in rows]
    )


def main() -> None:
    """Train once."""
    options = arguments(__doc__)
    clock = Clock()
    trainer = Sft(
        model=str(options.model),
        args=SFTConfig(**common_config(options)),
        train_dataset=examples(options.data),
        peft_config=lora(),
    )
    train(trainer, clock, options.result)


if __name__ == "__main__":
    main()
