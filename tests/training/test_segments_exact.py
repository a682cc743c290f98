"""A packed batch is its examples run one by one: the loss and every gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import log_softmax

from anima_core.attention.sdpa import NAME, segment_sdpa
from anima_core.attention.segments import register_segment_attention
from anima_core.batch import EncodedExample, Role
from anima_core.data.collate import collate
from anima_core.loss.plain import plain_logps
from anima_core.loss.sft import SftLoss
from anima_core.testing import FAMILIES, random_examples, tiny_model
from anima_core.training.module import LogpsModule
from anima_core.training.step import add_denominators, cut, join

register_segment_attention(NAME, segment_sdpa)
TOLERANCE = 1e-5


def sequences(example: EncodedExample) -> list[tuple[Role, list[int], list[bool]]]:
    """The whole sequences of an example: a continuation with its prompt before it."""
    found = []
    for segment in example.segments:
        ids, mask = list(segment.ids), list(segment.supervised)
        if segment.parent >= 0:
            parent = example.segments[segment.parent]
            ids, mask = [*parent.ids, *ids], [False] * len(parent.ids) + mask
        if any(mask):
            found.append((segment.role, ids, mask))
    return found


def sequence_logps(model: torch.nn.Module, ids: list[int], mask: list[bool]) -> torch.Tensor:
    """Log-probs of one whole sequence's supervised tokens, by the model's own forward."""
    row = torch.tensor([ids])
    logits = model(input_ids=row, use_cache=False).logits[0].float()
    logps = log_softmax(logits[:-1], dim=-1).gather(1, row[0, 1:, None])[:, 0]
    return logps[torch.tensor(mask[1:])]


def textbook_sft(model: torch.nn.Module, examples: list[EncodedExample]) -> torch.Tensor:
    """The mean negative log-likelihood, from sequences run one by one."""
    total, count = torch.zeros(()), 0.0
    for example in examples:
        for _, ids, mask in sequences(example):
            total = total - example.weight * sequence_logps(model, ids, mask).sum()
            count += example.weight * sum(mask)
    return total / count


def textbook_dpo(
    model: torch.nn.Module, examples: list[EncodedExample], reference: Callable[[list[int]], float]
) -> torch.Tensor:
    """DPO's loss (Rafailov et al. 2023, eq. 7) from sequences run one by one, beta 0.1."""
    losses = []
    for example in examples:
        ratio = {}
        for role, ids, mask in sequences(example):
            ratio[role] = sequence_logps(model, ids, mask).sum() - reference(ids)
        margin = 0.1 * (ratio[Role.CHOSEN] - ratio[Role.REJECTED])
        losses.append(-torch.nn.functional.logsigmoid(margin))
    return torch.stack(losses).mean()


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def assert_same(got: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(got) == len(expected) > 0
    scale = max(float(e.abs().max()) for e in expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=TOLERANCE, atol=TOLERANCE * max(1.0, scale))


@pytest.mark.parametrize("family", FAMILIES)
def test_sft_packed_equals_one_by_one(family: str) -> None:
    examples = random_examples("completion", 5, seed=1, vocab=320)
    packed = tiny_model(family, attn_implementation=NAME)
    alone = tiny_model(family, attn_implementation="eager")
    batch = collate(examples, range(5))
    loss = SftLoss()
    output = LogpsModule(packed, plain_logps, loss)(batch)
    mine = output.totals["nll"] / loss.denominators(batch)["nll"]
    theirs = textbook_sft(alone, examples)
    assert mine.item() == pytest.approx(theirs.item(), rel=TOLERANCE)
    assert_same(gradients(packed, mine), gradients(alone, theirs))


@pytest.mark.parametrize("family", FAMILIES)
def test_dpo_with_a_shared_prompt_equals_whole_sequences(family: str) -> None:
    dpo = pytest.importorskip("anima_dpo.loss")
    examples = random_examples("preference", 4, seed=2, vocab=320)
    packed = tiny_model(family, attn_implementation=NAME)
    alone = tiny_model(family, attn_implementation="eager")
    start = tiny_model(family, seed=7, attn_implementation="eager")
    known: dict[tuple[int, ...], torch.Tensor] = {}
    rows = []
    with torch.no_grad():
        for example in examples:
            for _, ids, mask in sequences(example):
                known[tuple(ids)] = sequence_logps(start, ids, mask)
                rows.append(known[tuple(ids)])
    loss = dpo.DpoLoss()
    batch = collate(examples, range(4))
    output = LogpsModule(packed, plain_logps, loss)(batch, torch.cat(rows))
    mine = output.totals["dpo"] / loss.denominators(batch)["dpo"]
    theirs = textbook_dpo(alone, examples, lambda ids: float(known[tuple(ids)].sum()))
    assert mine.item() == pytest.approx(theirs.item(), rel=TOLERANCE)
    assert_same(gradients(packed, mine), gradients(alone, theirs))


@pytest.mark.parametrize("kind", ["completion", "preference"])
@pytest.mark.parametrize("micro_tokens", [1, 40, 10_000])
def test_the_cut_into_micro_batches_changes_nothing(kind: str, micro_tokens: int) -> None:
    examples = random_examples(kind, 6, seed=3, vocab=320)
    model = tiny_model("llama", attn_implementation=NAME)
    loss = SftLoss()
    module = LogpsModule(model, plain_logps, loss)

    def loss_and_gradients(batches: list) -> tuple[float, list[torch.Tensor]]:
        denominator = add_denominators(loss, batches)["nll"]
        model.zero_grad()
        total = 0.0
        for batch in batches:
            part = module(batch).totals["nll"] / denominator
            part.backward()
            total += part.item()
        return total, [p.grad.clone() for p in model.parameters()]

    one, whole = loss_and_gradients([collate(examples, range(6))])
    many, parts = loss_and_gradients(cut(examples, range(6), micro_tokens))
    assert many == pytest.approx(one, rel=TOLERANCE)
    assert_same(parts, whole)


def test_joined_micro_batches_are_the_batch_itself() -> None:
    examples = random_examples("preference", 4, seed=4, vocab=320)
    whole = collate(examples, [2, 0, 3, 1])
    joined = join([collate(examples, [2, 0]), collate(examples, [3, 1])])
    assert joined.layout == whole.layout
    assert joined.rows == whole.rows
    for name in ("ids", "positions", "example", "segment", "role", "supervised", "sources"):
        assert torch.equal(getattr(joined, name), getattr(whole, name)), name
