"""Every bundled strategy, through every check of the conformance kit that fits it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from anima_core.hookspecs import SLOTS
from anima_core.registry.load import load_strategy
from anima_core.registry.offers import Offer, offers
from anima_core.testing import Check, check_adapter, check_loader, checks_for
from anima_core.testing.by_hook import BY_HOOK, EVERY
from anima_core.testing.models import FAMILIES

DISTRIBUTIONS = ("anima-adapt", "anima-adapt-qlora", "anima-adapt-dpo", "anima-adapt-longctx")
BUNDLED: dict[str, Offer] = {o.name: o for o in offers() if o.distribution in DISTRIBUTIONS}

# Options beside the defaults, for the checks of the hooks that depend on them.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("xentropy", {"chunk_tokens": 5, "chunk_vocab": 7}),
    ("dpo", {"beta": 0.5, "label_smoothing": 0.2}),
    ("reward", {"centering": 0.1}),
    ("paged-adamw", {"bits": 32}),
    ("qlora", {"bits": 8}),
    ("qlora", {"quant_type": "fp4", "double_quant": False}),
    ("lora", {"init": "orthogonal", "rslora": True}),
    ("lora", {"init": "pissa"}),
    ("lora", {"dora": True, "dropout": 0.3}),
    ("rope-scaling", {"type": "linear"}),
    ("rope-scaling", {"type": "llama3", "factor": 4.0}),
]


def checks(name: str, options: dict[str, Any] | None = None) -> list[Check]:
    cls: Any = load_strategy(BUNDLED[name])
    return checks_for(cls, name, cls.Options(**options) if options else None)


def in_turn() -> Iterator[Any]:
    """Each strategy's checks; of a run of two strategies, that of the one which comes first."""
    for name in sorted(BUNDLED):
        for check in checks(name):
            first, *others = str(check).removeprefix("run beside ").split(" and ")
            if not str(check).startswith("run beside") or name < first:
                yield pytest.param(check, id=f"{name}: {check}")
            assert not others or name == "qlora" or "qlora" in (first, *others)


@pytest.mark.parametrize("check", list(in_turn()))
def test_it_passes(check: Check) -> None:
    assert not check.skip
    check()


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_it_passes_with_other_options(name: str, options: dict[str, Any]) -> None:
    hooks = [c for c in checks(name, options) if str(c).split("[")[0] in BY_HOOK]
    assert hooks
    for check in hooks:
        check()


def strategy(name: str, **options: Any) -> Any:
    cls: Any = load_strategy(BUNDLED[name])
    return cls(cls.Options(**options))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["full", "lora", "qlora"])
def test_the_adapter_works_on_every_family(name: str, family: Any) -> None:
    made = strategy(name)
    load = getattr(made, "load_model", None)
    check_adapter(made.adapt_model, family=family, load=load)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["safetensors", "qlora"])
def test_the_loader_works_on_every_family(name: str, family: Any) -> None:
    check_loader(strategy(name).load_model, family=family, quantised=name == "qlora")


def test_none_escapes() -> None:
    assert EVERY == FAMILIES
    assert BY_HOOK.keys() >= set(SLOTS)
    for name, offer in BUNDLED.items():
        names = [str(check) for check in checks(name)]
        slots = load_strategy(offer).slots
        assert names[:5] == ["strategy", "import-budget", "options", "answers", "globals"]
        assert "run" in names
        for slot in slots:
            assert any(check.split("[")[0] == slot for check in names), (name, slot)
