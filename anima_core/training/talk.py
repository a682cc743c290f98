"""How the processes of a run talk.

Gradients travel through DDP. Numbers and decisions (denominators, metrics, a signal, an error)
travel as JSON through a gloo group of their own: what is said here is said by every process in
the same order, and in one process nothing is sent at all.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from anima_core.errors import AnimaError, DataError, SetupError, UsageError
from anima_core.training.ranks import is_main, local_rank, rank_and_world

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""How long processes wait while the first one downloads, saves or answers sample prompts. One that
has died is noticed at once, by its closed connection."""
_groups: list[Any] = []


def join() -> None:
    """Meet the other processes; nothing with one process, or the second time."""
    if _groups or rank_and_world()[1] == 1:
        return
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group()  # gloo, and NCCL where there is CUDA
    _groups.append(dist.new_group(backend="gloo", timeout=PATIENCE))


@contextmanager
def parting() -> Iterator[None]:
    """Around the whole work of a process that ends after it: nobody leaves before the others.

    A launcher ends every process when one has failed. When all of them stop for one reason, its
    signal must not cut short the words of the first.
    """
    try:
        yield
    except AnimaError as error:
        if error.shared and _groups:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            _leave()
        raise
    if _groups:
        _leave()


def _leave() -> None:
    import torch.distributed as dist

    exchange(None)
    _groups.clear()
    dist.destroy_process_group()


def exchange(value: T) -> list[T]:
    """Every process's value, by rank. Called by all of them.

    Args:
        value: anything that JSON holds; NaN and infinities too.
    """
    world = rank_and_world()[1]
    if world == 1:
        return [value]
    import torch
    import torch.distributed as dist

    join()
    (group,) = _groups
    said = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(said)]), group=group)
    longest = max(int(size) for size in sizes)
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(said)] = said
    heard = [torch.zeros_like(padded) for _ in range(world)]
    dist.all_gather(heard, padded, group=group)
    return [
        json.loads(bytes(part[: int(size)].tolist()))
        for part, size in zip(heard, sizes, strict=True)
    ]


def add(values: Mapping[str, float]) -> dict[str, float]:
    """Sums over all processes by name; a process may lack some. The same bits in each of them."""
    if rank_and_world()[1] == 1:
        return dict(values)
    first, *rest = exchange({name: float(value) for name, value in values.items()})
    for other in rest:
        for name, value in other.items():
            first[name] = first.get(name, 0.0) + value
    return first


def add_tensor(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes of a tensor on the CPU, in place."""
    if rank_and_world()[1] > 1:
        import torch.distributed as dist

        join()
        dist.all_reduce(values, group=_groups[0])
    return values


def together(action: Callable[[], T]) -> T:
    """Do something in every process; when it fails in one, it fails in all.

    Args:
        action: does nothing that waits for the other processes.

    Raises:
        AnimaError: another process's error, with its words and exit code.
    """
    if rank_and_world()[1] == 1:
        return action()
    try:
        result = action()
    except Exception as error:
        exchange(_told(error))
        if isinstance(error, AnimaError):
            error.shared = True
        raise
    nothing: dict[str, Any] = {}
    for rank, told in enumerate(exchange(nothing)):
        if told:
            raise _error_of(rank, **told)
    return result


def from_main(action: Callable[[], T]) -> T:
    """Do something in the first process alone; every process gets what came of it.

    Args:
        action: returns something that JSON holds.
    """
    result = together(lambda: action() if is_main() else None)
    return exchange(result)[0]  # type: ignore[return-value]


def first_here(action: Callable[[], T]) -> T:
    """Do something in every process, one of each machine first: it fills a cache for the rest."""
    early = local_rank() == 0
    result = together(lambda: action() if early else None)
    late = together(lambda: None if early else action())
    return result if early else late  # type: ignore[return-value]


def _told(error: Exception) -> dict[str, Any]:
    if isinstance(error, AnimaError):
        told = {"what": error.what, "where": error.where, "fix": error.fix}
        return {**told, "exit_code": error.exit_code}
    return {"what": f"{type(error).__name__}: {error}", "where": "", "fix": "", "exit_code": 1}


def _error_of(rank: int, what: str, where: str, fix: str, exit_code: int) -> AnimaError:
    kind = {2: UsageError, 3: DataError, 4: SetupError}.get(exit_code, AnimaError)
    error = kind(f"in process {rank}: {what}", where=where, fix=fix)
    error.shared = True
    return error
