"""This process among all of them, as torchrun and `accelerate launch` say it."""

from __future__ import annotations

import os

from anima_core.errors import UsageError

_SHARDED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes, from the environment."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """This process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0")))


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank_and_world()[0] == 0


def sharding_asked() -> str | None:
    """What `accelerate launch` was told to shard the model with, or None.

    Accelerate would turn FSDP on a CPU into DDP without a word.
    """
    asked = (name for key, name in _SHARDED.items() if os.environ.get(key, "").lower() == "true")
    return next(asked, None)


def device_of_rank(wanted: str) -> str:
    """The device of this process: with several of them, each takes a CUDA device of its own.

    Raises:
        UsageError: every process would take the same device.
    """
    if rank_and_world()[1] == 1 or wanted == "cpu":
        return wanted
    if wanted not in {"auto", "cuda"}:
        raise UsageError(
            f"several processes cannot share {wanted}",
            where="--device",
            fix="Say --device cuda, which gives each process a device of its own, or cpu.",
        )
    import torch

    return f"cuda:{local_rank()}" if wanted == "cuda" or torch.cuda.is_available() else "cpu"
