"""What both sides wrote, sequence by sequence, and the counts of what was found."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from difference import ENDS, LEFT_OUT, LIMITS, UNEXPLAINED, Prepared, causes, over
from tokenizers import Tokenizer

Key = tuple[int, str]
CLASSES = ("equal", "end", "limit", "other", UNEXPLAINED)


@dataclass
class Outcome:
    """What one comparison found.

    Attributes:
        name: of the case.
        sequences: how many sequences either side has.
        classes: how many are equal (in every id and every bit of the mask), and how many differ at
            their end alone, by the limit, otherwise, or for no known cause.
        causes: how many differ by each cause.
        examples: by cause, the first sequence that shows it.
    """

    name: str
    sequences: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    HEAD = (
        "| case | sequences | equal | equal but for white space behind the last end-of-turn | "
        "over the limit | other, explained | unexplained |\n|---|---|---|---|---|---|---|"
    )

    @property
    def unexplained(self) -> int:
        """How many sequences differ for no known cause."""
        return self.classes[UNEXPLAINED]

    def add(self, found: list[str], shown: str) -> None:
        """Count a sequence and what tells its two preparations apart."""
        self.sequences += 1
        self.classes[_class(found)] += 1
        self.causes.update(found)
        for cause in found:
            self.examples.setdefault(cause, shown)

    def row(self) -> str:
        """A line of the table."""
        counts = (self.classes[name] for name in CLASSES)
        return f"| {' | '.join(map(str, (self.name, self.sequences, *counts)))} |"

    def told(self) -> str:
        """The causes, each with its number and an example."""
        lines = [f"{self.name}: {self.classes['equal']} of {self.sequences} sequences equal"]
        for cause, count in self.causes.most_common():
            lines.append(f"  {count} × {cause}\n      e.g. {self.examples[cause]}")
        return "\n".join(lines)


def _class(found: list[str]) -> str:
    if not found:
        return "equal"
    if UNEXPLAINED in found:
        return UNEXPLAINED
    if set(found) <= set(ENDS):
        return "end"
    return "limit" if set(found) & set(LIMITS) else "other"


def compare(name: str, folder: Path, *, limit: int | None) -> Outcome:
    """Compare what both sides wrote into a folder."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    config = json.loads((folder / "tokenizer" / "tokenizer_config.json").read_text("utf-8"))
    eos = config["eos_token"]
    eos_id = tokenizer.token_to_id(eos if isinstance(eos, str) else eos["content"]) or 0
    anima, trl = read(folder / "anima.jsonl"), read(folder / "trl.jsonl")
    cut = read(folder / "trl-cut.jsonl") if limit else trl
    outcome = Outcome(name)

    def decode(ids: Any) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=False))

    for key in sorted(anima.keys() | trl.keys()):
        ours, theirs, whole = _prepared(anima.get(key)), _prepared(cut.get(key)), _answers(trl, key)
        found = [UNEXPLAINED]
        if ours and theirs:
            found = causes(ours, theirs, decode=decode, eos=eos_id)
        elif len(whole) > 1 and whole[0].ids == whole[1].ids:
            found = [LEFT_OUT]
        if UNEXPLAINED in found and limit and max(len(p.ids) for p in whole) > limit:
            found = over(ours, theirs, whole, limit)
        outcome.add(found, _shown(key, anima.get(key), cut.get(key), decode))
    return outcome


def _answers(trl: dict[Key, dict[str, Any]], key: Key) -> list[Prepared]:
    """A sequence, and then the others of its record."""
    others = [(key[0], name) for name in ("chosen", "rejected") if name != key[1]]
    return [_whole(trl[k]) for k in (key, *others) if k in trl]


def read(file: Path) -> dict[Key, dict[str, Any]]:
    """A side's sequences by row and name."""
    lines = (json.loads(line) for line in file.read_text("utf-8").split("\n") if line)
    return {(line["row"], line["name"]): line for line in lines}


def _prepared(line: dict[str, Any] | None) -> Prepared | None:
    """A line that may not be there."""
    return _whole(line) if line else None


def _whole(line: dict[str, Any]) -> Prepared:
    known = ("alone", "rest", "frame")
    return Prepared(line["ids"], line["mask"], **{k: line[k] for k in known if k in line})


def _shown(key: Key, anima: Any, trl: Any, decode: Any) -> str:
    """The place and the ends of both."""
    sides = []
    for name, line in (("Anima", anima), ("TRL", trl)):
        end = f"…{decode(line['ids'][-4:])!r}, {sum(line['mask'])} taught" if line else "none"
        sides.append(f"{name} {end}")
    return f"record {key[0] + 1} {key[1]}: {'; '.join(sides)}"
