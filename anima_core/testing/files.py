"""What was written to a folder: safetensors, and no pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path

_PICKLED = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"})
_PROTOCOLS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def check_safetensors(folder: Path) -> None:
    """A folder holds tensors as safetensors and nothing that is read by unpickling.

    Raises:
        AssertionError: naming the file, or what is missing.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert files, "nothing was saved"
    for path in files:
        where = path.relative_to(folder)
        assert not is_pickle(path), f"{where} is a pickle; save tensors as safetensors"
    tensors = [path for path in files if path.suffix == ".safetensors"]
    names = ", ".join(str(path.relative_to(folder)) for path in files)
    assert tensors, f"no safetensors among what was saved: {names}"
    for path in tensors:
        _check_readable(path, folder)


def is_pickle(path: Path) -> bool:
    """Whether a file is of a kind that is read by unpickling, by its name or by its contents."""
    if path.suffix.lower() in _PICKLED or zipfile.is_zipfile(path):
        return True
    with path.open("rb") as stream:
        return stream.read(2) in _PROTOCOLS


def _check_readable(path: Path, folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    where = path.relative_to(folder)
    try:
        with safe_open(path, framework="pt") as opened:
            count = len(list(opened.keys()))
    except SafetensorError as error:
        raise AssertionError(f"{where} is no safetensors file: {error}") from error
    assert count, f"{where} holds no tensor"
