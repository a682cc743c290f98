"""A chat template that the user names: one that is known, or a file."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from anima_core.config.paths import home_expanded
from anima_core.errors import UsageError
from anima_core.problems import Problem
from anima_core.registry.names import did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SUFFIX = ".jinja"
_ANSWER = "an answer"


def known_templates() -> dict[str, str]:
    """The templates that come with the program, by name."""
    folder = files("anima_core.data") / "templates"
    found = (file for file in folder.iterdir() if file.name.endswith(SUFFIX))
    return {file.name.removesuffix(SUFFIX): file.read_text("utf-8") for file in found}


def template_text(name: str) -> str:
    """The template of a name or a file.

    Raises:
        UsageError: there is neither, or the file holds no template.
    """
    known = known_templates()
    if name in known:
        return known[name]
    where, path = f"--template {name}", home_expanded(name)
    if not path.is_file():
        fix = did_you_mean(name, known) or f"Known are {', '.join(sorted(known))}; or give a file."
        raise UsageError("no template and no file of that name", where=where, fix=fix)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the template cannot be read: {error}", where=where) from None
    if "messages" not in text:
        raise UsageError("this is no chat template: it never looks at 'messages'", where=where)
    return text


def use_template(tokenizer: PreTrainedTokenizerBase, name: str) -> list[Problem]:
    """Give a tokenizer the template of a name or a file; it is saved with what is trained.

    Returns:
        A warning where the template ends a turn with what is no token of the tokenizer.

    Raises:
        UsageError: there is no such template, or it is none.
    """
    from jinja2 import TemplateError, TemplateSyntaxError

    tokenizer.chat_template = template_text(name)
    try:
        end = _end_of_turn(tokenizer)
    except TemplateSyntaxError as error:
        what = f"this is no chat template: {error.message} in line {error.lineno}"
        raise UsageError(what, where=f"--template {name}", fix="It is written in Jinja.") from None
    except (TemplateError, TypeError):
        return []  # it wants other dialogues than this one; the data's are refused by name
    special = set(tokenizer.added_tokens_decoder)
    if special.issuperset(tokenizer(end, add_special_tokens=False)["input_ids"]):
        return []
    return [
        Problem(
            "--template",
            f"it ends a turn with {end!r}, which is no token of this tokenizer but several",
            "The last answer still ends with EOS. Take a template of the model's own tokens if "
            "there is one.",
            level="warning",
        )
    ]


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """What a template writes behind an answer."""
    asked = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]
    return str(tokenizer.apply_chat_template(asked, tokenize=False)).rpartition(_ANSWER)[2].strip()
