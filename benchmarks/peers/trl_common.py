"""What both TRL scripts share: arguments, LoRA, the clock, and the result they write.

Runs inside TRL's own environment and imports nothing of Anima.
"""
# mypy: disable-error-code="import-not-found,import-untyped,misc,no-any-return"

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
import trl
from peft import LoraConfig
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def arguments(description: str | None, *, beta: bool = False) -> argparse.Namespace:
    """Read the command line that `compare.py` writes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True, help="folder with safetensors")
    parser.add_argument("--data", type=Path, required=True, help="json file of examples")
    parser.add_argument("--result", type=Path, required=True, help="json file to write")
    parser.add_argument("--work", type=Path, required=True, help="scratch folder")
    parser.add_argument("--config", choices=("default", "tuned"), required=True)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), required=True)
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps in all")
    parser.add_argument("--batch-size", type=int, required=True, help="examples a step")
    parser.add_argument("--micro-batch", type=int, required=True, help="examples in flight")
    parser.add_argument("--max-length", type=int, required=True, help="tokens")
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    if beta:
        parser.add_argument("--beta", type=float, required=True)
    return parser.parse_args()


def common_config(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of both trainers: what is equal on both sides, then what tuning changes.

    ``default`` leaves TRL's own choices alone (float32 weights, bfloat16 autocast, gradient
    checkpointing, the whole step in flight). ``tuned`` loads the weights in the dtype that the
    machine computes, without autocast or checkpointing, grouped by length, and accumulates.
    """
    config: dict[str, Any] = {
        "output_dir": str(options.work),
        "max_steps": options.steps,
        "per_device_train_batch_size": options.batch_size,
        "max_length": options.max_length,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "seed": options.seed,
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if options.config == "tuned":
        config |= {
            "per_device_train_batch_size": options.micro_batch,
            "gradient_accumulation_steps": options.batch_size // options.micro_batch,
            "gradient_checkpointing": False,
            "bf16": False,
            "train_sampling_strategy": "group_by_length",
            "model_init_kwargs": {"dtype": options.dtype},
        }
    return config


def lora() -> LoraConfig:
    """The adapter of both sides."""
    return LoraConfig(
        r=16,
        lora_alpha=32,
        lora_dropout=0.0,
        bias="none",
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def to_end_of_turn(ids: list[int], end: int) -> int:
    """How many of the ids there are up to the last end-of-turn token, or all.

    A chat template may write more after it (a line break), which TRL teaches and Anima does not.
    """
    return next((i + 1 for i in reversed(range(len(ids))) if ids[i] == end), len(ids))


class Counting:
    """Mixin of a trainer: counts the tokens that go through the model.

    A trainer that asks a reference in its steps adds up how long that takes.
    """

    tokens = 0
    cells = 0
    reference_seconds = 0.0

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Count a micro-batch, then train on it."""
        self.tokens += int(inputs["attention_mask"].sum())
        self.cells += inputs["attention_mask"].numel()
        return super().training_step(model, inputs, *args, **kwargs)


class Clock(TrainerCallback):
    """Seconds and tokens of each optimizer step, data loading and logging included."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.trainer: Any = None
        self._then = 0.0
        self._tokens = 0
        self._cells = 0
        self._reference = 0.0
        self.peak_before = 0

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Start the clock."""
        self.peak_before = peak_bytes()
        self._then = time.perf_counter()

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Note one step."""
        now = time.perf_counter()
        self.steps.append(
            {
                "step": state.global_step,
                "seconds": now - self._then,
                "tokens": self.trainer.tokens - self._tokens,
                "cells": self.trainer.cells - self._cells,
                "reference_seconds": self.trainer.reference_seconds - self._reference,
            }
        )
        self._then = now
        self._reference = self.trainer.reference_seconds
        self._tokens, self._cells = self.trainer.tokens, self.trainer.cells


def peak_bytes() -> int:
    """The process's peak resident memory so far (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def train(trainer: Trainer, clock: Clock, result: Path, **extra: Any) -> None:
    """Train, then write what was measured.

    Args:
        trainer: a trainer that mixes in `Counting`.
        clock: its clock.
        result: the file to write.
        extra: more entries of the result.
    """
    clock.trainer = trainer
    trainer.add_callback(clock)
    trainer.train()
    losses = {
        int(entry["step"]): entry["loss"] for entry in trainer.state.log_history if "loss" in entry
    }
    for record in clock.steps:
        record["loss"] = losses[int(record["step"])]
    model: Any = trainer.model
    dataset: Any = trainer.train_dataset
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    result.write_text(
        json.dumps(
            {
                "versions": {m.__name__: m.__version__ for m in (trl, transformers, peft, torch)},
                "trainable": sum(p.numel() for p in parameters.values()),
                "trainable_dtype": sorted({str(p.dtype) for p in parameters.values()}),
                "base_dtype": sorted(
                    {str(p.dtype) for p in model.parameters() if not p.requires_grad}
                ),
                "examples": dataset.num_rows,
                "peak_before_training": clock.peak_before,
                "steps": clock.steps,
                **extra,
            },
            indent=1,
        )
    )
