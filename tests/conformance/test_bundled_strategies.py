"""Every bundled strategy, through every check of `anima_core.testing` that fits it."""

from __future__ import annotations

from typing import Any

import pytest

from anima_core.registry.load import load_strategy
from anima_core.registry.offers import Offer, offers
from anima_core.testing import (
    FAMILIES,
    batch_of,
    check_gradient,
    check_import_budget,
    check_micro_batch_invariance,
    check_optimizer,
    check_segment_isolation,
    check_strategy,
    check_token_logps,
    random_examples,
    run_context,
    tiny_config,
    tiny_model,
)

DISTRIBUTIONS = ("anima-adapt", "anima-adapt-qlora", "anima-adapt-dpo", "anima-adapt-longctx")
BUNDLED: dict[str, Offer] = {o.name: o for o in offers() if o.distribution in DISTRIBUTIONS}

# What is checked slot by slot: strategy and options. One that answers such a slot and stands in
# no list fails the last test.
KERNELS: list[tuple[str, dict[str, Any]]] = [
    ("plain", {}),
    ("xentropy", {}),
    ("xentropy", {"chunk_tokens": 5, "chunk_vocab": 7}),
]
LOSSES: list[tuple[str, dict[str, Any]]] = [
    ("sft", {}),
    ("dpo", {}),
    ("dpo", {"beta": 0.5, "label_smoothing": 0.2}),
]
ATTENTIONS: list[tuple[str, dict[str, Any]]] = [("sdpa", {}), ("flash-attention-2", {})]
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("adamw", {}),
    ("paged-adamw", {"bits": 8}),
    ("paged-adamw", {"bits": 32}),
]
CHECKED = {
    "token_logps": KERNELS,
    "loss": LOSSES,
    "attention": ATTENTIONS,
    "optimizer": OPTIMIZERS,
}


def strategy(name: str, options: dict[str, Any]) -> Any:
    """The strategy, built as the core builds it; skipped where its plugin is not installed."""
    if name not in BUNDLED:
        pytest.skip(f"the distribution that offers {name} is not installed")
    cls: Any = load_strategy(BUNDLED[name])
    return cls(cls.Options(**options))


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_the_class_is_sound(name: str) -> None:
    check_strategy(BUNDLED[name].entry_point.load())


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_its_import_is_light(name: str) -> None:
    check_import_budget(BUNDLED[name].entry_point.module)


@pytest.mark.parametrize(("name", "options"), KERNELS, ids=str)
def test_the_kernel_is_the_textbooks(name: str, options: dict[str, Any]) -> None:
    import torch

    kernel = strategy(name, options).token_logps(run_context())
    check_token_logps(kernel)
    check_token_logps(kernel, dtype=torch.bfloat16)


@pytest.mark.parametrize(("name", "options"), LOSSES, ids=str)
def test_the_loss_has_its_gradient_and_needs_no_whole_batch(
    name: str, options: dict[str, Any]
) -> None:
    loss = strategy(name, options).loss(run_context())
    examples = random_examples(loss.data, 7, seed=3, vocab=40, weighted=True)
    check_gradient(loss, batch_of(examples))
    check_micro_batch_invariance(loss, examples)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("name", "options"), ATTENTIONS, ids=str)
def test_the_attention_keeps_segments_apart(
    name: str, options: dict[str, Any], family: Any
) -> None:
    config = tiny_config(family)
    attention = strategy(name, options).attention(run_context(model_config=config))
    assert attention.segments, f"{name} says that it cannot keep segments apart"
    if getattr(config, "attn_logit_softcapping", None) and not attention.softcap:
        pytest.skip(f"{name} says that it has no soft-cap")
    if getattr(config, "sliding_window", None) and not attention.sliding_window:
        pytest.skip(f"{name} says that it has no sliding window")
    examples = random_examples("completion", 4, seed=1)
    if attention.shared_prefix:
        examples += random_examples("preference", 3, seed=2)
    check_segment_isolation(tiny_model(family, attn_implementation=attention.name), examples)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_the_optimizer_descends_decays_and_resumes(name: str, options: dict[str, Any]) -> None:
    run = run_context(learning_rate=1e-2)
    check_optimizer(lambda groups: strategy(name, options).optimizer(run, groups))


def test_none_escapes() -> None:
    listed = {slot: {name for name, _ in cases} for slot, cases in CHECKED.items()}
    for name, offer in BUNDLED.items():
        for slot in load_strategy(offer).slots:
            assert name in listed.get(slot, {name}), f"{name} answers {slot}, and is in no list"
