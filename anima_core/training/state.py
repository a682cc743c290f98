"""Nested state (optimizers', schedulers', losses') as safetensors and JSON: no pickle.

Tensors go into one safetensors file under the path that leads to them; everything else goes into
JSON, with tuples, integer keys and tensors marked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def save_state(state: Any, folder: Path, name: str) -> None:
    """Write ``{name}.json`` and ``{name}.safetensors``.

    Raises:
        TypeError: the state holds something that is neither a tensor nor plain data.
    """
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    tree = _flatten(state, name, tensors)
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(tree), encoding="utf-8")


def load_state(folder: Path, name: str) -> Any:
    """Read what `save_state` wrote, bit for bit."""
    from safetensors.torch import load_file

    tensors = load_file(folder / f"{name}.safetensors")
    tree = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return _restore(tree, tensors)


def _flatten(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, dict):
        return {
            "items": [
                [_flatten(k, f"{path}.key{i}", tensors), _flatten(v, f"{path}.{k}", tensors)]
                for i, (k, v) in enumerate(value.items())
            ]
        }
    if isinstance(value, (list, tuple)):
        parts = [_flatten(v, f"{path}.{i}", tensors) for i, v in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": parts}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise TypeError(f"{path} is a {type(value).__name__}, which a checkpoint cannot hold")


def _restore(tree: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    if "tensor" in tree:
        return tensors[tree["tensor"]]
    if "items" in tree:
        return {_restore(k, tensors): _restore(v, tensors) for k, v in tree["items"]}
    if "tuple" in tree:
        return tuple(_restore(v, tensors) for v in tree["tuple"])
    if "list" in tree:
        return [_restore(v, tensors) for v in tree["list"]]
    return tree["value"]
