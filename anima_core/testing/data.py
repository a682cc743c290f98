"""Random examples, and the batch that the core would make of them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anima_core.batch import EncodedExample, Role, TokenSegment

if TYPE_CHECKING:
    from anima_core.batch import Batch
    from anima_core.data.formats import Kind


def random_examples(
    kind: Kind,
    count: int,
    seed: int = 0,
    *,
    vocab: int = 320,
    longest: int = 14,
    weighted: bool = False,
    weighted_tokens: bool = False,
    mismatched: bool = False,
) -> list[EncodedExample]:
    """Random examples of the shapes that a loss meets.

    Args:
        kind: ``completion``: one root segment with an unsupervised prefix and sometimes a gap
            further on (a conversation of several turns). ``preference``: a prompt and a chosen
            and a rejected answer that continue it. ``unpaired``: a prompt and one answer; the
            first is a good one, the second a bad one.
        count: how many.
        seed: the same seed gives the same examples.
        vocab: ids are drawn from ``range(vocab)``.
        longest: longest prompt, and longest answer, in tokens; at least 3. The first example has
            one token of prompt and of answer, the second the longest.
        weighted: draw each weight from [0.5, 2) instead of 1.
        weighted_tokens: draw a weight of each token of an answer too, as messages have them;
            completions only. All else is as without.
        mismatched: put another answer behind each prompt of unpaired examples, as for a loss with
            ``mismatched = True``; the third example has none.

    Returns:
        The examples; `file` is ``"random"`` and `line` counts from 1.
    """
    rng = random.Random(f"{kind}/{seed}")  # noqa: S311 - test data, not a secret
    examples = []
    for number in range(count):
        fixed = {0: 1, 1: longest}.get(number)
        prompt = fixed or rng.randint(1, longest)
        segments: tuple[TokenSegment, ...]
        if kind == "completion":
            answer = fixed or rng.randint(1, longest)
            mask = [False] * prompt + _mask(rng, answer)
            segments = (_segment(rng, vocab, mask, Role.COMPLETION),)
        else:
            roles = _roles(rng, kind, number, mismatched=mismatched)
            segments = (
                _segment(rng, vocab, [False] * prompt, Role.PROMPT),
                *(
                    _segment(rng, vocab, _mask(rng, size or rng.randint(1, longest)), role, 0)
                    for role, size in zip(roles, (fixed, None), strict=False)
                ),
            )
        weight = rng.uniform(0.5, 2) if weighted else 1.0
        if weighted_tokens and kind == "completion":
            segments = (_weighed(segments[0], f"{kind}/{seed}/{number}"),)
        examples.append(EncodedExample(segments, weight, "random", number + 1))
    return examples


def _roles(rng: random.Random, kind: Kind, number: int, *, mismatched: bool) -> list[Role]:
    """The answers that continue the prompt of an example."""
    if kind == "preference":
        return [Role.CHOSEN, Role.REJECTED]
    good = {0: True, 1: False}.get(number, rng.random() < 0.5)
    verdict = Role.CHOSEN if good else Role.REJECTED
    return [verdict, Role.MISMATCHED] if mismatched and number != 2 else [verdict]


def _mask(rng: random.Random, length: int) -> list[bool]:
    """Which of an answer's tokens are targets: all but a gap in its middle, which may be empty."""
    gap = sorted(rng.choices(range(1, length), k=2)) if length > 2 else [0, 0]
    return [not gap[0] <= index < gap[1] for index in range(length)]


def _segment(
    rng: random.Random, vocab: int, mask: list[bool], role: Role, parent: int = -1
) -> TokenSegment:
    ids = tuple(rng.randrange(vocab) for _ in mask)
    return TokenSegment(ids, tuple(mask), role, parent)


def _weighed(segment: TokenSegment, seed: str) -> TokenSegment:
    rng = random.Random(seed)  # noqa: S311 - test data, not a secret
    return replace(segment, weights=tuple(rng.uniform(0.5, 2) for _ in segment.ids))


def batch_of(examples: Sequence[EncodedExample], rows: Sequence[int] | None = None) -> Batch:
    """Lay examples end to end, as a run does.

    Args:
        examples: a data set.
        rows: which of them, in this order; all when None.
    """
    from anima_core.data.collate import collate

    return collate(examples, range(len(examples)) if rows is None else rows)


def write_data(path: Path, kind: Kind, count: int = 8) -> Path:
    """Write tiny training data as jsonl.

    Args:
        path: the file.
        kind: ``completion`` for rows of ``prompt`` and ``completion``, ``preference`` for rows
            of ``prompt``, ``chosen`` and ``rejected``, ``unpaired`` for rows of ``prompt``,
            ``completion`` and ``label``, which is true of every other one.
        count: how many rows.

    Returns:
        The file, to be named as DATA on a command line.
    """
    rows = []
    for number in range(count):
        good, bad = "yes " * (number % 3 + 1), "no " * (number % 2 + 1)
        row: dict[str, str | bool] = {"prompt": f"Is {number} a number?"}
        if kind == "preference":
            row |= {"chosen": good, "rejected": bad}
        elif kind == "unpaired":
            row |= {"completion": bad if number % 2 else good, "label": not number % 2}
        else:
            row |= {"completion": good}
        rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
