"""Whole runs of kto: what is refused before a weight is read, and what changes nothing."""

from __future__ import annotations

import json
import math

import pytest

import anima_core
from anima_core import AnimaError
from anima_core.testing import save_tiny


@pytest.fixture(scope="module")
def unread(tmp_path_factory):
    """A model without a weight: what is refused is refused before one would be read."""
    folder = tmp_path_factory.mktemp("unread") / "model"
    save_tiny(folder)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    return folder


def refusal(model, rows, tmp_path, **options):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(AnimaError) as caught:
        anima_core.adapt(
            model, str(path), output=tmp_path / "run", strategies={"kto": {}}, **options
        )
    return caught.value


def test_data_of_one_label_is_refused_before_a_weight_is_read(unread, tmp_path):
    rows = [{"prompt": f"{n}?", "completion": f"{n}", "label": True} for n in range(4)]
    error = refusal(unread, rows, tmp_path)
    assert error.exit_code == 3
    assert "4 answers are good ones" in error.what
    assert "label is false" in error.fix


def test_data_of_one_prompt_is_refused_before_a_weight_is_read(unread, tmp_path):
    rows = [{"prompt": "?", "completion": f"{n}", "label": n > 1} for n in range(4)]
    error = refusal(unread, rows, tmp_path)
    assert error.exit_code == 3
    assert "none of 4 examples has an answer to another prompt" in error.what
    assert "--kto.loss apo_zero_unpaired" in error.fix


@pytest.mark.parametrize("by", ["fraction", "file"])
def test_one_held_out_prompt_is_warned_of_and_judged(tiny, tmp_path, by):
    """Data that is small is no reason not to train on it; its z0 is 0 where nothing tells it."""
    rows = [{"prompt": f"{n}?", "completion": f"{n}", "label": n % 2 == 0} for n in range(10)]
    held = {"eval_fraction": 0.1, "flag": "--eval-fraction"}
    if by == "file":
        one = tmp_path / "one.jsonl"
        one.write_text("".join(json.dumps({**row, "prompt": "?"}) + "\n" for row in rows[:3]))
        held = {"eval_data": [str(one)], "flag": "--eval-data"}
    flag = held.pop("flag")
    records = train(tiny, rows, tmp_path, "run", **held)
    assert records[0]["eval_loss"] == pytest.approx(0.5, abs=1e-4)
    assert math.isfinite(records[-1]["eval_loss"])
    assert not any("eval_kl" in record for record in records)  # nothing measures it
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    (told,) = [p for p in manifest["plan"]["problems"] if "another held-out prompt" in p["what"]]
    assert (told["level"], told["where"]) == ("warning", flag)


def train(tiny, rows, tmp_path, name, **options):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = tmp_path / name
    settings = {
        "steps": 3, "batch_size": 4, "dtype": "float32", "learning_rate": 1e-2, "device": "cpu",
    }  # fmt: skip
    anima_core.adapt(
        tiny, str(path), output=run, strategies={"kto": {}, "lora": {}}, **(settings | options)
    )
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "model"
    save_tiny(folder)
    return folder


def unpaired(count=10):
    return [
        {"prompt": f"Is {n} a number?", "completion": "yes " * (n % 3 + 1), "label": n % 3 > 0}
        for n in range(count)
    ]


def test_neither_micro_batches_nor_the_cache_change_anything(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path / "cache"))
    whole = train(tiny, unpaired(), tmp_path, "whole", eval_fraction=0.2)
    parts = train(tiny, unpaired(), tmp_path, "parts", eval_fraction=0.2, micro_tokens=64)
    assert len(whole) == len(parts) == 5
    for one, other in zip(whole, parts, strict=True):
        for name in ("loss", "kl", "margin", "eval_loss", "eval_kl", "tokens"):
            assert (name in one) == (name in other)
            if name in one:
                assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5)
    steps = [row for row in whole if "loss" in row]
    assert steps[0]["loss"] == pytest.approx(0.5, abs=1e-4), "sigmoid(0) at the start"
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-3)
    assert max(row["kl"] for row in steps) > 0.1
    again = train(tiny, unpaired(), tmp_path, "again", eval_fraction=0.2)
    for one, other in zip(whole, again, strict=True):
        names = ("loss", "kl", "grad_norm", "eval_loss", "eval_kl")
        assert [one.get(name) for name in names] == [other.get(name) for name in names]


def test_pairs_are_learnt_as_single_answers(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path / "cache"))
    pairs = [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "no"}
        for row in unpaired(6)
    ]
    steps = train(tiny, pairs, tmp_path, "pairs")
    assert [row["examples"] for row in steps] == [4, 4, 4]
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in steps)
