"""A GGUF file as an ordinary model folder in the cache, so that every loader works on it.

`from_pretrained(gguf_file=…)` alone leaves the weights packed; they are dequantised here, once.
"""

from __future__ import annotations

import hashlib
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from anima_core.cache import cache_root, whole_folder
from anima_core.errors import UsageError
from anima_core.quiet import quiet_libraries

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LAYOUT = 1
"""Version of what the cached folders hold; a change makes new ones."""
FLOAT32_LIMIT = 2 * 1024**3
"""Files up to this many bytes are dequantised to float32, exactly; larger ones to bfloat16."""


def gguf_folder(file: Path, *, weights: bool) -> Path:
    """The cached folder of a GGUF file.

    Args:
        file: the file.
        weights: whether its weights must be converted too.

    Raises:
        UsageError: the file is not GGUF, or of an architecture that transformers cannot read.
    """
    key = f"{file.stem}-{_fingerprint(file)}"
    full = cache_root() / "gguf" / key
    if full.is_dir():
        return full
    target = full if weights else cache_root() / "gguf" / f"{key}-config"
    if target.is_dir():
        return target
    try:
        # The conversion draws a bar of its own on stderr.
        with whole_folder(target) as aside, quiet_libraries(), redirect_stderr(StringIO()):
            _write_config(file, aside)
            if weights:
                _write_weights(file, aside)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise UsageError(
            f"{file.name} cannot be read as a GGUF model: {error}",
            where="MODEL",
            fix="Name a GGUF file of an architecture that transformers supports.",
        ) from error
    return target


def _fingerprint(file: Path) -> str:
    """A hash of the file's size, first and last mebibyte: quick for files of many gigabytes."""
    size = file.stat().st_size
    digest = hashlib.sha256(f"{LAYOUT}:{size}:".encode())
    with file.open("rb") as handle:
        digest.update(handle.read(1 << 20))
        handle.seek(max(0, size - (1 << 20)))
        digest.update(handle.read())
    return digest.hexdigest()[:16]


def _write_config(file: Path, folder: Path) -> None:
    from gguf import GGUFReader
    from transformers import AutoConfig, AutoTokenizer

    field = GGUFReader(str(file)).get_field("tokenizer.ggml.pre")
    pre = str(field.contents()) if field is not None else ""
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    restore_pre_tokenizer(tokenizer, pre)
    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)


def restore_pre_tokenizer(tokenizer: PreTrainedTokenizerBase, pre: str) -> None:
    """Give a tokenizer back what transformers drops from GGUF: SmolLM splits every digit.

    Args:
        tokenizer: a fast tokenizer, changed in place.
        pre: GGUF's ``tokenizer.ggml.pre``.
    """
    if pre != "smollm":
        return
    from tokenizers import pre_tokenizers

    backend = getattr(tokenizer, "backend_tokenizer")  # noqa: B009
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def _write_weights(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    small = file.stat().st_size <= FLOAT32_LIMIT
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32 if small else torch.bfloat16,
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
