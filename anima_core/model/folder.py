"""A model source as an ordinary local folder: config, tokenizer and, when wanted, safetensors."""

from __future__ import annotations

from pathlib import Path

from anima_core.errors import SetupError, UsageError
from anima_core.model.resolve import ModelSource

SMALL_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py"]


def model_folder(source: ModelSource, *, weights: bool) -> Path:
    """The local folder of a source's base model.

    Args:
        source: the model.
        weights: whether the weights must be there too; without, a hub model's are not downloaded
            and a GGUF file's are not converted.

    Raises:
        UsageError: the hub has no such model, or the folder holds no safetensors.
        SetupError: the hub cannot be reached.
    """
    if source.kind == "gguf":
        from anima_core.model.gguf import gguf_folder

        assert source.path is not None
        return gguf_folder(source.path, weights=weights)
    folder = _download(source, weights=weights) if source.kind == "hub" else source.path
    assert folder is not None
    if weights and not any(folder.glob("*.safetensors")):
        raise UsageError(
            f"{source.given} holds no safetensors",
            where="MODEL",
            fix="Pickled weights (.bin, .pt) are never loaded; convert them to safetensors.",
        )
    return folder


def _download(source: ModelSource, *, weights: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [*SMALL_FILES, "*.safetensors"] if weights else SMALL_FILES
    try:
        return Path(snapshot_download(source.base, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        if Path(source.base).parent.is_dir():  # a misspelt path, rather than an owner's name
            raise UsageError(
                f"there is no folder {source.base}, and the hub cannot be asked for it",
                where="MODEL",
                fix="Check the path, or the network where a hub id is meant.",
            ) from error
        raise SetupError(
            f"the model {source.base} is not on this machine, and the hub cannot be reached",
            where="MODEL",
            fix="Check the name and the network, or name a local folder.",
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise UsageError(
            f"the hub does not give {source.base}: {str(error).splitlines()[0]}",
            where="MODEL",
            fix="Check the id and your access to it, or name a local folder.",
        ) from error
