"""Plain text, dialogues in one string, and pairs of answers from other projects' data."""

from __future__ import annotations

import math
from typing import Any

import pytest

from anima_core.config.core import Format as FormatNames
from anima_core.config.text import literals
from anima_core.contracts import Record
from anima_core.data.formats import FORMATS, Example, Kind, detect, named, to_example
from anima_core.errors import DataError, UsageError


def make(fields: dict[str, Any], kind: Kind = "completion", known: str = "") -> Example:
    return to_example(Record(fields, "x.jsonl", 7), kind, named(known, kind) if known else None)


def brief(messages: Any) -> list[tuple[str, str]]:
    return [(m["role"][0], m["content"]) for m in messages]


HH = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: how?\n\nAssistant: "
LONGCHAT = "USER: I would like to talk. \n ASSISTANT: Sure.\nWhat? \n USER: Great, bye."
QA = [("u", "q"), ("a", "r")]


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"input": "q", "output": "r"}, "input-output", QA),
        ({"source": "long", "target": "r"}, "long-data", [("u", "long"), ("a", "r")]),
        (
            {"prompt": "Name it.\n\nOutput:", "completion": " A cat.<|endoftext|>"},
            "self-instruct",
            [("u", "Name it."), ("a", "A cat.")],
        ),
        ({"prompt": "The Output:", "completion": " r"}, "prompt-completion", None),
        ({"text": "<human>: q\n<bot>: r"}, "chip2", QA),
        (
            {"text": "### Human: q\nq2### Assistant: r\n1### Human: s### Assistant: t\n"},
            "oasst",
            [("u", "q\nq2"), ("a", "r\n1"), ("u", "s"), ("a", "t")],
        ),
        ({"text": HH + "so"}, "hh-rlhf-text", [*[("u", "hi"), ("a", "hello")], ("u", "how?"),
                                               ("a", "so")]),
        (
            {"text": LONGCHAT},
            "user-assistant",
            [("u", "I would like to talk."), ("a", "Sure.\nWhat?")],
        ),
    ],
)  # fmt: skip
def test_completions(
    fields: dict[str, Any], name: str, expected: list[tuple[str, str]] | None
) -> None:
    example = make(fields)
    assert example.format == name
    if expected is not None:
        assert brief(example.messages) == expected
    assert detect(fields) == named(name, "completion")


@pytest.mark.parametrize(
    "text",
    [
        "Once upon a time.\n",
        "A line\n<human>: q\n<bot>: r",
        "### Human: a question without an answer",
        "ASSISTANT: hm\nUSER: hm",
        "The Human: a study. Assistant: none.",
    ],
)
def test_other_text_is_plain(text: str) -> None:
    example = make({"text": text})
    assert (example.format, example.text, example.messages) == ("text", text, ())


def test_what_was_read_otherwise_is_said() -> None:
    (remark,) = make({"text": "<human>: q\n<bot>: r"}).remarks
    assert "<human>:" in remark
    assert "--format text" in remark
    assert len(make({"text": LONGCHAT}).remarks) == 2
    assert make({"text": "USER: q\nASSISTANT: r\nUSER:"}).remarks == (
        make({"text": "USER: q\nASSISTANT: r"}).remarks
    )
    (remark,) = make({"prompt": "a\nOutput:", "completion": "b"}).remarks
    assert "--format prompt-completion" in remark
    assert make({"prompt": "a", "completion": "b"}).remarks == ()


def test_a_named_format_overrides_what_the_fields_say() -> None:
    fields = {"text": "<human>: q\n<bot>: r", "prompt": "a\nOutput:", "completion": " b"}
    assert make(fields, known="text").text == fields["text"]
    assert brief(make(fields, known="prompt-completion").messages)[0] == ("u", "a\nOutput:")
    assert brief(make(fields, known="chip2").messages) == QA
    with pytest.raises(DataError, match="found the fields text, prompt, completion, expected") as e:
        make(fields, known="alpaca")
    assert "instruction + output" in e.value.what
    judged = {"prompt": "q", "completion": "r", "label": False}
    assert make(judged, known="prompt-completion").format == "prompt-completion"


def test_long_data_is_read_from_a_prompt_and_completion_too_where_it_is_named() -> None:
    asked = {"prompt": "q", "completion": "r"}
    assert make(asked).format == "prompt-completion"
    example = make(asked, known="long-data")
    assert (example.format, brief(example.messages)) == ("long-data", QA)
    both = make({"source": "q", "target": "r", "prompt": "other"})
    assert brief(both.messages) == QA
    assert both.remarks == ("prompt not read: source and target are there",)
    with pytest.raises(DataError, match=r"source \+ target, or prompt \+ completion"):
        make({"text": "a"}, known="long-data")


def test_the_option_offers_the_formats_that_are_known() -> None:
    assert set(literals(FormatNames)) == {known.name for known in FORMATS}
    assert len({known.name for known in FORMATS}) == len(FORMATS)
    with pytest.raises(UsageError, match="no such format"):
        named("alpacca", "completion")
    with pytest.raises(UsageError, match="learns from completion"):
        named("hh-rlhf", "completion")


def test_a_dialogue_with_a_beginning_of_its_own_can_be_named() -> None:
    fields = {"text": "A chat between two.\nUSER: q\nASSISTANT: r"}
    assert make(fields).format == "text"
    messages = make(fields, known="user-assistant").messages
    assert brief(messages) == [("s", "A chat between two."), *QA]


@pytest.mark.parametrize(
    ("text", "known", "what"),
    [
        ("<human>: q\n<bot>:  \n<human>: s", "", "an empty turn 2 of the assistant"),
        ("<human>: q\n<human>: s\n<bot>: r", "", "a second message by 'user' in a row"),
        ("no marks at all", "chip2", "no answer"),
        (" ", "", "'text': found empty text"),
    ],
)
def test_malformed_dialogues(text: str, known: str, what: str) -> None:
    with pytest.raises(DataError, match="field 'text") as caught:
        make({"text": text}, known=known)
    assert what in caught.value.what


def test_hh_rlhf_parts_at_whole_turns() -> None:
    example = make({"chosen": HH + "well, yes", "rejected": HH + "well, no"}, "preference")
    assert example.format == "hh-rlhf"
    assert brief(example.messages) == [("u", "hi"), ("a", "hello"), ("u", "how?")]
    assert brief(example.chosen) == [("a", "well, yes")]
    assert brief(example.rejected) == [("a", "well, no")]


def test_hh_rlhf_whose_users_differ_is_refused() -> None:
    other = HH.replace("how?", "why?")
    with pytest.raises(DataError, match="the first difference in a message by 'user'"):
        make({"chosen": HH + "a", "rejected": other + "b"}, "preference")


def test_unpaired_feedback_is_named_and_refused() -> None:
    fields = {"prompt": "q", "completion": "r", "label": True}
    for kind in ("completion", "preference"):
        with pytest.raises(DataError, match="unpaired feedback") as caught:
            make(fields, kind)
        assert "--kto" in caught.value.fix
    example = make(fields, "unpaired")
    assert (example.label, brief(example.messages)) == (True, QA)
    assert make({**fields, "label": "False"}, "unpaired").label is False
    assert make({**fields, "label": "positive"}).format == "prompt-completion"
    assert make({**fields, "label": 1}).format == "prompt-completion"


@pytest.mark.parametrize(("label", "good"), [(1, True), (0, False), (0.0, False), (" 1 ", True)])
def test_a_number_is_a_verdict_where_one_is_asked_for(label: object, good: bool) -> None:
    example = make({"prompt": "q", "completion": "r", "label": label}, "unpaired")
    assert (example.label, example.format) == (good, "unpaired")


def test_a_verdict_beside_fields_that_have_none_is_not_called_wrong() -> None:
    with pytest.raises(DataError, match="expected prompt") as caught:
        make({"instruction": "q", "output": "r", "label": True}, "unpaired")
    assert "--columns" in caught.value.fix
    assert "found true" not in str(caught.value)


@pytest.mark.parametrize("label", [2, "positive", math.nan, [True], 10**400])
def test_a_label_that_is_no_verdict_is_said_to_be_none(label: object) -> None:
    fields = {"prompt": "q", "completion": "r", "label": label}
    with pytest.raises(DataError, match=r"label': found .*expected true or false") as caught:
        make(fields, "unpaired")
    assert "--columns label=COLUMN" in caught.value.fix


@pytest.mark.parametrize(
    ("fields", "fix"),
    [
        ({"TOPIC": "x", "CONVERSATION": LONGCHAT}, "--columns text=CONVERSATION"),
        ({"dialog": [{"from": "human", "value": "q"}]}, "--columns messages=dialog"),
        ({"Question": "q", "Answer": "r"}, "--columns prompt=Question --columns completion=Answer"),
        ({"id": 3, "content": "long"}, "--columns text=content"),
    ],
)
def test_other_fields_are_refused_with_the_mapping_that_reads_them(
    fields: dict[str, Any], fix: str
) -> None:
    with pytest.raises(DataError, match="found the fields") as caught:
        make(fields)
    assert fix in caught.value.fix


def test_a_long_conversation_can_be_read_in_two_ways() -> None:
    with pytest.raises(DataError) as caught:
        make({"TOPIC": "x", "CONVERSATION": LONGCHAT})
    assert "--format text" in caught.value.fix
    with pytest.raises(DataError, match="in a row") as caught:
        make({"text": "USER: a\n ASSISTANT: b USER: c\n ASSISTANT: d"})
    assert "--format text" in caught.value.fix


@pytest.mark.parametrize(
    ("fields", "what", "fix"),
    [
        ({"prompt": "q"}, "'completion' or 'response' is missing: found the fields prompt", ""),
        ({"instruction": "q", "input": ""}, "'output' is missing", ""),
        ({"prompt": "q", "completion": None}, "found the fields prompt, completion (nothing)", ""),
        (
            {"prompt": "q", "complation": "r"},
            "'completion' or 'response' is missing",
            "if 'complation' holds it: --columns completion=complation",
        ),
    ],
)
def test_a_record_that_misses_one_field(fields: dict[str, Any], what: str, fix: str) -> None:
    with pytest.raises(DataError) as caught:
        make(fields)
    assert what in caught.value.what
    assert "messages" not in caught.value.what
    assert caught.value.fix == fix


def test_what_is_no_text_says_what_to_do() -> None:
    with pytest.raises(DataError) as caught:
        make({"prompt": 3, "completion": "r"})
    assert "--columns prompt=COLUMN" in caught.value.fix
    with pytest.raises(DataError, match="found bytes \\(an image"):
        make({"prompt": {"bytes": "x", "path": "a.png"}, "completion": "r"})


def test_an_unknown_record_without_a_hint() -> None:
    with pytest.raises(DataError) as caught:
        make({"a": 1})
    assert caught.value.fix == "say with --columns FIELD=COLUMN which column holds what"


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ({"type": "image_url", "image_url": {"url": "x"}}, "a part of type 'image_url'"),
        ({"type": "input_audio", "input_audio": {}}, "a part of type 'input_audio'"),
        ({"type": "image"}, "a part of type 'image'"),
    ],
)
def test_parts_that_are_no_text_are_refused_by_name(part: dict[str, Any], what: str) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "see"}, part]}]
    with pytest.raises(DataError) as caught:
        make({"messages": [*messages, {"role": "assistant", "content": "r"}]})
    assert what in caught.value.what
    assert "messages[0].content[1]" in caught.value.what


def say(roles: str) -> list[dict[str, str]]:
    names = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    return [{"role": names[r], "content": f"m{i}"} for i, r in enumerate(roles)]


@pytest.mark.parametrize(
    ("roles", "what"),
    [
        ("uua", "'messages[1]': found a second message by 'user' in a row"),
        ("uaa", "'messages[2]': found a second message by 'assistant' in a row"),
        ("uasua", "'messages[2]': found a system message, expected none after the first"),
        ("uta", "'messages[1]': found a tool's answer, expected a message with tool_calls"),
    ],
)
def test_roles_out_of_order_are_refused(roles: str, what: str) -> None:
    with pytest.raises(DataError) as caught:
        make({"messages": say(roles)})
    assert what in caught.value.what


@pytest.mark.parametrize("kind", ["completion", "preference"])
def test_a_prompt_that_ends_with_an_answer_is_refused(kind: Kind) -> None:
    fields = {"prompt": say("ua"), "completion": "r", "chosen": "c", "rejected": "d"}
    with pytest.raises(DataError, match="the prompt ends with an assistant's message"):
        make(fields, kind)


@pytest.mark.parametrize(
    ("flags", "learnt"),
    [
        ({"train": False}, False),
        ({"train": 0}, False),
        ({"weight": 0}, False),
        ({"weight": 1, "train": True}, True),
        ({"weight": 1, "train": False}, False),
        ({}, True),
    ],
)
def test_flags_of_messages(flags: dict[str, Any], learnt: bool) -> None:
    messages: list[dict[str, Any]] = [*say("ua"), *say("ua")]
    messages[1] |= flags
    found = make({"messages": messages}).messages
    assert found[1].get("train", True) is learnt
    assert "train" not in found[3]


def test_flags_that_say_something_else_are_refused() -> None:
    messages: list[dict[str, Any]] = [*say("ua")]
    messages[1]["train"] = 0.5
    with pytest.raises(DataError, match=r"'messages\[1\].train': found the number 0.5") as caught:
        make({"messages": messages})
    assert "how much it counts is its 'weight'" in caught.value.fix
    messages = [{**say("u")[0], "train": True}, say("a")[0]]
    with pytest.raises(DataError, match="by 'user'") as caught:
        make({"messages": messages})
    assert "--train-on all" in caught.value.fix


@pytest.mark.parametrize("weight", [0.5, 2, 3.0, 1e-3])
def test_a_message_may_have_a_weight(weight: float) -> None:
    messages: list[dict[str, Any]] = [*say("ua"), *say("ua")]
    messages[1]["weight"] = weight
    found = make({"messages": messages}).messages
    assert found[1]["weight"] == weight
    assert "weight" not in found[3]


@pytest.mark.parametrize(
    "weight", [-1, -0.5, float("nan"), float("inf"), 10**400, "2", True, [1], {"a": 1}]
)
def test_a_weight_that_is_no_number_of_0_or_more_is_refused(weight: object) -> None:
    messages: list[dict[str, Any]] = [*say("ua")]
    messages[1]["weight"] = weight
    with pytest.raises(DataError, match=r"'messages\[1\].weight'.*a finite number of 0 or more"):
        make({"messages": messages})


def test_nobody_elses_message_has_a_weight() -> None:
    messages: list[dict[str, Any]] = [*say("ua")]
    messages[0]["weight"] = 0.5
    with pytest.raises(DataError, match="0 or nothing in a message by 'user'"):
        make({"messages": messages})
