"""TRL's part of a comparison of losses: values and gradients, written for Anima to look at."""
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import trl
from safetensors.torch import save_file

QUIET = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
}
"""What every trainer is told."""


def main(about: str | None, computed: Callable[[Path, Any], tuple[Any, torch.Tensor]]) -> None:
    """Compute every case.

    Args:
        about: the script's docstring.
        computed: given the folder and a case, a fresh model and the loss of it.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    folder: Path = parser.parse_args().folder
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    values = {}
    gradients: dict[str, torch.Tensor] = {}
    for number, (name, case) in enumerate(cases.items()):
        model, loss = computed(folder, case)
        loss.backward()
        values[name] = float(loss.detach())
        for parameter, tensor in model.named_parameters():
            if tensor.grad is not None:
                gradients[f"{number}.{parameter}"] = tensor.grad.clone()
    save_file(gradients, folder / "trl.safetensors")
    result = {"trl": trl.__version__, "torch": torch.__version__, "values": values}
    (folder / "trl.json").write_text(json.dumps(result), encoding="utf-8")
