"""Weights of messages: from a record to each target of a batch, and to the loss."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from dialogues import runs, say
from transformers import PreTrainedTokenizerFast

from anima_core.batch import EncodedExample, TokenSegment
from anima_core.config.core import TrainOn
from anima_core.contracts import Record
from anima_core.data.chat import Renderer
from anima_core.data.collate import collate
from anima_core.data.dataset import load_dataset
from anima_core.data.formats import Example
from anima_core.data.handling import Handling
from anima_core.data.template import encode, encode_completion, encode_preference
from anima_core.errors import DataError
from anima_core.loss.sft import SftLoss
from anima_core.problems import Problem
from anima_core.runs.capabilities import weight_problems
from anima_core.runs.plan import DataSummary

Make = Callable[..., PreTrainedTokenizerFast]


def dialogue(*weights: float | None) -> Example:
    """An answer with each weight; None says nothing, and 0 leaves it out."""
    messages: list[dict[str, Any]] = []
    for number, weight in enumerate(weights):
        asked, answer = say(f"u:ask {number}", f"a:answer {number}")
        if weight == 0:
            answer["train"] = False
        elif weight is not None:
            answer["weight"] = weight
        messages += [asked, answer]
    return Example(tuple(messages), "messages", file="x.jsonl", line=7)


def weights_of(segment: TokenSegment) -> list[float]:
    """The weight of each run of targets, all of which have the same."""
    found: list[list[float]] = []
    before = False
    own = segment.weights or (1.0,) * len(segment.ids)
    for weight, wanted in zip(own, segment.supervised, strict=True):
        if wanted and not before:
            found.append([])
        if wanted:
            found[-1].append(weight)
        before = wanted
    assert all(len(set(run)) == 1 for run in found)
    return [run[0] for run in found]


@pytest.mark.parametrize("style", ["chatml", "llama3", "open", "none", "think-last", "eos-last"])
def test_each_answers_tokens_have_its_weight_the_end_included(
    make_tokenizer: Make, style: str
) -> None:
    tokenizer = make_tokenizer(style)
    (segment,) = encode_completion(tokenizer, dialogue(0.5, 0, None, 3))
    (plain,) = encode_completion(tokenizer, dialogue(None, 0, None, None))
    assert (segment.ids, segment.supervised) == (plain.ids, plain.supervised)
    assert weights_of(segment) == [0.5, 1, 3]
    assert segment.supervised[-1]
    assert segment.weights[-1] == 3
    assert plain.weights == ()


def test_nothing_is_kept_where_nothing_is_said(make_tokenizer: Make) -> None:
    (segment,) = encode_completion(make_tokenizer("chatml"), dialogue(0, None))
    assert segment.weights == ()


@pytest.mark.parametrize(
    ("train_on", "expected"), [("assistant", [0.5, 3]), ("last", [3]), ("all", [1, 0.5, 1, 3])]
)
def test_train_on(make_tokenizer: Make, train_on: TrainOn, expected: list[float]) -> None:
    tokenizer = make_tokenizer("chatml")
    example = dialogue(0.5, 0, 3)
    ((segment,),) = encode(Renderer(tokenizer), [example], train_on=train_on)
    if train_on != "all":
        assert weights_of(segment) == expected
        return
    by_token = [w for w, wanted in zip(segment.weights, segment.supervised, strict=True) if wanted]
    changes = [w for i, w in enumerate(by_token) if not i or w != by_token[i - 1]]
    assert changes == expected
    (whole, *_) = runs(tokenizer, segment)
    assert whole.startswith("system\nBe kind.")
    assert "answer 1" not in "".join(runs(tokenizer, segment))


@pytest.mark.parametrize("field", ["chosen", "rejected"])
def test_a_pairs_answers_have_no_weights(make_tokenizer: Make, field: str) -> None:
    answers = {name: {**say(f"a:{name}")[0]} for name in ("chosen", "rejected")}
    answers[field]["weight"] = 0.5
    chosen, rejected = answers.values()
    pair = Example(say("u:a"), "p", (chosen,), (rejected,), file="x.jsonl", line=7)
    with pytest.raises(DataError, match=rf"'{field}\[0\].weight': found the number 0.5") as caught:
        encode_preference(make_tokenizer("chatml"), pair)
    assert caught.value.where == "x.jsonl:7"
    assert "the record's own 'weight'" in caught.value.fix


def test_the_loss_is_the_weighted_mean(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer("chatml")
    examples = [
        EncodedExample(tuple(encode_completion(tokenizer, example)), weight)
        for example, weight in ((dialogue(0.5, 2), 1.0), (dialogue(None, 0), 3.0))
    ]
    batch = collate(examples, [0, 1])
    first, second, third = (
        len(tokenizer(text, add_special_tokens=False)["input_ids"])
        for text in ("answer 0<|im_end|>", "answer 1<|im_end|>", "answer 0<|im_end|>")
    )
    assert batch.target_weights.tolist() == [0.5] * first + [2.0] * second + [3.0] * third
    logps = -torch.arange(1.0, len(batch.targets) + 1)
    loss = SftLoss()
    got = loss(batch, logps).totals["nll"] / loss.denominators(batch)["nll"]
    weights = batch.target_weights
    assert float(got) == pytest.approx(float((weights * -logps).sum() / weights.sum()))


def test_a_data_set_counts_the_examples_whose_messages_weigh_differently(
    make_tokenizer: Make,
) -> None:
    rows = [list(dialogue(*weights).messages) for weights in ((1, 1), (0.5, 1), (2,), (None, 0))]
    for row in rows:
        for message in row:
            if not message.pop("train", True):
                message["weight"] = 0
    records = [Record({"messages": row}, "x.jsonl", n) for n, row in enumerate(rows, 1)]
    examples, summary = load_dataset(
        records,
        make_tokenizer("chatml"),
        kind="completion",
        limit=1000,
        overlong="error",
        sources=["x.jsonl"],
        handling=Handling(),
    )
    assert summary.weighted == 2
    assert [set(e.segments[0].weights) - {1.0} for e in examples] == [set(), {0.5}, {2.0}, set()]
    equal = load_dataset(
        [Record({"messages": rows[0]}, "x.jsonl", n) for n in (1, 2, 3, 4)],
        make_tokenizer("chatml"), kind="completion", limit=1000, overlong="error", sources=["x"],
    )[1]  # fmt: skip
    assert equal.weighted == 0
    assert equal.sha256 != summary.sha256


class Alike(SftLoss):
    """A loss that does not say that it weighs tokens."""

    weighs_tokens = False


def problems_of(loss: SftLoss, weighted: int) -> list[Problem]:
    selection = SimpleNamespace(providers={"loss": SimpleNamespace(strategy="mine")})
    data = DataSummary(("x",), "completion", 3, 9, 6, 3, 10, weighted=weighted)
    return weight_problems(selection, loss, data)  # type: ignore[arg-type]


def test_a_loss_that_weighs_no_tokens_is_refused_such_data() -> None:
    assert problems_of(SftLoss(), 2) == []
    assert problems_of(Alike(), 0) == []
    (problem,) = problems_of(Alike(), 2)
    assert (problem.level, problem.exit_code, problem.where) == ("error", 3, "--mine")
    assert "2 examples have messages with a 'weight' other than 0 and 1" in problem.what
    assert "weighs_tokens = True" in problem.fix
