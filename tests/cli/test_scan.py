"""Options are told from values before their parser exists."""

from __future__ import annotations

import pytest

from anima_core.cli.scan import flags

VALUED = {"--steps", "--config", "-o"}


def scan(line):
    found = flags(line.split(), lambda name, _word: name in VALUED)
    return [(flag.name, flag.value) for flag in found]


LINES = {
    "m d --dpo": [("--dpo", None)],
    "m --steps --dpo": [("--steps", "--dpo")],
    "--steps=4 --dpo": [("--steps", "4"), ("--dpo", None)],
    "--dpo -- --lora": [("--dpo", None)],
    "-o --dpo --lora": [("-o", "--dpo"), ("--lora", None)],
    "-oout --lora": [("-o", "out"), ("--lora", None)],
    "--a:b.c=x=y -": [("--a:b.c", "x=y")],
    "--config": [("--config", None)],
    "": [],
}


@pytest.mark.parametrize("line", LINES)
def test_flags_and_values(line):
    assert scan(line) == LINES[line]
