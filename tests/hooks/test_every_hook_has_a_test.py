"""A hook without a test named after it, in this folder, fails here."""

from __future__ import annotations

import ast
from pathlib import Path

from anima_core.hookspecs import HOOKS, AnimaSpecs

HERE = Path(__file__).parent


def tested() -> list[str]:
    """Names of the tests in this folder."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in HERE.glob("test_*.py")]
    return [
        node.name.removeprefix("test_")
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_every_hook_has_one() -> None:
    assert set(HOOKS) <= set(tested())


def test_no_test_is_of_a_hook_that_is_gone() -> None:
    own = {"every_hook_has_one", "no_test_is_of_a_hook_that_is_gone", "hooks_are_those_specified"}
    assert set(tested()) - own == set(HOOKS)
    assert len(tested()) == len(set(tested()))


def test_hooks_are_those_specified() -> None:
    assert {name for name in vars(AnimaSpecs) if not name.startswith("_")} == set(HOOKS)
