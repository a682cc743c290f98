"""kto against its paper's formula, and what it says of data that it cannot learn from."""

from __future__ import annotations

import json
import math

import pytest
import torch
from anima_dpo.kto.balance import LEAST, MOST, balance_problems
from anima_dpo.kto.loss import KtoLoss
from anima_dpo.kto.strategy import Kto, KtoOptions
from pydantic import ValidationError

import anima_core
from anima_core import AnimaError, DataError, DataSummary, EncodedExample, Role, TokenSegment
from anima_core.testing import (
    batch_of,
    check_import_budget,
    check_loss,
    check_strategy,
    run_context,
    save_tiny,
)
from anima_core.training.step import Tally

ROWS = [(True, 3, 2), (False, 1, 4), (True, 2, 0), (False, 5, 1), (False, 4, 6)]
"""Of each example the verdict, and the tokens of its answer and of another's (0: it has none)."""
WEIGHTS = [1.0, 3.0, 1.0, 2.0, 0.5]


def data(seed=0, rows=ROWS, others=True):
    """A batch, log-probs and reference; and by example the list of token ratios of each answer."""
    examples = []
    for (good, size, other), weight in zip(rows, WEIGHTS, strict=False):
        role = Role.CHOSEN if good else Role.REJECTED
        segments = [
            TokenSegment((3, 4), (False, False), Role.PROMPT),
            TokenSegment((1,) * size, (True,) * size, role, parent=0),
        ]
        if other and others:
            segments.append(TokenSegment((2,) * other, (True,) * other, Role.MISMATCHED, parent=0))
        examples.append(EncodedExample(tuple(segments), weight=weight))
    batch = batch_of(examples)
    generator = torch.Generator().manual_seed(seed)
    logps, reference = (
        -2 * torch.rand(len(batch.targets), generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    logps.requires_grad_()
    written, at = [], 0
    for _, size, there in rows:
        other = there if others else 0
        ratios = list(logps[at : at + size + other] - reference[at : at + size + other])
        written.append((ratios[:size], ratios[size:]))
        at += size + other
    return batch, logps, reference, written


def z0(written):
    """The weighted mean over the examples that have another's answer; a number, at least 0."""
    pairs = [(w, sum(o)) for w, (_, o) in zip(WEIGHTS, written, strict=False) if o]
    mean = sum(w * float(s.detach()) for w, s in pairs) / sum(w for w, _ in pairs)
    return max(0.0, mean)


def value(x):
    return 1 / (1 + torch.exp(-x))


def textbook(written, rows, beta, moved, desirable=1.0, undesirable=1.0):
    """The mean over examples of lambda_y - v(x, y), lambda_y times sigmoid being v (eq. 8)."""
    total = 0
    for (good, *_), (own, _), weight in zip(rows, written, WEIGHTS, strict=False):
        ratio = sum(own)
        gain = value(beta * (ratio - moved)) if good else value(beta * (moved - ratio))
        scale = desirable if good else undesirable
        total = total + weight * (scale - scale * gain)
    return total / sum(WEIGHTS[: len(rows)])


def same(options, expected, batch, logps, reference):
    loss = KtoLoss(options)
    total, below = loss(batch, logps, reference).totals["kto"], loss.denominators(batch)["kto"]
    torch.testing.assert_close(total / below, expected, rtol=1e-10, atol=1e-12)
    mine, written = (
        torch.autograd.grad(v, logps, retain_graph=True)[0] for v in (total / below, expected)
    )
    torch.testing.assert_close(mine, written, rtol=1e-9, atol=1e-12)
    assert mine.abs().sum() > 0
    return mine


@pytest.mark.parametrize("seed", range(4))
def test_it_is_its_papers_formula(seed):
    batch, logps, reference, written = data(seed)
    options = KtoOptions(beta=0.4, desirable_weight=1.3, undesirable_weight=0.6)
    expected = textbook(written, ROWS, 0.4, z0(written), 1.3, 0.6)
    gradient = same(options, expected, batch, logps, reference)
    assert not gradient[batch.target_role == int(Role.MISMATCHED)].any()


def test_the_seeds_above_have_an_estimate_on_both_sides_of_zero():
    found = [z0(data(seed)[3]) for seed in range(4)]
    assert min(found) == 0 < max(found)


def test_apo_zero_unpaired_estimates_nothing():
    batch, logps, reference, written = data(others=False)
    options = KtoOptions(loss="apo_zero_unpaired", beta=0.4, undesirable_weight=2)
    same(options, textbook(written, ROWS, 0.4, 0.0, undesirable=2.0), batch, logps, reference)
    loss = KtoLoss(options)
    assert (loss.scope, loss.mismatched, KtoLoss().scope, KtoLoss().mismatched) == (
        "example", False, "step", True,
    )  # fmt: skip


def test_without_another_answer_in_the_step_the_estimate_is_zero():
    batch, logps, reference, written = data(others=False)
    same(KtoOptions(beta=0.4), textbook(written, ROWS, 0.4, 0.0), batch, logps, reference)


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_it_is_a_sound_loss(name):
    check_loss(KtoLoss(KtoOptions(loss=name, desirable_weight=1.5)))


def test_what_is_reported():
    batch, logps, reference, written = data(seed=2)
    out = KtoLoss(KtoOptions(beta=0.5))(batch, logps, reference)
    found = {name: float(total) / float(count) for name, (total, count) in out.metrics.items()}
    rewards = {
        kind: [0.5 * float(sum(own).detach()) for (good, *_), (own, _) in rows if good == kind]
        for rows in [list(zip(ROWS, written, strict=True))]
        for kind in (True, False)
    }
    chosen, rejected = (sum(rewards[kind]) / len(rewards[kind]) for kind in (True, False))
    assert found["rewards_chosen"] == pytest.approx(chosen)
    assert found["rewards_rejected"] == pytest.approx(rejected)
    assert KtoLoss().differences == {"margin": ("rewards_chosen", "rewards_rejected")}
    assert found["kl"] == pytest.approx(z0(written))
    spoken = batch.per_example(logps.detach(), Role.CHOSEN)
    assert found["logps_chosen"] == pytest.approx(float(spoken[[0, 2]].mean()))
    spoken = batch.per_example(logps.detach(), Role.REJECTED)
    assert found["logps_rejected"] == pytest.approx(float(spoken[[1, 3, 4]].mean()))


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_the_margin_is_of_the_whole_step_however_it_is_cut(name):
    """A micro-batch may even hold one kind alone."""
    loss = KtoLoss(KtoOptions(loss=name))

    def tallied(*parts):
        tally = Tally()
        for rows in parts:
            batch, logps, reference, _ = data(rows=rows)
            tally.add(batch, loss(batch, logps.detach() * 0 - 1, reference * 0))
        return tally.means(loss)

    whole = tallied(ROWS)
    assert whole["margin"] == whole["rewards_chosen"] - whole["rewards_rejected"] != 0
    assert tallied(ROWS[:1], ROWS[1:])["margin"] == pytest.approx(whole["margin"])
    assert "margin" not in tallied(ROWS[:1])


def test_a_step_of_one_kind_has_nothing_of_the_other():
    batch, logps, reference, _ = data(rows=ROWS[:1])
    metrics = KtoLoss()(batch, logps, reference).metrics
    assert [name for name, (_, count) in metrics.items() if not count] == [
        "rewards_rejected", "logps_rejected",
    ]  # fmt: skip


def test_far_from_the_reference_it_stays_finite():
    batch, logps, reference, _ = data()
    far = (1e4 * logps.detach()).float().requires_grad_()
    total = KtoLoss()(batch, far, reference.float()).totals["kto"]
    (gradient,) = torch.autograd.grad(total, far)
    assert total.isfinite()
    assert gradient.isfinite().all()


def test_a_missing_reference_and_an_empty_answer_are_refused():
    batch, logps, reference, _ = data()
    for wrong in (None, reference[1:]):
        with pytest.raises(AnimaError, match="do not fit"):
            KtoLoss()(batch, logps, wrong)
    segments = (
        TokenSegment((3, 4), (False, False), Role.PROMPT),
        TokenSegment((1,), (False,), Role.CHOSEN, parent=0),
    )
    with pytest.raises(DataError, match="no token of the answer"):
        KtoLoss().denominators(batch_of([EncodedExample(segments)]))


def test_it_is_a_sound_strategy_that_imports_no_torch():
    check_strategy(Kto)
    check_import_budget("anima_dpo.kto.strategy")
    assert Kto(KtoOptions()).loss(run_context()).data == "unpaired"


@pytest.mark.parametrize(
    "bad",
    [
        {"beta": 0},
        {"beta": math.inf},
        {"desirable_weight": 0},
        {"undesirable_weight": -1},
        {"undesirable_weight": math.nan},
        {"loss": "bco"},
    ],
    ids=str,
)
def test_senseless_options_are_refused(bad):
    with pytest.raises(ValidationError):
        KtoOptions(**bad)


def test_steps_of_few_examples_are_warned_of():
    def levels(size, **options):
        found = Kto(KtoOptions(**options)).validate(run_context(batch_size=size))
        return [problem.level for problem in found]

    assert levels(1) == levels(7) == ["warning"]
    assert levels(8) == levels(1, loss="apo_zero_unpaired") == []
    (problem,) = Kto(KtoOptions()).validate(run_context(batch_size=1))
    assert "one example is a poor estimate" in problem.what


def test_a_last_step_of_few_examples_is_warned_of_with_a_size_that_leaves_none():
    def found(good, bad, name="kto", **run):
        loss = Kto(KtoOptions(loss=name)).loss(run_context(**run))
        return list(loss.data_problems(answers(good, bad)))

    (problem,) = found(50, 50, batch_size=32)
    assert problem.level == "warning"
    assert "holds 4 examples of 32" in problem.what
    advised = int(problem.fix.split()[2].rstrip(","))
    assert not found(50, 50, batch_size=advised)
    assert not found(50, 50, batch_size=32, steps=3), "it does not get there"
    assert not found(50, 50, batch_size=32, name="apo_zero_unpaired")
    assert not KtoLoss().data_problems(answers(50, 50)), "nobody said what a step is"


def answers(good, bad, each=(1.0, 1.0)):
    """So many answers of each kind, and what one of it weighs."""
    weights = {"good_weight": each[0] * good, "bad_weight": each[1] * bad}
    counts = {"good_answers": good, "bad_answers": bad} | weights
    return DataSummary(("a.jsonl",), "unpaired", good + bad, 9, 9, 9, 9, **counts)


@pytest.mark.parametrize(("good", "bad"), [(10, 0), (0, 7)])
@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_labels_of_one_kind_are_refused(name, good, bad):
    (problem,) = balance_problems(KtoOptions(loss=name), answers(good, bad))
    assert (problem.level, problem.exit_code) == ("error", 3)
    assert ("--sft" in problem.fix) == bool(good)


@pytest.mark.parametrize(("good", "bad"), [(100, 100), (4, 3), (1000, 800)])
def test_even_data_says_nothing(good, bad):
    assert not list(balance_problems(KtoOptions(), answers(good, bad)))


@pytest.mark.parametrize(("good", "bad"), [(10, 90), (900, 10), (3, 4), (7, 5), (1, 10**6)])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0)])
def test_the_weights_that_are_advised_mend_it(good, bad, weights):
    options = KtoOptions(desirable_weight=weights[0], undesirable_weight=weights[1])
    (problem,) = balance_problems(options, answers(good, bad))
    assert problem.level == "warning"
    words = problem.fix.replace(",", "").rstrip(".").split()
    for flag, field in (
        ("--kto.desirable-weight", "desirable_weight"),
        ("--kto.undesirable-weight", "undesirable_weight"),
    ):
        advised = float(words[words.index(flag) + 1])
        mended = options.model_copy(update={field: advised})
        assert not list(balance_problems(mended, answers(good, bad)))
        assert LEAST <= mended.desirable_weight * good / (mended.undesirable_weight * bad) <= MOST
    other = options.model_copy(update={"loss": "apo_zero_unpaired"})
    assert not list(balance_problems(other, answers(good, bad)))


def test_records_count_by_their_weights():
    """As they do in the loss: 10 good answers of weight 9 are as many as 90 bad ones."""
    assert not list(balance_problems(KtoOptions(), answers(10, 90, (9.0, 1.0))))
    (problem,) = balance_problems(KtoOptions(), answers(10, 10, (1.0, 4.0)))
    assert "by the weights of the records, 0.25 times" in problem.what
    assert "--kto.desirable-weight 5" in problem.fix, "4 to 5.33"
    (problem,) = balance_problems(KtoOptions(), answers(10, 90))
    assert "weights of the records" not in problem.what


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_accuracy_is_the_share_of_answers_on_their_side(name):
    batch, logps, reference, written = data(others=name == "kto")
    found = KtoLoss(KtoOptions(loss=name, beta=3.0))(batch, logps, reference).metrics["accuracy"]
    against = float(z0(written)) if name == "kto" else 0.0
    right = [
        (float(sum(own).detach()) > against) == good
        for (own, _), (good, _, _) in zip(written, ROWS, strict=True)
    ]
    assert 0 < sum(right) < 5
    assert (float(found[0]), found[1]) == (sum(right), 5)
    noise = 3e-6 * torch.randn(len(reference), generator=torch.Generator().manual_seed(1))
    still = KtoLoss(KtoOptions(loss=name))(batch, reference + noise, reference)
    assert float(still.metrics["accuracy"][0]) == 2.5, "rounding decides nothing"


def fall(chosen, rejected, steps=120):
    """Records of a run that moves the rewards of good and bad answers by so much a step."""
    wobble = [0.01 * math.sin(7 * n) for n in range(steps)]
    return [
        {
            "step": n, "loss": 0.5, "learning_rate": 1e-6, "examples": 32, "accuracy": 0.4,
            "rewards_chosen": chosen * n + wobble[n],
            "rewards_rejected": rejected * n - wobble[n],
            "margin": (chosen - rejected) * n + 2 * wobble[n],
        }
        for n in range(steps)
    ]  # fmt: skip


def test_a_fall_of_good_and_bad_answers_alike_is_told_of():
    loss = KtoLoss()
    (told,) = loss.warnings(fall(-0.02, -0.02))
    assert told.startswith("good and bad answers become less likely")
    assert "--kto.desirable-weight" in told
    assert "pair" not in told
    for chosen, rejected in ((0.02, -0.02), (-0.01, -0.03), (0.2, -0.2), (0.0, 0.0)):
        assert loss.warnings(fall(chosen, rejected)) == []


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
