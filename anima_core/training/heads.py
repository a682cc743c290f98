"""A loss's own trained head: made, saved and loaded beside what the adapter trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anima_core.contracts import Adapter
from anima_core.errors import UsageError
from anima_core.model.head import head_of, unwrap
from anima_core.training.checkpoint import trained_folder
from anima_core.training.handed import check_head
from anima_core.training.seeding import seed_step

if TYPE_CHECKING:
    import torch

    from anima_core.contracts import Loss
    from anima_core.runs.reporter import Reporter
    from anima_core.training.build import Built

FOLDER = "head"
"""A folder of its own inside the adapter's: full fine-tuning reads every safetensors beside it."""
FILE = "head.safetensors"


def head_file(folder: Path) -> Path:
    """Where a folder that an adapter was saved in holds the head of its loss, if it has one."""
    return folder / FOLDER / FILE


def head_of_run(run: Path) -> Path | None:
    """The head that a run's loss trained, if it has one: the run learnt to judge, not to write."""
    trained = trained_folder(run)
    file = head_file(trained) if trained is not None else None
    return file if file is not None and file.is_file() else None


def make_head(
    loss: Loss, hidden_size: int, *, seed: int, device: str, name: str
) -> torch.nn.Module | None:
    """The head of a loss that needs hidden states, in float32 on a device.

    Args:
        loss: the loss.
        hidden_size: H, the size of a hidden state.
        seed: the run's; it decides the head's first weights, alike in every process.
        device: where it goes.
        name: the loss's strategy.

    Returns:
        None for a loss that has none.

    Raises:
        SetupError: the loss made something else.
    """
    make = getattr(loss, "head", None)
    if loss.needs != "hidden" or make is None:
        return None
    seed_step(seed, -2, 0)
    head: Any = make(hidden_size)
    check_head(head, name)
    moved: torch.nn.Module = head.float().to(device)
    return moved


def add_head(built: Built, loss: Loss, name: str) -> tuple[Adapter, torch.nn.Module | None]:
    """A built model's adapter, with the head that the loss wants, if it wants one.

    Args:
        built: the model; the head goes to its device.
        loss: the loss.
        name: its strategy.

    Returns:
        The adapter that trains, saves and loads both, and the head.
    """
    size = int(head_of(unwrap(built.adapter.model)).weight.shape[1])
    run = built.run
    head = make_head(loss, size, seed=run.config.seed, device=run.device, name=name)
    return (with_head(built.adapter, head), head) if head is not None else (built.adapter, None)


def projection_idle(adapter: Adapter, loss: Loss) -> bool:
    """Whether a model's output projection is trained and yet has no part in the loss.

    So it is beside a loss of hidden states in full fine-tuning, unless it is the embedding too.
    """
    model = unwrap(adapter.model)
    weight = head_of(model).weight
    own = weight.requires_grad and weight is not model.get_input_embeddings().weight
    return loss.needs == "hidden" and own


def with_head(adapter: Adapter, head: torch.nn.Module) -> Adapter:
    """An adapter that trains, saves and loads a head too."""

    def save(folder: Path) -> None:
        adapter.save(folder)
        save_head(head, folder)

    def load(folder: Path) -> None:
        adapter.load(folder)
        load_head(head, folder)

    named = {f"{FOLDER}.{name}": parameter for name, parameter in trained(head).items()}
    trainable = {**adapter.trainable, **named}
    return replace(adapter, trainable=trainable, save=save, load=load)


def trained(head: torch.nn.Module | None) -> Mapping[str, torch.nn.Parameter]:
    """A head's parameters that are trained, by name; none where there is no head."""
    named = head.named_parameters() if head is not None else ()
    return {name: p for name, p in named if p.requires_grad}


def save_head(head: torch.nn.Module, folder: Path) -> None:
    """Write a head into an adapter's folder."""
    from safetensors.torch import save_file

    file = head_file(folder)
    file.parent.mkdir()
    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in head.state_dict().items()}
    save_file(tensors, file)


def load_head(head: torch.nn.Module, folder: Path) -> None:
    """Read a head from an adapter's folder, bit for bit.

    Raises:
        UsageError: there is none, it cannot be read, or it does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = head_file(folder)
    try:
        head.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{file} is not the head of this loss: {reason}",
            where="MODEL",
            fix="Start from a run of the same loss and the same model, or from one without a head.",
        ) from error


def start_head(
    head: torch.nn.Module | None, run: Path | None, adapter: Adapter, reporter: Reporter
) -> None:
    """Go on from the head of the run that is MODEL, where it has one, and say what became of it.

    Args:
        head: the head that was made, or None.
        run: the run directory that is MODEL, or None.
        adapter: says in which folder a run holds what it trained.
        reporter: told.

    Raises:
        UsageError: the run's head does not fit.
    """
    from anima_core.training.build import adapter_folder

    if run is None:
        return
    start = adapter_folder(run, adapter)
    file = head_file(start)
    if not file.is_file():
        return
    if head is not None:
        load_head(head, start)
    what = "takes no part: this loss has none" if head is None else "is gone on from"
    reporter.note(f"the head {file} {what}")


def head_bytes(loss: Loss, hidden_size: int) -> int:
    """Bytes of a loss's head in training: weights, gradients and two moments, in float32."""
    import torch

    make = getattr(loss, "head", None)
    if loss.needs != "hidden" or make is None:
        return 0
    with torch.device("meta"):
        head: torch.nn.Module = make(hidden_size)
    return 16 * sum(p.numel() for p in head.parameters())
