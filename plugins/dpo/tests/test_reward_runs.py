"""Runs with ``--reward``: what they save, how they go on, and what transformers makes of it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import anima_core
from anima_core import UsageError
from anima_core.testing import save_tiny

pytest.importorskip("anima_qlora")

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPET = re.search(
    r"^## A reward model.*?```python\n(.*?)```", README, re.MULTILINE | re.DOTALL
).group(1)
PAIRS = [
    {"prompt": f"Pick {n}", "chosen": "yes " * (n % 3 + 1), "rejected": "no " * (n % 2 + 1)}
    for n in range(12)
]
SETTINGS = {
    "steps": 6, "batch_size": 4, "micro_tokens": 96, "dtype": "float32", "learning_rate": 1e-3,
    "save_every": 3,
}  # fmt: skip


def write(path, pairs):
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    return path


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny model, pairs, and one held-out pair."""
    place = tmp_path_factory.mktemp("reward")
    save_tiny(place / "model")
    write(place / "pairs.jsonl", [{**pair, "margin": n % 2} for n, pair in enumerate(PAIRS)])
    write(place / "held.jsonl", PAIRS[2:3])
    return place


def train(place, name, adapt="lora", **settings):
    strategies = {adapt: {"dropout": 0.1} if adapt == "lora" else {}, "reward": {"centering": 0.01}}
    given = {**SETTINGS, "eval_data": (str(place / "held.jsonl"),), **settings}
    model = given.pop("model", place / "model")
    anima_core.adapt(
        model, place / "pairs.jsonl", output=place / name, strategies=strategies, **given
    )
    return place / name


@pytest.fixture(scope="module")
def run(place):
    """A run with LoRA and dropout."""
    return train(place, "run")


def held_out(run):
    """The rewards of the held-out pair as Anima has them after training."""
    last = rows(run)[-1]
    return last["eval_rewards_chosen"], last["eval_rewards_rejected"]


def dialogues():
    asked = {"role": "user", "content": PAIRS[2]["prompt"]}
    answers = (PAIRS[2][name] for name in ("chosen", "rejected"))
    return [[asked, {"role": "assistant", "content": answer}] for answer in answers]


def test_transformers_and_peft_give_the_same_scores(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    here = {}
    exec(SNIPPET.replace("runs/reward", run.name), here)
    scores = tuple(here["score"](dialogue) for dialogue in dialogues())
    assert scores == pytest.approx(held_out(run), abs=1e-5)
    assert abs(scores[0] - scores[1]) > 1e-2


def test_transformers_gives_the_same_scores_of_a_whole_model(place):
    run = train(place, "full", "full", save_every=100)
    model = AutoModelForSequenceClassification.from_pretrained(run / "model", num_labels=1).eval()
    head = load_file(run / "model" / "head" / "head.safetensors")
    assert model.load_state_dict(head, strict=False).unexpected_keys == []
    model.config.pad_token_id = None
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    scores = []
    for dialogue in dialogues():
        text = tokenizer.apply_chat_template(dialogue, tokenize=False).rstrip()
        tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            scores.append(model(**tokens).logits[0, 0].item())
    assert tuple(scores) == pytest.approx(held_out(run), abs=1e-5)


def test_it_learns_and_says_so_of_held_out_pairs(run):
    evaluations = [row for row in rows(run) if "eval_loss" in row]
    assert [row["step"] for row in evaluations] == [0, 6]
    assert evaluations[1]["eval_margin"] > evaluations[0]["eval_margin"]
    steps = [row for row in rows(run) if "loss" in row]
    names = {"rewards_chosen", "rewards_rejected", "margin", "accuracy"}
    assert all(names <= row.keys() for row in steps)
    plan = json.loads((run / "manifest.json").read_text())["plan"]
    assert plan["memory"]["head"] == 16 * 64
    assert "logits" not in plan["memory"]


def test_a_resumed_run_is_the_same_bit_for_bit(place, run):
    """As after a kill between the checkpoint of step 3 and the end."""
    broken = place / "broken"
    shutil.copytree(run, broken)
    shutil.rmtree(broken / "adapter")
    shutil.rmtree(broken / "checkpoints" / "step-000006")
    metrics = (broken / "metrics.jsonl").read_text().splitlines(keepends=True)
    (broken / "metrics.jsonl").write_text("".join(metrics[:5]))
    train(place, "broken", resume=True)
    same = ("step", "loss", "grad_norm", "margin")
    traces = [[[row.get(n) for n in same] for row in rows(folder)] for folder in (run, broken)]
    assert traces[0] == traces[1]
    for name in ("adapter_model.safetensors", "head/head.safetensors"):
        assert (broken / "adapter" / name).read_bytes() == (run / "adapter" / name).read_bytes()


def test_a_run_goes_on_from_another_s_head(place, run):
    more = train(place, "more", model=run, steps=1, save_every=100)
    first = rows(more)[0]
    found = (first["eval_rewards_chosen"], first["eval_rewards_rejected"])
    assert found == pytest.approx(held_out(run), abs=1e-5)


def test_it_writes_no_answers(run):
    from anima_core.generation import generate

    with pytest.raises(UsageError, match="learnt to judge text"):
        generate(str(run), "Hi")


def test_nor_does_one_that_was_interrupted(run, tmp_path):
    """Its head is in its newest checkpoint alone."""
    from anima_core.generation import generate

    shutil.copytree(run, tmp_path / "broken", ignore=shutil.ignore_patterns("adapter"))
    step = "checkpoints/step-000006/adapter"
    shutil.copytree(run / step, tmp_path / "broken" / step)
    with pytest.raises(UsageError, match="learnt to judge text"):
        generate(str(tmp_path / "broken"), "Hi")


def test_what_would_do_nothing_beside_it_is_refused_before_a_weight_is_read(place, tmp_path):
    for weights in (shutil.copytree(place / "model", tmp_path / "model")).glob("*.safetensors"):
        weights.unlink()
    (tmp_path / "prompts.txt").write_text("Hi\n")
    cases = (
        ({"xentropy": {}}, {}, "xentropy"),
        ({}, {"sample_prompts": str(tmp_path / "prompts.txt")}, "samples would say nothing"),
    )
    for more, settings, said in cases:
        if more:
            pytest.importorskip("anima_longctx")
        with pytest.raises(UsageError, match=said):
            anima_core.adapt(
                tmp_path / "model", place / "pairs.jsonl", output=tmp_path / "run",
                strategies={"reward": {}, **more}, dtype="float32", **settings,
            )  # fmt: skip


@pytest.mark.parametrize(
    "beside",
    [
        {"qlora": {}, "paged_adamw": {}, "rope_scaling": {"type": "yarn", "factor": 2.0}},
        {"full": {}, "flash_attention_2": {}},
    ],
    ids="+".join,
)
def test_it_composes(place, tmp_path, beside):
    pytest.importorskip("anima_longctx")
    result = anima_core.adapt(
        place / "model", place / "pairs.jsonl", output=tmp_path / "run",
        strategies={**{n.replace("_", "-"): o for n, o in beside.items()}, "reward": {}},
        steps=2, batch_size=4, micro_tokens=96, dtype="float32", learning_rate=1e-2,
    )  # fmt: skip
    first, second = rows(result.run_dir)
    assert second["loss"] != first["loss"]
    assert first["grad_norm"] > 0
