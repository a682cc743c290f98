"""Are the value and the gradient of Anima's reward model those of TRL's?

    python benchmarks/parity/reward.py

Each library computes the loss by its own code from the model down, in an environment of its own:
on one float32 model, one head and one batch, with and without margins and centering; TRL over
padded rows, Anima over segments that share their prompts. Ends with 1 where they differ by more
than 1e-4 of the value, or of the gradient's norm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from dpo_losses import offline, quietly  # noqa: E402
from harness.environments import ROOT, anima_python, trl_python  # noqa: E402

CASES = {
    "plain": {"centering": 0.0, "margins": False},
    "margins": {"centering": 0.0, "margins": True},
    "centering 0.01": {"centering": 0.01, "margins": False},
    "margins, centering 0.5": {"centering": 0.5, "margins": True},
}
"""What is compared: a name, the centering, and whether pairs have margins."""


def main() -> None:
    """Make the model and the batch, let TRL compute, then Anima compute and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--anima-python", type=Path, help="interpreter that has Anima")
    parser.add_argument("--trl-python", type=Path, help="interpreter that has TRL")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "benchmarks" / "reward")
    options = parser.parse_args()
    work: Path = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    (work / "cases.json").write_text(json.dumps(CASES, indent=1), encoding="utf-8")
    anima = anima_python(options.anima_python, work)
    trl = trl_python(options.trl_python, work)
    side = [str(anima), str(HERE / "reward_anima.py"), "--folder", str(work)]
    quietly([*side, "--make"], work / "make.log")
    quietly([str(trl), str(HERE / "reward_trl.py"), "--folder", str(work)], work / "trl.log")
    raise SystemExit(subprocess.run(side, env=offline(), check=False).returncode)


if __name__ == "__main__":
    main()
