"""A pass that is killed, whose files are damaged, or beside which another one runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from reference_passes import Listener, Trace

from anima_core.errors import InterruptedRunError
from anima_core.training import reference
from anima_core.training.reference_cache import FILE

pytest.importorskip("anima_dpo")
pytest.importorskip("anima_qlora")


def test_a_killed_pass_goes_on_where_it_was(
    train: Callable[..., Trace], cache: Path, tiny_dir: Path, pairs_file: Path, tmp_path: Path
) -> None:
    words = f"""
        import os, signal, sys
        from contextlib import contextmanager
        import anima_core
        from anima_core.runs.reporter import SilentReporter
        from anima_core.training import reference
        reference.PART_SECONDS = 0.0

        class Killer(SilentReporter):
            @contextmanager
            def stage(self, name, total):
                told = []
                def tell(units):
                    told.append(units)
                    if name == "reference log-probs" and len(told) == 4:
                        os.kill(os.getpid(), signal.SIGKILL)
                yield tell

        anima_core.adapt(
            {str(tiny_dir)!r}, {str(pairs_file)!r}, output={str(tmp_path / "killed")!r},
            reporter=Killer(), strategies={{"lora": {{}}, "dpo": {{}}}}, steps=3, batch_size=4,
            micro_tokens=3, dtype="float32", device="cpu", learning_rate=1e-2,
        )
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(cache.glob("*.parts/*.safetensors"))) >= 2
    resumed = Listener()
    trace = train(resumed)
    assert 0 < resumed.told[0] < 8
    assert resumed.computed == 8 - resumed.told[0]
    assert train(cache=False) == trace


def test_a_damaged_entry_is_made_anew_with_a_note(train: Callable[..., Trace], cache: Path) -> None:
    whole = train()
    (folder,) = cache.iterdir()
    data = bytearray((folder / FILE).read_bytes())
    data[-1] ^= 1
    (folder / FILE).write_bytes(data)
    again = Listener()
    assert train(again) == whole
    assert again.heard("cannot be used")
    assert again.computed == 8
    last = Listener()
    train(last)
    assert last.heard("read from the cache"), "what was made anew is kept"


def test_a_damaged_part_is_computed_again(
    train: Callable[..., Trace], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "PART_SECONDS", 0.0)
    with pytest.raises(InterruptedRunError):
        train(Listener(3))
    one, *others = sorted(cache.glob("*.parts/*.safetensors"))
    assert others
    data = bytearray(one.read_bytes())
    data[-1] ^= 1
    one.write_bytes(data)
    resumed = Listener()
    trace = train(resumed)
    assert resumed.heard("1 parts")
    assert 0 < resumed.told[0] < 8
    assert trace == train(cache=False)


def test_parts_of_another_configuration_are_never_used(
    train: Callable[..., Trace], cache: Path
) -> None:
    with pytest.raises(InterruptedRunError):
        train(Listener(2))
    (parts,) = cache.glob("*.parts")
    (part,) = parts.iterdir()
    with pytest.raises(InterruptedRunError):
        train(Listener(1), seed=7)
    (other,) = set(cache.glob("*.parts")) - {parts}
    part.rename(other / part.name)
    resumed = Listener()
    train(resumed, seed=7)
    assert resumed.heard("1 parts")
    assert resumed.told[0] < 3


def test_two_passes_at_once_disturb_neither(train: Callable[..., Trace], cache: Path) -> None:
    """A second run begins, and ends, between two micro-batches of the first."""
    inner = Listener()
    traces = []

    class Outer(Listener):
        @contextmanager
        def stage(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:  # type: ignore[override]
            with super().stage(name, total) as tell:

                def twice(units: int) -> None:
                    tell(units)
                    if name == "reference log-probs" and len(self.told) == 3:
                        traces.append(train(inner))

                yield twice

    outer = Outer()
    traces.append(train(outer))
    assert inner.computed == outer.computed == 8
    assert traces[0] == traces[1] == train()
    assert [path.suffix for path in cache.iterdir()] == [""]
