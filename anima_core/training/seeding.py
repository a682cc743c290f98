"""Randomness as a pure function of the seed and the step.

Every step starts from its own seed, so dropout is the same however the run got there: after a
resume, an evaluation or a sample generation. Nothing of the RNG needs to be saved.
"""

from __future__ import annotations

import hashlib
import random


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed Python's, NumPy's and torch's generators (all devices) for one step of one rank."""
    import numpy as np
    import torch

    digest = hashlib.sha256(f"{seed}:{step}:{rank}".encode()).digest()
    value = int.from_bytes(digest[:4], "big")
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
