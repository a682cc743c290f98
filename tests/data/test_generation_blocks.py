"""Templates that mark answers themselves, held against what rendering finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from dialogues import decoded, runs, say
from transformers import PreTrainedTokenizerFast

from anima_core.data.chat import Renderer
from anima_core.data.formats import Example
from anima_core.data.template import encode, encode_completion, encode_preference
from anima_core.errors import DataError

Make = Callable[..., PreTrainedTokenizerFast]

OPEN = "{{ '<|im_start|>' + m.role + '\n' }}"
CLOSE = "{{ '<|im_end|>\n' }}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
THINKS = PROMPT.replace("assistant\n'", "assistant\n<think>\n'")
"""As DeepSeek-R1's: the prompt begins a thought that earlier answers are written without."""


def chatml(answer: str, *, other: str = "", prompt: str = PROMPT) -> str:
    """A template whose answers, marks included, are written by `answer`."""
    other = other or f"{OPEN}{{{{ m.content }}}}{CLOSE}"
    return (
        f"{{% for m in messages %}}{{% if m.role == 'assistant' %}}{answer}{{% else %}}{other}"
        f"{{% endif %}}{{% endfor %}}{prompt}"
    )


def marked(text: str) -> str:
    return f"{{% generation %}}{text}{{% endgeneration %}}"


CONTENT = "{{ m.content }}"
WHOLE = chatml(OPEN + marked(CONTENT + CLOSE))


@contextmanager
def templated(make: Make, template: str, kind: str = "bytes") -> Iterator[PreTrainedTokenizerFast]:
    tokenizer = make("chatml", kind)
    before, tokenizer.chat_template = tokenizer.chat_template, template
    try:
        yield tokenizer
    finally:
        tokenizer.chat_template = before


def learnt(make: Make, template: str, *turns: str) -> list[str]:
    with templated(make, template) as tokenizer:
        (segment,) = encode_completion(tokenizer, Example(say(*turns), "m", file="x.jsonl", line=7))
        return runs(tokenizer, segment)


def refused(make: Make, template: str, *turns: str) -> DataError:
    with pytest.raises(DataError) as caught:
        learnt(make, template, *turns)
    assert caught.value.where == "x.jsonl:7"
    return caught.value


TURNS = ("s:Be kind.", "u:Hello", "a:fine", "u:more", "a:- one\n- two")


@pytest.mark.parametrize(
    "answer",
    [
        marked(OPEN + CONTENT + CLOSE),  # the mark before the answer too
        OPEN + marked(CONTENT + CLOSE),
        OPEN + marked(CONTENT) + CLOSE,  # not even the end of the turn
        OPEN + marked("{{ m.content[:1] }}") + marked("{{ m.content[1:] }}") + CLOSE,
        OPEN + marked("") + marked(CONTENT) + CLOSE,
    ],
)
def test_wherever_a_block_ends_the_answer_and_the_end_of_its_turn_are_learnt(
    make_tokenizer: Make, answer: str
) -> None:
    template = chatml(answer)
    assert learnt(make_tokenizer, template, *TURNS) == ["fine<|im_end|>", "- one\n- two<|im_end|>"]


def test_what_a_template_does_not_mark_before_an_answer_is_not_learnt(
    make_tokenizer: Make,
) -> None:
    template = chatml(OPEN + "{{ '<think></think>' }}" + marked(CONTENT) + CLOSE)
    assert learnt(make_tokenizer, template, "u:a", "a:b", "u:c", "a:d") == [
        "b<|im_end|>", "d<|im_end|>"
    ]  # fmt: skip
    plain = template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    assert learnt(make_tokenizer, plain, "u:a", "a:b")[0].startswith("<think>")


def test_a_block_says_where_an_answer_is_if_rendering_cannot(make_tokenizer: Make) -> None:
    unmarked = chatml(OPEN + CONTENT + CLOSE, prompt=THINKS)
    assert "differently once more follows" in refused(make_tokenizer, unmarked, *TURNS).what
    for answer in (OPEN + marked(CONTENT + CLOSE), OPEN + marked(CONTENT) + CLOSE):
        template = chatml(answer, prompt=THINKS)
        assert learnt(make_tokenizer, template, *TURNS) == [
            "fine<|im_end|>", "- one\n- two<|im_end|>"
        ]  # fmt: skip


def test_a_thought_that_is_taken_out_of_earlier_turns(make_tokenizer: Make) -> None:
    last = "{% if loop.last %}{{ m.content }}{% else %}{{ m.content.split('</think>')[-1] }}"
    template = chatml(OPEN + marked(last + "{% endif %}" + CLOSE), prompt=THINKS)
    thought = "a:<think>\nhm</think>fine"
    # The last one's "<think>" is the prompt's.
    assert learnt(make_tokenizer, template, "u:a", thought, "u:b", thought) == [
        "fine<|im_end|>", "hm</think>fine<|im_end|>"
    ]  # fmt: skip


def test_a_mark_of_the_next_turn_is_never_taken_for_the_end_of_one(make_tokenizer: Make) -> None:
    open_ended = chatml(OPEN + marked(CONTENT), prompt=THINKS)  # writes nothing behind an answer
    assert learnt(make_tokenizer, open_ended, "u:a", "a:b", "u:c", "a:d") == [
        "b", "d<|im_end|>"
    ]  # fmt: skip


def test_pairs(make_tokenizer: Make) -> None:
    pair = Example(say("u:Hello", "a:fine", "u:one"), "p", say("a:two thanks"), say("a:two"))
    for prompt in (PROMPT, THINKS):
        template = chatml(OPEN + marked(CONTENT) + CLOSE, prompt=prompt)
        with templated(make_tokenizer, template) as tokenizer:
            asked, *answers = encode_preference(tokenizer, pair)
            assert decoded(tokenizer, asked.ids).endswith("<|im_start|>assistant\n")
            assert [runs(tokenizer, a) for a in answers] == [["two thanks<|im_end|>"],
                                                             ["two<|im_end|>"]]  # fmt: skip


@pytest.mark.parametrize("kind", ["trimmed", "metaspace"])
def test_other_tokenizers(make_tokenizer: Make, kind: str) -> None:
    masks = []
    for template in (WHOLE, chatml(OPEN + CONTENT + CLOSE)):
        with templated(make_tokenizer, template, kind) as tokenizer:
            masks.append(encode_completion(tokenizer, Example(say(*TURNS), "m")))
    assert masks[0] == masks[1]


@pytest.mark.parametrize(
    ("template", "block", "answer"),
    [
        # a user's words
        (chatml(OPEN + CONTENT + CLOSE, other=OPEN + marked(CONTENT) + CLOSE), "'a?'",
         "the answer (message 1) is 'b123<|im_end|>'"),
        # a user's words beside the answers
        (chatml(OPEN + marked(CONTENT) + CLOSE, other=marked(OPEN + CONTENT) + CLOSE),
         "'<|im_start|>user\\na?'", "no answer"),
        # half of the answer
        (chatml(OPEN + marked("{{ m.content[:2] }}") + "{{ m.content[2:] }}" + CLOSE),
         "'b1'", "'b123<|im_end|>'"),
        # the words that ask for it
        (chatml(CONTENT + marked(CLOSE), other=OPEN + CONTENT + CLOSE), "'<|im_end|>\\n'",
         "'b123'"),
    ],
)  # fmt: skip
def test_blocks_that_hold_something_else_are_refused(
    make_tokenizer: Make, template: str, block: str, answer: str
) -> None:
    error = refused(make_tokenizer, template, "u:a?", "a:b123", "u:c?", "a:d456")
    if "none for message 1" not in error.what:
        assert f"holds {block}; " in error.what
    assert answer in error.what
    assert "--template" in error.fix


def test_a_block_that_reaches_into_the_question_is_refused(make_tokenizer: Make) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}"
        + OPEN
        + "{% generation %}{{ m.content }}<|im_end|>\n<|im_start|>assistant\n"
        + "{{ messages[loop.index0 + 1].content }}{% endgeneration %}<|im_end|>\n"
        + "{% endif %}{% endfor %}"
    )
    asks = (
        "{% if add_generation_prompt %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n{% else %}"
    )
    error = refused(make_tokenizer, asks + template + "{% endif %}", "u:question?", "a:b123")
    assert "holds 'question?" in error.what
    assert "the answer (message 1) is 'b123<|im_end|>'" in error.what


def test_answers_without_a_block_are_refused_unless_they_are_not_learnt(
    make_tokenizer: Make,
) -> None:
    only_last = chatml(
        OPEN + "{% if loop.last %}" + marked(CONTENT) + "{% else %}{{ m.content }}{% endif %}"
        + CLOSE
    )  # fmt: skip
    error = refused(make_tokenizer, only_last, *TURNS)
    assert "none for message 2: the answer (message 2) is 'fine<|im_end|>'" in error.what
    assert '"train": false' in error.fix
    with templated(make_tokenizer, only_last) as tokenizer:
        example = Example(say(*TURNS), "m")
        ((segment,),) = encode(Renderer(tokenizer), [example], train_on="last")
        assert runs(tokenizer, segment) == ["- one\n- two<|im_end|>"]
        system, asked, answer, *rest = say(*TURNS)
        left_out = Example((system, asked, {**answer, "train": False}, *rest), "m")
        (segment,) = encode_completion(tokenizer, left_out)
        assert runs(tokenizer, segment) == ["- one\n- two<|im_end|>"]


def test_the_template_is_given_nothing_of_ours(make_tokenizer: Make) -> None:
    tells = chatml(OPEN + marked(CONTENT + "{{ m.weight }}{{ m.train }}" + CLOSE))
    asked, answer = say("u:a", "a:b")
    with templated(make_tokenizer, tells) as tokenizer:
        example = Example((asked, {**answer, "weight": 2.5}), "m")
        (segment,) = encode_completion(tokenizer, example)
        assert runs(tokenizer, segment) == ["b<|im_end|>"]
        assert set(segment.weights) == {1.0, 2.5}
