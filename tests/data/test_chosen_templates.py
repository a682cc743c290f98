"""Templates that `--template` chooses: ours, and one from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dialogues import runs
from model_templates import DIALOGUES, MODELS, completion, with_template
from transformers import PreTrainedTokenizerFast

from anima_core.data.chosen_template import known_templates, use_template
from anima_core.data.template import encode_completion
from anima_core.errors import UsageError

Make = Callable[..., PreTrainedTokenizerFast]

KNOWN = {  # the fixture that each template of ours is like
    "chatml": "chatml", "chatml-tools": "hermes-tools", "gemma": "gemma", "llama-2": "llama-2",
    "llama-3": "llama-3", "zephyr": "zephyr",
}  # fmt: skip


def test_our_own_templates_are_like_the_models(
    model: Callable[[str], PreTrainedTokenizerFast], make_tokenizer: Make
) -> None:
    assert set(known_templates()) == set(KNOWN)
    for name, fixture in KNOWN.items():
        eos, special, *_ = MODELS[fixture]
        tokenizer = with_template(make_tokenizer("none"), None, eos, special)
        assert use_template(tokenizer, name) == []
        example = completion(*DIALOGUES[1])
        assert encode_completion(tokenizer, example) == encode_completion(model(fixture), example)


def test_marks_that_are_no_tokens_are_warned_of(make_tokenizer: Make) -> None:
    tokenizer = with_template(make_tokenizer("none"), None, "</s>")
    assert use_template(tokenizer, "zephyr") == []
    (problem,) = use_template(tokenizer, "gemma")
    assert problem.level == "warning"
    assert "ends a turn with '<end_of_turn>', which is no token" in problem.what
    (segment,) = encode_completion(tokenizer, completion("u:a", "a:b", "u:c", "a:d"))
    assert runs(tokenizer, segment)[-1].endswith("<end_of_turn></s>")


def test_a_template_from_a_file(make_tokenizer: Make, tmp_path: Path) -> None:
    tokenizer = with_template(make_tokenizer("none"), None, "</s>")
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}{{ m.role + '>' + m.content + eos_token }}{% endfor %}")
    with pytest.raises(UsageError, match="no template and no file"):
        use_template(tokenizer, str(tmp_path / "other.jinja"))
    assert use_template(tokenizer, str(file)) == []
    assert tokenizer.chat_template == file.read_text()
    file.write_text("{% for m in messages %}")
    with pytest.raises(UsageError, match="no chat template"):
        use_template(tokenizer, str(file))
    file.write_text("Hello")
    with pytest.raises(UsageError, match="never looks at 'messages'"):
        use_template(tokenizer, str(file))
    with pytest.raises(UsageError) as caught:
        use_template(tokenizer, "zephir")
    assert "did you mean zephyr?" in caught.value.fix
