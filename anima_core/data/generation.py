r"""The answers that a template marks itself, with ``{% generation %}`` blocks.

A block is held against what is found by rendering the dialogue up to an answer:

    <|im_start|>assistant\nhello<|im_end|>\n
    |-- prompt ----------||--- answer ----|      found by rendering, the end of turn included
                          |block|                what the template marks

It may leave the end of turn out, which is learnt nevertheless, or take in the prompt's last mark,
which is not. Where rendering cannot tell, since the template writes a turn otherwise once more
follows, the block says where the answer is. It is never taken for one that holds something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from anima_core.data.chat import Renderer
from anima_core.data.turns import Message
from anima_core.errors import DataError

Found = tuple[int, int] | DataError
"""Start and stop of an answer, or why rendering could not tell."""

_SHOWN = 60


@dataclass(frozen=True)
class Marked:
    """A dialogue that a template wrote, and what it marked.

    Attributes:
        render: the chat template.
        messages: the dialogue.
        tools: what the assistant may call.
        text: the dialogue's text.
        blocks: start and stop of each block, in order.
        where: the record's place, for errors.
    """

    render: Renderer
    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]]
    text: str
    blocks: Sequence[tuple[int, int]]
    where: str

    def settled(
        self, answers: Sequence[int], found: Sequence[Found], learnt: Sequence[bool]
    ) -> list[tuple[int, int]]:
        """Start and stop of each answer, the end of its turn included.

        Args:
            answers: which messages they are.
            found: what rendering says of each.
            learnt: whether each is to be learnt; a block may leave out one that is not.

        Raises:
            DataError: the blocks hold something else than the answers.
        """
        blocks = [block for block in self.blocks if self.text[slice(*block)].strip()]
        everyone = [i for i, m in enumerate(self.messages) if m["role"] == "assistant"]
        in_order = dict(zip(everyone, blocks, strict=False)) if len(blocks) == len(everyone) else {}
        last = blocks[-1][1] if blocks else 0
        spans: list[tuple[int, int]] = []
        for index, place, wanted in zip(answers, found, learnt, strict=True):
            if isinstance(place, DataError):
                if index not in in_order:
                    raise place
                own = [in_order[index]]
                spans.append(self._alone(index, own[0], last))
            else:
                own = [b for b in blocks if self._meet(b, place)]
                spans.append(self._agreed(index, place, own) if own or wanted else place)
            blocks = [b for b in blocks if b not in own]
        first = spans[0][0] if answers[0] != everyone[0] else 0
        for block in blocks:
            if block[1] > first:
                raise self._disagreement(block, "which is no answer")
        return spans

    def _meet(self, block: tuple[int, int], place: tuple[int, int]) -> bool:
        return bool(self.text[max(block[0], place[0]) : min(block[1], place[1])].strip())

    def _agreed(
        self, index: int, place: tuple[int, int], own: Sequence[tuple[int, int]]
    ) -> tuple[int, int]:
        """An answer that rendering has found, as the blocks that meet it say it."""
        answer = f"the answer (message {index}) is {_short(self.text[slice(*place)])}"
        if not own:
            raise DataError(
                f"the chat template of {self.render.name} has {{% generation %}} blocks, and none "
                f"for message {index}: {answer}",
                where=self.where,
                fix='say "train": false in that message if it is not to be learnt, or name a '
                "template (--template) whose blocks hold every answer",
            )
        (start, stop), (begins, ends) = (own[0][0], own[-1][1]), place
        content = self.messages[index]["content"].strip()
        inside = self.text[start:stop]
        cut = content in self.text[begins:ends] and content not in inside
        asked = self.messages[index - 1]["content"].strip()
        early = start < begins and asked in self.text[:begins] and asked not in self.text[:start]
        if cut or early or self.text[ends:stop].strip():
            raise self._disagreement((start, stop), answer)
        return (start if self.text[begins:start].strip() else begins), ends

    def _alone(self, index: int, block: tuple[int, int], last: int) -> tuple[int, int]:
        """An answer that only its block knows, with the end of its turn behind it."""
        start, stop = block
        inside = self.text[start:stop].rstrip()
        content = self.messages[index]["content"].strip()
        # A thought may have been taken out of it, or marks have been written around it.
        kept = self.render.special_pattern.sub("", inside).strip()
        if content and (not kept or kept not in content) and content.splitlines()[-1] not in inside:
            answer = f"the answer (message {index}) is {_short(content)}"
            raise self._disagreement(block, answer)
        stop = start + len(inside)
        start += self._mark_in(inside, index)
        if index == len(self.messages) - 1:
            return start, len(self.text.rstrip())
        # What ends the last turn ends the others: a mark that begins the next one is never taken.
        end = self.render.special_pattern.match(self.text, last)
        if end and (again := re.compile(re.escape(end[0])).match(self.text, stop)):
            return start, again.end()
        return start, stop

    def _mark_in(self, inside: str, index: int) -> int:
        """How much of a block is the mark that asks for the answer, which is not learnt."""
        try:
            before, prompt = (
                self.render(self.messages[:index], add_generation_prompt=asks, tools=self.tools)
                for asks in (False, True)
            )
        except DataError:
            return 0
        # What ends a text (EOS) may stand behind what the prompt goes on from.
        before = re.sub(rf"(?:{self.render.special_pattern.pattern})+\s*\Z", "", before)
        tail = prompt.removeprefix(before)
        for at in range(len(tail)):
            pairs = zip(tail[at:], inside, strict=False)
            shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            begins = self.render.special_pattern.match(tail, at)
            whole = at + shared == len(tail) or (begins and at + shared >= begins.end())
            if whole and inside[:shared].strip():
                return shared
        return 0

    def _disagreement(self, block: tuple[int, int], answer: str) -> DataError:
        return DataError(
            f"a {{% generation %}} block of the chat template of {self.render.name} holds "
            f"{_short(self.text[slice(*block)])}; {answer}",
            where=self.where,
            fix="name a template (--template) whose blocks hold the answers and nothing else, or "
            "take the blocks out of it: answers are then found by what is written around them",
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} … {text[-_SHOWN // 2 :]}")
