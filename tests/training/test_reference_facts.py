"""The key of reference log-probs covers all that they depend on, and nothing else."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from anima_core.data.store import Examples
from anima_core.errors import UsageError
from anima_core.runs.prepare import prepare
from anima_core.runs.reporter import SilentReporter
from anima_core.runs.request import RunRequest
from anima_core.training import reference_facts
from anima_core.training.build import adapter_folder
from anima_core.training.checkpoint import trained_folder
from anima_core.training.reference_cache import ReferenceEntry
from anima_core.training.reference_facts import data_facts, identity, model_facts

pytest.importorskip("anima_dpo")
pytest.importorskip("anima_longctx")
pytest.importorskip("anima_qlora")

PLAIN = {"lora": {}, "dpo": {}}
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": [{"role": "system", "content": "Be brief."},
                    {"role": "user", "content": f"Hello number {n}. " * 4},
                    {"role": "assistant", "content": "Hm."},
                    {"role": "user", "content": "Pick"}],
         "chosen": [{"role": "assistant", "content": "yes " * (n + 1)}],
         "rejected": [{"role": "assistant", "content": "no"}]}
        for n in range(4)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def key(tiny_dir: Path, data: Path) -> Callable[..., str]:
    def key(
        strategies: dict[str, Any] | None = None,
        tokens: int = 64,
        rows: int = 4,
        note: str = "",
        **core: Any,
    ) -> str:
        given = {"model": str(tiny_dir), "data": (str(data),), "device": "cpu",
                 "dtype": "float32", **core}  # fmt: skip
        prepared = prepare(RunRequest(given, strategies or PLAIN), reporter=SilentReporter())
        prepared.refuse_errors()
        assert prepared.plan.data is not None
        run = prepared.run
        attention = replace(prepared.attention, **({"note": note} if note else {}))
        facts = model_facts(run, prepared.selection, run.model_dir, None, attention)
        facts |= data_facts(prepared.plan.data, range(rows), run, tokens)
        return ReferenceEntry(facts, np.array([0])).key

    return key


CHANGES: dict[str, dict[str, Any]] = {
    "a limit that cuts": {"max_length": 90, "overlong": "truncate"},
    "a template": {"template": "zephyr"},
    "a dtype": {"dtype": "bfloat16"},
    "a seed": {"seed": 3},
    "fewer examples": {"max_examples": 3, "rows": 3},
    "some of the examples": {"rows": 2},
    "another adapter": {"strategies": {"full": {}, "dpo": {}}},
    "an adapter's option": {"strategies": {"lora": {"r": 3}, "dpo": {}}},
    "a kernel": {"strategies": {**PLAIN, "xentropy": {}}},
    "a change of the model": {"strategies": {**PLAIN, "rope-scaling": {"factor": 2}}},
    "its options": {"strategies": {**PLAIN, "rope-scaling": {"factor": 3}}},
    "another kernel of it": {"note": "flash-attn 2.8 from the hub"},
    "another attention": {"strategies": {**PLAIN, "flash-attention-2": {}}},
    "quantised weights": {"strategies": {"qlora": {}, "dpo": {}}},
}


def test_every_change_is_another_key(key: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(TEMPLATE)
    changes = {**CHANGES, "a template's text": {"template": str(tmp_path / "own.jinja")}}
    keys = {name: key(**change) for name, change in {"none": {}, **changes}.items()}
    same = {one: [other for other in keys if keys[other] == keys[one]] for one in keys}
    assert all(len(names) == 1 for names in same.values()), same


PATCH = """
from contextlib import nullcontext
from pydantic import Field
import anima_core

class Options(anima_core.Options):
    depth: int = Field(default=1, description="Depth.")

class Patch:
    api = anima_core.HOOK_API
    summary = "A patch made for a test."
    slots = ()
    requires = ()
    conflicts = ()
    Options = Options

    def __init__(self, options):
        self.options = options

    @anima_core.hookimpl
    def patch_model(self, run, model):
        return nullcontext()
"""


def test_a_patch_is_part_of_it_with_its_options_and_version(
    key: Callable[..., str], distribute: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    distribute("third-party", PATCH, {"patch-of-mine": "Patch"})
    seen = {key()}
    for depth in (1, 2):
        seen.add(key(strategies={**PLAIN, "patch-of-mine": {"depth": depth}}))
    assert len(seen) == 3
    other = reference_facts.strategies_of

    def later(selection: Any) -> dict[str, Any]:
        found = {name: dict(entry) for name, entry in other(selection).items()}
        found["lora"]["version"] = "99"
        return found

    monkeypatch.setattr(reference_facts, "strategies_of", later)
    seen.add(key())
    assert len(seen) == 4


def test_a_plugin_s_code_is_part_of_it(
    key: Callable[..., str], distribute: Callable[..., Path]
) -> None:
    """Its version is that of its last release, whatever was changed since."""
    folder = distribute("third-party", PATCH, {"patch-of-mine": "Patch"})
    strategies = {**PLAIN, "patch-of-mine": {}}
    first = key(strategies=strategies)
    assert key(strategies=strategies) == first
    (module,) = folder.glob("*.py")
    module.write_text(PATCH.replace("nullcontext()", "nullcontext(1)"), encoding="utf-8")
    assert key(strategies=strategies) != first


def test_a_plugin_s_code_is_that_of_all_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "of_many_modules"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "inner/deep.py"):
        (package / name).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("of_many_modules")
    seen = {reference_facts._plugin_code("of_many_modules")}
    for name in ("__init__.py", "inner/deep.py"):
        (package / name).write_text("changed = True")
        seen.add(reference_facts._plugin_code("of_many_modules"))
    sys.modules.pop("of_many_modules")
    assert len(seen) == 3


@pytest.mark.parametrize("name", ["batch.py", "data/collate.py", "loss/plain.py", "model/head.py"])
def test_the_core_s_code_is_part_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = reference_facts._code.__wrapped__
    changed = Path(reference_facts.__file__).parents[1] / name
    read = Path.read_bytes

    def other(path: Path) -> bytes:
        return read(path) + (b"#" if path == changed else b"")

    first = code()
    assert code() == first
    monkeypatch.setattr(Path, "read_bytes", other)
    assert code() != first


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.5, "batch_size": 3, "steps": 7, "schedule": "cosine"},
        {"micro_tokens": 17, "tokens": 128, "gradient_checkpointing": True},
        {"max_length": 1000},
        {"strategies": {"lora": {}, "dpo": {"beta": 0.7, "loss": "hinge"}}},
        {"strategies": {**PLAIN, "paged-adamw": {}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_no_log_prob_is_the_same_key(
    key: Callable[..., str], change: dict[str, Any]
) -> None:
    assert key(**change) == key()


def test_in_16_bits_the_cut_is_part_of_it(key: Callable[..., str]) -> None:
    assert key(dtype="bfloat16", tokens=64) != key(dtype="bfloat16", tokens=128)


def test_a_record_is_part_of_it(key: Callable[..., str], data: Path) -> None:
    first = key()
    data.write_text(data.read_text(encoding="utf-8").replace("no", "never"), encoding="utf-8")
    assert key() != first


def test_its_hash_of_the_data_is_that_of_the_examples_that_are_there(
    tiny_dir: Path, data: Path
) -> None:
    """Of what is left after all limits and parting, on either side."""
    core = {"model": str(tiny_dir), "data": (str(data),), "eval_fraction": 0.5, "max_examples": 3}
    prepared = prepare(RunRequest(core, PLAIN), reporter=SilentReporter())
    prepared.refuse_errors()
    sides = [
        (prepared.plan.data, prepared.examples),
        (prepared.plan.eval_data, prepared.eval_examples),
    ]
    seen = set()
    for summary, examples in sides:
        assert summary is not None
        assert isinstance(examples, Examples)
        assert summary.sha256 == Examples.of(list(examples)).fingerprint()
        assert summary.examples == len(examples) > 0
        seen.add(summary.sha256)
    assert len(seen) == 2


def test_where_a_model_lies_is_not_part_of_it(
    key: Callable[..., str], tiny_dir: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dir, copy)
    assert key(model=str(copy)) == key()


def test_a_models_weights_configuration_and_code_are(tiny_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dir, copy)
    seen = {identity(tiny_dir), identity(copy)}
    assert len(seen) == 1
    (weights,) = copy.glob("*.safetensors")
    tensors = load_file(weights)
    name = next(iter(tensors))
    tensors[name] = tensors[name] + 1e-3
    save_file(tensors, weights, {"format": "pt"})
    seen.add(identity(copy))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    seen.add(identity(copy))
    (copy / "modeling.py").write_text("# another")
    seen.add(identity(copy))
    assert len(seen) == 4


def test_one_tensor_of_many_is_enough(tmp_path: Path) -> None:
    """As a merge into one layer would change it, in a file far larger than what is read."""
    tensors = {f"t{n:03}": torch.full((64, 1024), float(n)) for n in range(100)}
    seen = set()
    for name in (None, "t000", "t050", "t051", "t099"):
        changed = dict(tensors)
        if name is not None:
            changed[name] = changed[name] + 1e-3
        save_file(changed, tmp_path / "model.safetensors", {"format": "pt"})
        seen.add(identity(tmp_path))
    assert len(seen) == 5


def adapter_of(folder: str) -> Any:
    return SimpleNamespace(folder=folder)


def test_what_a_run_trained_is_found_without_its_model(tmp_path: Path) -> None:
    assert trained_folder(tmp_path) is None
    for step in (1, 2):
        (tmp_path / f"checkpoints/step-00000{step}/adapter").mkdir(parents=True)
        (tmp_path / f"checkpoints/step-00000{step}/COMPLETE").touch()
    assert trained_folder(tmp_path) == tmp_path / "checkpoints/step-000002/adapter"
    (tmp_path / "model").mkdir()
    newest = tmp_path / "checkpoints/step-000002/adapter"
    assert trained_folder(tmp_path) == newest, "a merged model is not what was trained"
    (tmp_path / "adapter").mkdir()
    assert trained_folder(tmp_path) == tmp_path / "adapter"


@pytest.mark.parametrize("names", [("adapter",), ("model",), ("adapter", "model")])
@pytest.mark.parametrize("newest", [None, "adapter", "model"])
def test_what_is_hashed_is_what_is_loaded(
    tmp_path: Path, names: tuple[str, ...], newest: str | None
) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    if newest is not None:
        (tmp_path / f"checkpoints/step-000001/{newest}").mkdir(parents=True)
        (tmp_path / "checkpoints/step-000001/COMPLETE").touch()
    hashed = trained_folder(tmp_path)
    assert hashed is not None
    assert adapter_folder(tmp_path, adapter_of(hashed.name)) == hashed
    other = "model" if hashed.name == "adapter" else "adapter"
    with pytest.raises(UsageError, match=f"holds a trained {hashed.name}") as caught:
        adapter_folder(tmp_path, adapter_of(other))
    whole = f"Name {tmp_path / 'model'} as MODEL."
    assert (caught.value.fix == whole) == ("model" in names)
