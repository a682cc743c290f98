"""The hooks that are called before any weight is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anima_core.cli.main import main
from anima_core.errors import AnimaError

from .conftest import Runs, Seen

DOUBLING = """
@hookimpl
def configure_model(self, run, config):
    tell(NAME, config=config, run=run, before=config.max_position_embeddings)
    config.max_position_embeddings = config.max_position_embeddings * 2 + BIT

@hookimpl
def validate(self, run):
    tell("validate", config=run.model_config, window=run.model_config.max_position_embeddings)
    return []
"""


def test_configure_model(strategy: Callable[..., None], seen: Seen, runs: Runs) -> None:
    """In the order of the stack, on a copy; for planning, training and generation alike."""
    for name, bit in (("one", "0"), ("other", "1")):
        strategy(name, (), DOUBLING.replace("NAME", repr(name)).replace("BIT", bit))

    assert not runs.plan("other", "one").plan.errors
    runs.train("other", "one")
    runs.answer()

    calls = [(name, facts["before"]) for name, facts in seen.calls if name != "validate"]
    window = seen.of("validate")[0]["window"]
    assert calls == [("other", window), ("one", 2 * window + 1)] * 3
    assert {facts["window"] for facts in seen.of("validate")} == {window}
    given = seen.of("validate")[0]["config"]
    assert given.max_position_embeddings == window
    assert given is not seen.of("one")[0]["config"]
    saved = json.loads((runs.output / "model" / "config.json").read_text())
    assert saved["max_position_embeddings"] == 2 * (2 * window + 1)


ATTENTION = """
@hookimpl
def attention(self, run):
    def attend(query, key, value, *, layout, scale, window, softcap):
        tell("attend", shape=tuple(query.shape), layout=layout)
        return anima_core.segment_sdpa(
            query, key, value, layout=layout, scale=scale, window=window, softcap=softcap
        )

    anima_core.register_segment_attention("third-attention", attend)
    tell("attention", run=run)
    return anima_core.Attention("third-attention", note="by a third party", ABILITIES)

@hookimpl
def load_model(self, run, config, attention):
    from transformers import AutoModelForCausalLM

    tell("load_model", attention=attention)
    return AutoModelForCausalLM.from_pretrained(
        run.model_dir, config=config, attn_implementation=attention.name, dtype="float32"
    )
"""


def test_attention(strategy: Callable[..., None], seen: Seen, runs: Runs, pairs_file: Path) -> None:
    """Called before the model is loaded with it; told in the plan; refused where it cannot do."""
    slots = ("attention", "load_model")
    strategy("own-attention", slots, ATTENTION.replace(", ABILITIES", ""))
    strategy("weak", slots, ATTENTION.replace("ABILITIES", "shared_prefix=False"))
    strategy("narrow", slots, ATTENTION.replace("ABILITIES", "dtypes=('float16',)"))

    runs.train("own-attention", steps=1)

    names = seen.names()
    assert names[:2] == ["attention", "load_model"]
    assert seen.one("load_model")["attention"].name == "third-attention"
    calls = seen.of("attend")
    assert len(calls) >= 2, "once a layer"
    assert calls[0]["shape"][0] == calls[0]["layout"][-1].stop
    manifest = json.loads((runs.output / "manifest.json").read_text())
    (line,) = [line for line in manifest["plan"]["slots"] if line["hook"] == "attention"]
    assert (line["strategy"], line["note"]) == ("own-attention", "by a third party")

    assert not runs.plan("weak").plan.errors
    (problem,) = runs.plan("weak", "dpo", data=(str(pairs_file),)).plan.errors
    assert "shared by two answers" in problem.what
    (problem,) = runs.plan("narrow").plan.errors
    assert "float32" in problem.what


MEMORY = """
@hookimpl
def estimate_memory(self, run, shape):
    tell(NAME, run=run, shape=shape)
    return {"cache": BYTES, NAME: 7}
"""


def test_estimate_memory(
    strategy: Callable[..., None], seen: Seen, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Appears in the plan; a later strategy's word on one component replaces an earlier one's."""
    for name, size in (("one", 5 << 30), ("other", 3 << 30)):
        strategy(name, (), MEMORY.replace("NAME", repr(name)).replace("BYTES", str(size)))

    line = ["plan", str(runs.model), str(runs.data), "--dtype", "float32", "--micro-tokens", "777"]
    assert main([*line, "--one", "--other", "--json"]) == 0
    memory = json.loads(capsys.readouterr().out)["memory"]

    assert (memory["cache"], memory["one"], memory["other"]) == (3 << 30, 7, 7)
    assert {"weights", "gradients", "optimizer"} <= set(memory)
    shape = seen.of("one")[-1]["shape"]
    assert (shape.layers, shape.hidden, shape.micro_tokens) == (2, 64, 777)
    assert shape.parameters * 4 == memory["weights"]
    assert shape.trainable * 4 == memory["gradients"]

    assert main([*line, "--other", "--one"]) == 0
    assert "cache 5.0 GiB" in " ".join(capsys.readouterr().out.split())


VALIDATE = """
@hookimpl
def validate(self, run):
    tell(NAME, run=run)
    return [anima_core.Problem("--" + NAME, NAME + " is too small", "make it bigger", **MORE)]
"""


def test_validate(strategy: Callable[..., None], seen: Seen, runs: Runs, tmp_path: Path) -> None:
    """What several find is told together, before any weight is read, and refuses the run."""
    found: dict[str, dict[str, Any]] = {
        "one": {}, "other": {"exit_code": 4}, "warner": {"level": "warning"},
    }  # fmt: skip
    for name, more in found.items():
        strategy(name, (), VALIDATE.replace("NAME", repr(name)).replace("**MORE", f"**{more!r}"))
    nowhere = str(tmp_path / "none.jsonl")
    plan = runs.plan("other", "warner", "one", data=(nowhere,)).plan

    assert [facts["run"].strategies.keys() >= {"one", "other"} for _, facts in seen.calls]
    assert seen.names() == ["other", "warner", "one"]
    assert [p.where for p in plan.problems[:3]] == ["--other", "--warner", "--one"]
    assert [p.what for p in plan.errors[:2]] == ["other is too small", "one is too small"]
    assert any("none.jsonl" in p.what + p.where for p in plan.errors), "and with the core's own"
    assert plan.exit_code == 4

    with pytest.raises(AnimaError, match="other is too small") as raised:
        runs.train("other", "one")
    assert raised.value.exit_code == 4
    assert not runs.output.exists()
    runs.train("warner", steps=1)
    assert (runs.output / "manifest.json").exists()
