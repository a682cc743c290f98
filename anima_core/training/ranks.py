"""This process among all of them, as torchrun and `accelerate launch` say it."""

from __future__ import annotations

import os


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes, from the environment."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
