"""Are the value and the gradient of Anima's reward model those of TRL's?

    python benchmarks/parity/reward.py

Each library computes the loss by its own code from the model down, in an environment of its own:
on one float32 model, one head and one batch, with and without margins and centering; TRL over
padded rows, Anima over segments that share their prompts. Ends with 1 where they differ by more
than 1e-4 of the value, or of the gradient's norm.
"""

from __future__ import annotations

from two_sides import run

CASES = {
    "plain": {"centering": 0.0, "margins": False},
    "margins": {"centering": 0.0, "margins": True},
    "centering 0.01": {"centering": 0.01, "margins": False},
    "margins, centering 0.5": {"centering": 0.5, "margins": True},
}
"""What is compared: a name, the centering, and whether pairs have margins."""


if __name__ == "__main__":
    raise SystemExit(run("reward", __doc__, CASES))
