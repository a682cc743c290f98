"""What a new plugin is called, and which names and slots are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from anima_core.attention.segments import TRANSFORMERS_WORDS, register_segment_attention
from anima_core.cli.main import main
from anima_core.errors import UsageError
from anima_core.hookspecs import HOOKS, SLOTS
from anima_core.registry.offers import offers
from anima_core.scaffold.kinds import SUMMARIES, hook_of
from anima_core.scaffold.names import LONGEST, Names, check_name


def test_every_name_is_made_of_the_one_that_is_given() -> None:
    names = check_name("token-weights", "loss")
    assert names.strategy == "token-weights"
    assert names.snake == "token_weights"
    assert names.cls == "TokenWeights"
    assert names.package == "anima_token_weights"
    assert names.distribution == "anima-token-weights"


@pytest.mark.parametrize("name", ["sequence", "field", "mapping", "exception", "any"])
def test_a_class_shadows_neither_a_builtin_nor_an_import(name: str) -> None:
    assert check_name(name, "loss").cls == f"{name.capitalize()}Strategy"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("Focal_Loss", "not lower-case"),
        ("focal--loss", "not lower-case"),
        ("-focal", "not lower-case"),
        ("2nd", "not lower-case"),
        ("", "not lower-case"),
        ("../focal", "not lower-case"),
        ("f" * (LONGEST + 1), "25 characters"),
        ("batch-size", "core's option"),
        ("no-resume", "core's option"),
        ("help", "core's option"),
        ("class", "word of the Python language"),
        ("none", "word of the Python language"),
        ("core", "anima-adapt's"),
        ("adapt-more", "anima-adapt's"),
        ("longctx", "anima-adapt-longctx"),
        ("sft", "taken by anima-adapt "),
    ],
)
def test_a_name_is_refused(name: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        check_name(name, "loss")
    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_a_spelling_that_would_do_is_offered() -> None:
    with pytest.raises(UsageError) as caught:
        check_name("Focal_Loss", "loss")
    assert "focal-loss" in caught.value.fix


def test_the_name_of_any_installed_strategy_is_taken() -> None:
    for offer in offers():
        with pytest.raises(UsageError, match=r"taken by|named like"):
            check_name(offer.name, "loss")


@pytest.mark.parametrize("name", ["test-name", "loss", "attention", "options", "torch"])
def test_a_name_that_only_looks_taken_is_not(name: str) -> None:
    assert check_name(name, "loss") == Names(name)


@pytest.mark.parametrize("word", TRANSFORMERS_WORDS)
def test_an_attention_has_no_name_of_transformers_own(word: str) -> None:
    name = f"{word}-two"
    with pytest.raises(UsageError, match=word):
        check_name(name, "attention")
    with pytest.raises(ValueError, match=word):
        register_segment_attention(Names(name).package, lambda: None)
    assert check_name(name, "loss")


def test_every_slot_and_the_hooks_that_stand_alone_have_a_template() -> None:
    beside = {"estimate_memory", "validate", "diagnose"}
    assert set(SUMMARIES) == set(HOOKS) - beside
    assert set(SLOTS) <= set(SUMMARIES)


@pytest.mark.parametrize("hook", SUMMARIES)
def test_a_slot_is_said_in_either_case(hook: str) -> None:
    assert hook_of(hook) == hook_of(hook.replace("_", "-")) == hook_of(hook.upper()) == hook


@pytest.mark.parametrize(
    ("word", "what", "hint"),
    [
        ("optimiser", "no slot", "did you mean optimizer?"),
        ("token-logp", "no slot", "did you mean token_logps?"),
        ("nonsense", "no slot", ""),
        ("validate", "does not begin", "add `validate`"),
    ],
)
def test_a_wrong_slot_is_refused_with_the_list(word: str, what: str, hint: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        hook_of(word)
    assert hint in caught.value.fix
    assert all(hook in caught.value.fix for hook in SUMMARIES)


def test_the_command_says_so_and_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, slot, words in (
        ("Focal", "loss", ("NAME", "Say focal.")),
        ("focal", "los", ("--slot", "did you mean loss?", "token_logps")),
    ):
        assert main(["plugins", "new", name, "--slot", slot, "--into", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert all(word in said for word in words), said
    assert not list(tmp_path.iterdir())
