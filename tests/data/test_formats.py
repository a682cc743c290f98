from __future__ import annotations

from typing import Any

import pytest

from anima_core.contracts import Record
from anima_core.data.formats import Example, Kind, to_example
from anima_core.errors import DataError


def make(fields: dict[str, Any], kind: Kind = "completion") -> Example:
    return to_example(Record(fields, "x.jsonl", 7), kind)


def brief(messages: Any) -> list[tuple[str, str]]:
    return [(m["role"][0], m["content"]) for m in messages]


UA = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
GPT = {"from": "gpt", "value": "r"}
HUMAN = {"from": "human", "value": "q"}


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"prompt": "q", "completion": "r"}, "prompt-completion", [("u", "q"), ("a", "r")]),
        ({"prompt": "q", "response": " r "}, "prompt-response", [("u", "q"), ("a", " r ")]),
        ({"prompt": UA[:1], "completion": UA[1:]}, "prompt-completion", [("u", "q"), ("a", "r")]),
        (
            {"prompt": "q", "completion": "r", "system": "s"},
            "prompt-completion",
            [("s", "s"), ("u", "q"), ("a", "r")],
        ),
        ({"instruction": "i", "input": "", "output": "o"}, "alpaca", [("u", "i"), ("a", "o")]),
        ({"instruction": "i", "input": None, "output": "o"}, "alpaca", [("u", "i"), ("a", "o")]),
        ({"instruction": "i", "output": "o"}, "alpaca", [("u", "i"), ("a", "o")]),
        ({"instruction": "i", "input": "n", "output": "o"}, "alpaca", [("u", "i\nn"), ("a", "o")]),
        ({"instruction": "", "input": "n", "output": "o"}, "alpaca", [("u", "n"), ("a", "o")]),
        (
            {
                "instruction": "i",
                "output": "o",
                "system": "s",
                "history": [["q1", "r1"], ["q2", "r2"]],
            },
            "alpaca",
            [
                ("s", "s"),
                ("u", "q1"),
                ("a", "r1"),
                ("u", "q2"),
                ("a", "r2"),
                ("u", "i"),
                ("a", "o"),
            ],
        ),
        ({"messages": UA, "id": 3}, "messages", [("u", "q"), ("a", "r")]),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "2"}],
                    },
                    UA[1],
                ]
            },
            "messages",
            [("u", "q2"), ("a", "r")],
        ),
        ({"conversations": [HUMAN, GPT]}, "sharegpt", [("u", "q"), ("a", "r")]),
        (
            {"conversations": [{"from": "system", "value": "s"}, HUMAN, GPT], "system": ""},
            "sharegpt",
            [("s", "s"), ("u", "q"), ("a", "r")],
        ),
        (
            {
                "conversations": [
                    {"from": "user", "value": "q"},
                    {"from": "assistant", "value": "r"},
                ]
            },
            "sharegpt",
            [("u", "q"), ("a", "r")],
        ),
    ],
)
def test_completions(fields: dict[str, Any], name: str, expected: list[tuple[str, str]]) -> None:
    example = make(fields)
    assert (example.format, brief(example.messages)) == (name, expected)
    assert (example.chosen, example.rejected, example.weight) == ((), (), 1.0)
    assert (example.file, example.line) == ("x.jsonl", 7)


A = [{"role": "assistant", "content": "good"}]
B = [{"role": "assistant", "content": "bad"}]


@pytest.mark.parametrize(
    ("fields", "name", "prompt"),
    [
        ({"prompt": "q", "chosen": "good", "rejected": "bad"}, "preference", [("u", "q")]),
        ({"prompt": "q", "chosen": A[0], "rejected": B[0]}, "preference", [("u", "q")]),
        ({"prompt": UA[:1], "chosen": A, "rejected": B}, "preference", [("u", "q")]),
        (
            {"prompt": "q", "system": "s", "chosen": "good", "rejected": "bad"},
            "preference",
            [("s", "s"), ("u", "q")],
        ),
        (
            {"instruction": "i", "input": "n", "chosen": "good", "rejected": "bad"},
            "alpaca-preference",
            [("u", "i\nn")],
        ),
        (
            {
                "conversations": [HUMAN, GPT, HUMAN],
                "chosen": {"from": "gpt", "value": "good"},
                "rejected": {"from": "gpt", "value": "bad"},
            },
            "sharegpt-preference",
            [("u", "q"), ("a", "r"), ("u", "q")],
        ),
        (
            {"chosen": [*UA, UA[0], *A], "rejected": [*UA, UA[0], *B]},
            "dialogue-pairs",
            [("u", "q"), ("a", "r"), ("u", "q")],
        ),
        (
            {"prompt": "q", "chosen": [UA[0], *A], "rejected": [UA[0], *B], "messages": UA},
            "dialogue-pairs",
            [("u", "q")],
        ),
    ],
)
def test_preferences(fields: dict[str, Any], name: str, prompt: list[tuple[str, str]]) -> None:
    example = make(fields, "preference")
    assert (example.format, brief(example.messages)) == (name, prompt)
    assert brief(example.chosen) == [("a", "good")]
    assert brief(example.rejected) == [("a", "bad")]


def test_dialogues_that_part_early_keep_their_ends() -> None:
    example = make({"chosen": [UA[0], *A, *UA], "rejected": [UA[0], *B]}, "preference")
    assert brief(example.messages) == [("u", "q")]
    assert brief(example.chosen) == [("a", "good"), ("u", "q"), ("a", "r")]


def test_equal_dialogues_keep_an_answer_each() -> None:
    example = make({"chosen": UA, "rejected": UA}, "preference")
    assert example.chosen == example.rejected == (UA[1],)


@pytest.mark.parametrize(("value", "weight"), [(2, 2.0), (0.5, 0.5), ("1.5", 1.5), ("", 1.0)])
def test_weight(value: object, weight: float) -> None:
    assert make({"prompt": "q", "completion": "r", "weight": value}).weight == weight


@pytest.mark.parametrize("value", [0, -1, True, "much", [], float("nan"), float("inf"), 10**400])
def test_a_bad_weight_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="expected a number above 0"):
        make({"prompt": "q", "completion": "r", "weight": value})


def with_answer(message: object) -> dict[str, object]:
    return {"messages": [UA[0], message]}


@pytest.mark.parametrize(
    ("kind", "fields", "what"),
    [
        ("completion", {}, "found no fields, expected one of: prompt + completion"),
        ("completion", {"a": 1, "b": None}, "found the fields a, b (nothing), expected one of"),
        ("completion", {"prompt": "q", "completion": None}, "completion (nothing)"),
        ("completion", {"prompt": "q", "completion": ""}, "'completion': found empty text"),
        ("completion", {"prompt": "q", "completion": " \n"}, "'completion': found empty text"),
        ("completion", {"prompt": "", "completion": "r"}, "'prompt': found empty text"),
        ("completion", {"prompt": "q", "completion": 3}, "'completion': found the number 3"),
        ("completion", {"prompt": 1.5, "completion": "r"}, "'prompt': found the number 1.5"),
        ("completion", {"prompt": "q", "completion": UA}, "a first message by 'user'"),
        ("completion", {"prompt": "q", "completion": "\ud800"}, "half of a surrogate pair"),
        ("completion", {"instruction": "", "input": " ", "output": "o"}, "'instruction'"),
        ("completion", {"instruction": "i", "output": ["o"]}, "'output': found a list of 1"),
        ("completion", {"instruction": "i", "output": "o", "input": 3}, "'input': found the num"),
        ("completion", {"instruction": "i", "output": "o", "history": "h"}, "'history'"),
        ("completion", {"instruction": "i", "output": "o", "history": [["a"]]}, "'history[0]'"),
        ("completion", {"instruction": "i", "output": "o", "history": [["a", 1]]}, "history[0][1]"),
        ("completion", {"prompt": "q", "completion": "r", "system": 1}, "'system'"),
        ("completion", {"messages": []}, "'messages': found an empty list"),
        ("completion", {"messages": "hi"}, "'messages': found text 'hi', expected a list"),
        ("completion", {"messages": ["hi"]}, "'messages[0]': found text 'hi'"),
        ("completion", {"messages": UA[:1]}, "found a last message by 'user', expected one by the"),
        ("completion", {"messages": UA[1:]}, "begins with an assistant's message"),
        (
            "completion",
            with_answer({"content": "r"}),
            "'messages[1]': found an object with content",
        ),
        (
            "completion",
            with_answer({"role": "bot", "content": "r"}),
            "'messages[1].role': found te",
        ),
        ("completion", with_answer({"role": "assistant"}), "'messages[1].content': found nothing"),
        ("completion", with_answer({"role": "assistant", "content": ""}), "found empty text"),
        (
            "completion",
            with_answer({"role": "assistant", "content": [{"type": "image"}]}),
            "'messages[1].content[0]'",
        ),
        (
            "completion",
            with_answer({"role": "assistant", "content": "r", "tool_calls": [{}]}),
            "'messages[1].tool_calls[0]'",
        ),
        ("completion", {"messages": UA, "tools": [{"nome": "f"}]}, "'tools[0]'"),
        ("completion", {"messages": UA, "label": False}, "'label': a verdict"),
        ("completion", {"conversations": [HUMAN, {"from": "gpt"}]}, "'conversations[1].value'"),
        ("preference", {"prompt": "q", "chosen": "c"}, "expected one of: prompt + chosen"),
        ("preference", {"chosen": "c", "rejected": "r"}, "'prompt': found nothing"),
        ("preference", {"prompt": "q", "chosen": "", "rejected": "r"}, "'chosen': found empty"),
        ("preference", {"prompt": "q", "chosen": "c", "rejected": 1}, "'rejected': found the num"),
        ("preference", {"prompt": "q", "chosen": UA, "rejected": B}, "'chosen[0].role'"),
        ("preference", {"chosen": UA[:1], "rejected": UA}, "'chosen': found a last message by 'us"),
        (
            "preference",
            {"chosen": UA, "rejected": [{"role": "user", "content": "z"}, UA[1]]},
            "'chosen[0]': found the first difference in a message by 'user'",
        ),
    ],
)
def test_malformed_records_name_the_field(kind: Kind, fields: dict[str, Any], what: str) -> None:
    with pytest.raises(DataError) as caught:
        make(fields, kind)
    assert what in caught.value.what
    assert caught.value.where == "x.jsonl:7"


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"conversations": [HUMAN], "chosen": GPT, "rejected": GPT},
        {"chosen": UA, "rejected": UA},
    ],
)
def test_a_preference_given_to_a_completion_loss(fields: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="preference record") as caught:
        make(fields)
    assert "--dpo" in caught.value.fix


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "q", "completion": "r"},
        {"instruction": "i", "output": "o"},
        {"messages": UA},
        {"conversations": [HUMAN, GPT]},
    ],
)
def test_a_completion_given_to_a_preference_loss(fields: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="completion record") as caught:
        make(fields, "preference")
    assert "--sft" in caught.value.fix


def test_a_record_that_is_counted_says_so() -> None:
    with pytest.raises(DataError) as caught:
        to_example(Record({}, "x.parquet", 7), "completion")
    assert caught.value.where == "x.parquet:7 (record number)"
