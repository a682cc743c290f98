"""The page of the data: where it may come from, and every format with a record in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from anima_core.data.formats import FORMATS
from anima_core.data.formats.known import EVERYWHERE, Format
from anima_core.data.read import READERS
from anima_reference.markdown import code, heading, prose, table

_HEAD = """# Data

DATA names one or more sources: a file, a folder (every readable file below it, in the order of
their names), a quoted pattern (`'data/*.jsonl'`), or a data set of the hub
(`owner/name`, `owner/name@config:split`). Files may be {suffixes}; the textual ones also
compressed (`.gz`, `.zst`). They are read as a stream, so none needs to fit into memory.

A record's format is told by its fields, record by record. `--format` names it instead,
`--columns FIELD=COLUMN` says which column holds a field, and `--fill NAME=VALUE` fills
`{{{{NAME}}}}` in texts. Fields that a format does not read are named in the plan. A record that
cannot be used is refused together with all the others, each with its file and line;
`--skip-bad-records` counts and lists them instead.

Every record may have a `weight` above 0: how much its example counts in the loss. So may each
message of the assistant: its tokens count by its weight times the record's, 0 or `"train": false`
leaves it out. A loss that counts all tokens of an example alike is refused such data. A pair of
answers may have a `margin` of 0 or more: by how much the chosen one is better, for losses that
look at it (`--reward`).

What is learnt of a dialogue is found by rendering it with the chat template up to each answer. A
template that marks its answers with `{{% generation %}}` must agree, and says where they are where
rendering cannot tell; the end of a turn is always learnt. The text of a special token
(`<|im_end|>`) in a record is read as the token itself, as everywhere in the field, and the plan
warns of it with the first places.
"""

_KINDS = {
    "completion": "An answer is learnt, or a whole text.",
    "preference": "Of two answers the one is preferred to the other; `--dpo`, `--orpo`, `--simpo`, "
    "`--cpo` and `--reward` learn from it.",
    "unpaired": "An answer with a verdict on it, `true` (or 1) for a good one and `false` (or 0) "
    "for a bad one: of a dialogue on all that follows the user's last words. `--kto` learns from "
    "it, and takes the two answers of a preference for a good one and a bad one. By 1 and 0 a "
    "record is recognised only where the loss asks for a verdict.",
}

_PAIR = {"chosen": "Four.", "rejected": "Five."}
_ASKED = {"role": "user", "content": "What is 2 + 2?"}
_ANSWER = {"role": "assistant", "content": "Four."}
_OTHER = {"role": "assistant", "content": "Five."}

RECORDS: Mapping[str, Mapping[str, Any]] = {
    "unpaired": {"prompt": "What is 2 + 2?", "completion": "Four.", "label": True},
    "dialogue-pairs": {"chosen": [_ASKED, _ANSWER], "rejected": [_ASKED, _OTHER]},
    "hh-rlhf": {
        "chosen": "\n\nHuman: What is 2 + 2?\n\nAssistant: Four.",
        "rejected": "\n\nHuman: What is 2 + 2?\n\nAssistant: Five.",
    },
    "sharegpt-preference": {
        "conversations": [{"from": "human", "value": "What is 2 + 2?"}],
        "chosen": {"from": "gpt", "value": "Four."},
        "rejected": {"from": "gpt", "value": "Five."},
    },
    "alpaca-preference": {"instruction": "Add the numbers.", "input": "2, 2", **_PAIR},
    "preference": {"prompt": "What is 2 + 2?", **_PAIR},
    "messages": {"messages": [{"role": "system", "content": "Be brief."}, _ASKED, _ANSWER]},
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": "What is 2 + 2?"},
            {"from": "gpt", "value": "Four."},
        ]
    },
    "alpaca": {"instruction": "Add the numbers.", "input": "2, 2", "output": "4"},
    "self-instruct": {
        "prompt": "Task: Add the numbers.\nInput: 2, 2\nOutput:",
        "completion": " 4<|endoftext|>",
    },
    "prompt-completion": {"prompt": "What is 2 + 2?", "completion": "Four."},
    "prompt-response": {"prompt": "What is 2 + 2?", "response": "Four."},
    "input-output": {"input": "What is 2 + 2?", "output": "Four."},
    "long-data": {"source": "A long report, and a question about it.", "target": "Its gist."},
    "chip2": {"text": "<human>: What is 2 + 2?\n<bot>: Four."},
    "oasst": {"text": "### Human: What is 2 + 2?### Assistant: Four."},
    "hh-rlhf-text": {"text": "\n\nHuman: What is 2 + 2?\n\nAssistant: Four."},
    "user-assistant": {"text": "USER: What is 2 + 2?\n ASSISTANT: Four."},
    "text": {"text": "Two and two are four, said the abacus."},
}
"""A record of each format."""


def formats_page() -> str:
    """Every format: its fields, and a record."""
    suffixes = ", ".join(f"`{name}`" for name in READERS if name.count(".") == 1)
    rows = [[f"[`{f.name}`](#{f.name})", f.kind, code(f.shape)] for f in FORMATS]
    parts = [_HEAD.format(suffixes=suffixes), table(["format", "kind", "fields"], rows)]
    for kind, text in _KINDS.items():
        parts += [f"## {kind.capitalize()}", text]
        for known in FORMATS:
            if known.kind == kind:
                parts += [heading(3, known.name, known.name), *_section(known)]
    return "\n\n".join(parts) + "\n"


def _section(known: Format) -> Iterator[str]:
    yield f"{prose(known.shape)}"
    also = ", ".join(code(field) for field in (*known.reads, *EVERYWHERE))
    yield f"Also read: {also}."
    record = json.dumps(RECORDS[known.name], ensure_ascii=False)
    yield f"```json\n{record}\n```"
