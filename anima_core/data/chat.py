"""Dialogues as text, through the model's chat template or, where it has none, a plain layout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from anima_core.data.turns import Message
from anima_core.errors import DataError, SetupError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN_NOTE = (
    "the tokenizer has no chat template: messages are laid out plainly, each on its own line, "
    "answers ended by EOS"
)

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_OURS = ("train", "weight")


def _told(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as a template is given them: without what says how they are learnt."""
    return [{k: v for k, v in m.items() if k not in _OURS} for m in messages]


def plain_layout(
    messages: Sequence[Message], bos: str, eos: str, *, add_generation_prompt: bool
) -> str:
    r"""The layout used where a tokenizer has no chat template: ``prompt\n`` + answer + EOS.

    Every message that is not the assistant's is its content and a line break; every answer is
    its content, EOS and a line break. Roles are not written, so the generation prompt is empty.

    Args:
        messages: the dialogue.
        bos: what the text begins with; empty for a model that was not trained with BOS.
        eos: the EOS token's text.
        add_generation_prompt: as in `apply_chat_template`; makes no difference here.
    """
    del add_generation_prompt
    ends = {"assistant": eos + "\n"}
    return bos + "".join(m["content"] + ends.get(m["role"], "\n") for m in messages)


class Renderer:
    """Turns dialogues into text for one tokenizer.

    Raises:
        SetupError: the tokenizer cannot say where in the text a token came from.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.is_fast:
            raise SetupError(
                f"{type(tokenizer).__name__} is a slow tokenizer: it does not say which part of "
                "the text a token came from, so answers cannot be told from prompts",
                where="tokenizer",
                fix="use a model folder with a tokenizer.json, or convert it with "
                "transformers.convert_slow_tokenizer and save_pretrained",
            )
        self.tokenizer = tokenizer
        self.plain = not tokenizer.chat_template
        # The prompt that was written last: the second answer of a pair has the same.
        self._last: tuple[object, str] = (None, "")

    def __call__(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
        where: str = "",
    ) -> str:
        """Lay a dialogue out as text.

        Args:
            messages: the dialogue.
            add_generation_prompt: whether to end with what comes before an answer.
            tools: what the assistant may call, for the template.
            where: the record's place, for the error.

        Raises:
            DataError: the template refuses the dialogue.
        """
        if self.plain:
            return plain_layout(
                messages, self.bos, self._eos, add_generation_prompt=add_generation_prompt
            )
        asked = (list(messages), list(tools)) if add_generation_prompt else None
        if asked and asked == self._last[0]:
            return self._last[1]
        with self._refusing(messages, where):
            text = self.tokenizer.apply_chat_template(
                _told(messages),
                tools=list(tools) or None,  # type: ignore[arg-type]
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        assert isinstance(text, str)
        if asked:
            self._last = asked, text
        return text

    def marks_answers(self, tools: Sequence[Mapping[str, Any]] = ()) -> bool:
        """Whether the template says itself where answers stand, in ``{% generation %}`` blocks."""
        return not self.plain and bool(_GENERATION.search(self._template(tools)))

    def marked(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        where: str = "",
    ) -> tuple[str, list[tuple[int, int]]]:
        """A dialogue as text, and start and stop of each of the template's own answers.

        Args:
            messages: the dialogue.
            tools: what the assistant may call, for the template.
            where: the record's place, for the error.

        Raises:
            DataError: the template refuses the dialogue.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        given: dict[str, Any] = {"tools": list(tools) or None, **self.tokenizer.special_tokens_map}
        with self._refusing(messages, where):
            rendered: Any = render_jinja_template(
                [_told(messages)],
                chat_template=self._template(tools),
                return_assistant_tokens_mask=True,
                **given,
            )
        (text,), (blocks,) = rendered
        return text, blocks

    def _template(self, tools: Sequence[Mapping[str, Any]]) -> str:
        return str(self.tokenizer.get_chat_template(tools=list(tools) or None))  # type: ignore[arg-type]

    @contextmanager
    def _refusing(self, messages: Sequence[Message], where: str) -> Iterator[None]:
        """What a template raises, as an error of the record."""
        from jinja2 import TemplateError

        try:
            yield
        except (TemplateError, TypeError) as error:
            roles = ", ".join(m["role"] for m in messages)
            raise DataError(
                f"the chat template of {self.name} refuses the dialogue ({roles}): {error}",
                where=where,
                fix="change the record's roles, or name another template: --template chatml",
            ) from None

    @property
    def name(self) -> str:
        """What messages call the tokenizer."""
        return self.tokenizer.name_or_path or type(self.tokenizer).__name__

    @cached_property
    def special(self) -> dict[int, str]:
        """The special tokens a template may end a turn with: text by id; never the unknown one."""
        tokens = {
            index: token.content
            for index, token in self.tokenizer.added_tokens_decoder.items()
            if token.special and index != self.tokenizer.unk_token_id
        }
        return tokens | {self.eos_id: self._eos}

    @cached_property
    def special_pattern(self) -> re.Pattern[str]:
        """Matches any text of `special`, whitespace before it allowed."""
        texts = sorted(self.special.values(), key=len, reverse=True)
        return re.compile(rf"\s*(?:{'|'.join(map(re.escape, texts))})")

    @cached_property
    def eos_id(self) -> int:
        """The EOS token's id.

        Raises:
            SetupError: there is none.
        """
        if not isinstance(self.tokenizer.eos_token_id, int):
            raise SetupError(
                "the tokenizer has no EOS token, so a model could not learn to stop",
                where="tokenizer",
                fix="set eos_token in the model's tokenizer_config.json",
            )
        return self.tokenizer.eos_token_id

    @property
    def _eos(self) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(self.eos_id))

    @cached_property
    def bos(self) -> str:
        """BOS, if this tokenizer begins a text with it of its own accord."""
        bos = self.tokenizer.bos_token_id
        first = self.tokenizer("a", add_special_tokens=True)["input_ids"][:1]
        return str(self.tokenizer.bos_token) if bos is not None and first == [bos] else ""
