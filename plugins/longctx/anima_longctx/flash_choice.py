"""Which flash kernel a run gets, and why. Imports no torch until there is a CUDA device to ask.

In order: the package flash-attn; the same kernel from the hub through the package `kernels`, which
is compiled code from elsewhere and so needs ``--trust-remote-code``; PyTorch's own.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PretrainedConfig

DTYPES = ("float16", "bfloat16")
MAX_HEAD = 256
HUB_KERNEL = "kernels-community/flash-attn2"
INSTALL = (
    "Install flash-attn (pip install flash-attn --no-build-isolation), or install kernels and add "
    "--trust-remote-code."
)


@dataclass(frozen=True)
class Choice:
    """A kernel.

    Attributes:
        kernel: where it comes from: the package flash-attn, the hub, or PyTorch.
        why: why it is not FlashAttention-2, or which one it is; one clause.
        fix: what would bring FlashAttention-2; empty where it is there.
        varlen: FlashAttention-2's function for sequences of different lengths; None for PyTorch's.
    """

    kernel: Literal["package", "hub", "torch"]
    why: str
    fix: str = ""
    varlen: Callable[..., Any] | None = None

    @property
    def note(self) -> str:
        """One sentence for the plan."""
        return f"PyTorch's own flash kernel: {self.why}" if self.kernel == "torch" else self.why


def odd_heads(config: PretrainedConfig) -> str:
    """Why the model's heads do not fit FlashAttention-2; empty when they do."""
    text = config.get_text_config()
    size = getattr(text, "head_dim", None)
    if size is None:
        size = text.hidden_size // text.num_attention_heads
    if getattr(text, "v_head_dim", None):
        return "this model's values have heads of another size than its keys"
    if size > MAX_HEAD:
        return f"heads of {size} are larger than the {MAX_HEAD} that flash-attn takes"
    return ""


def choose(
    device: str,
    dtype: str,
    *,
    odd_heads: str = "",
    trust_remote_code: bool = False,
    download: bool = True,
) -> Choice:
    """The best kernel for a device and dtype.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:0``, ``mps`` …
        dtype: what matrix products compute in.
        odd_heads: what `odd_heads` said of the model.
        trust_remote_code: whether the hub's compiled kernel may be loaded.
        download: False only asks whether it could be, as ``anima doctor`` does.
    """
    obstacle = _obstacle(device, dtype, odd_heads)
    if obstacle is not None:
        return obstacle
    varlen, missing = _from_package()
    if varlen is not None:
        return Choice("package", missing, varlen=varlen)
    varlen, also_missing = _from_hub(trust_remote_code, download)
    if varlen is not None:
        return Choice("hub", also_missing, varlen=varlen)
    return Choice("torch", f"{missing}, and {also_missing}", INSTALL)


def _obstacle(device: str, dtype: str, odd_heads: str) -> Choice | None:
    """PyTorch's kernel, where no FlashAttention-2 could run whatever is installed."""
    if not device.startswith("cuda"):
        return Choice("torch", f"flash-attn needs CUDA, and this runs on {device}", "Use a GPU.")
    if dtype not in DTYPES:
        why = f"flash-attn computes in {' or '.join(DTYPES)}, and this runs in {dtype}"
        return Choice("torch", why, "Use --dtype bfloat16.")
    if odd_heads:
        return Choice("torch", odd_heads, "Use --sdpa.")
    if _too_old(device):
        why = "flash-attn needs a GPU of compute capability 8.0 (Ampere) or later"
        return Choice("torch", why, "Use a newer GPU, or --sdpa.")
    return None


def _too_old(device: str) -> bool:
    """Whether the GPU is NVIDIA's and from before Ampere."""
    import torch

    return torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0)


def _from_package() -> tuple[Callable[..., Any] | None, str]:
    """The installed flash-attn's function, or None; and which it is, or what is wrong with it."""
    if find_spec("flash_attn") is None:
        return None, "flash-attn is not installed"
    try:
        module = importlib.import_module("flash_attn")
        varlen: Callable[..., Any] = module.flash_attn_varlen_func
    except (ImportError, OSError, AttributeError) as error:
        return None, f"flash-attn does not import ({_first_line(error)})"
    version = getattr(module, "__version__", "")
    if "softcap" not in inspect.signature(varlen).parameters:
        return None, f"flash-attn {version} is older than 2.6"
    return varlen, f"flash-attn {version}".rstrip()


def _from_hub(trusted: bool, download: bool) -> tuple[Callable[..., Any] | None, str]:
    """The hub's function, or None; and which it is, or why not."""
    if find_spec("kernels") is None:
        return None, "kernels is not installed"
    if not trusted:
        return None, f"kernels may not load {HUB_KERNEL} from the hub without --trust-remote-code"
    version = _hub_version()
    name = f"{HUB_KERNEL} (version {version}) from the hub"
    if not download:
        return _not_loaded, f"{name}, with --trust-remote-code"
    try:
        kernels = importlib.import_module("kernels")
        varlen: Callable[..., Any] = kernels.get_kernel(
            HUB_KERNEL, version=version
        ).flash_attn_varlen_func
    except (ImportError, OSError, ValueError, RuntimeError, AttributeError) as error:
        return None, f"kernels cannot load {HUB_KERNEL} ({_first_line(error)})"
    return varlen, name


def _hub_version() -> int:
    """The kernel's version with builds for this PyTorch; 4 begins with PyTorch 2.10."""
    import torch

    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    return 4 if (major, minor) >= (2, 10) else 3


def _not_loaded(*_args: Any, **_kwargs: Any) -> Any:
    raise RuntimeError("this kernel was only asked about, not loaded")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
