"""Records of the two file types as chat messages. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

Messages = list[dict[str, str]]

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
"""ShareGPT's names of roles, and the chat template's."""


def prompt_and_answers(record: dict[str, Any]) -> tuple[Messages, list[Messages]]:
    """The prompt, and one answer (Alpaca) or two, the chosen first (ShareGPT preference)."""
    if "chosen" in record:
        prompt = [_message(turn) for turn in record["conversations"]]
        return prompt, [[_message(record["chosen"])], [_message(record["rejected"])]]
    asked = record["instruction"]
    if record.get("input"):
        asked = f"{asked}\n{record['input']}"
    answer = {"role": "assistant", "content": record["output"]}
    return [{"role": "user", "content": asked}], [[answer]]


def _message(turn: dict[str, str]) -> dict[str, str]:
    return {"role": ROLES[turn["from"]], "content": turn["value"]}
