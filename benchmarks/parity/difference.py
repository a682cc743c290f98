"""What tells two preparations of one sequence apart, and why.

Every cause is checked on the tokens themselves: a difference that none of them accounts for is
unexplained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

TAIL = "TRL teaches white space that the template writes behind the last end-of-turn token"
UNTAUGHT = "TRL keeps, untaught, white space that the template writes behind the last end-of-turn"
BETWEEN = "TRL teaches white space that the template writes behind an earlier end-of-turn token"
EOS = "Anima ends with EOS where the template leaves the last turn open"
MERGED = "TRL teaches the prompt's end, which has other tokens before an answer than by itself"
LEFT_OUT = "Anima leaves out a pair of equal answers, which prefers nothing"
CUT = "over the limit: TRL cuts the answer's end, Anima the earliest turns and words of the prompt"
DROPPED = "over the limit: TRL drops it, its prompt alone filling that; Anima keeps the answer"
FILLED = "over the limit: a whole answer leaves no room to ask; Anima drops the record, TRL cuts it"
UNEXPLAINED = "unexplained"

ENDS = (TAIL, UNTAUGHT)
LIMITS = (CUT, DROPPED, FILLED)

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Prepared:
    """A sequence as one side prepares it.

    Attributes:
        ids: token ids.
        mask: for each, 1 if it is taught.
        alone: of TRL's, the token at which the prompt, tokenised without an answer, parts from the
            same with one; -1 if it does not.
        rest: the prompt's text from there on.
        frame: of TRL's, how many tokens the shortest prompt has.
    """

    ids: list[int]
    mask: list[int]
    alone: int = -1
    rest: str = ""
    frame: int = 0

    def up_to(self, count: int) -> Prepared:
        """Its first tokens."""
        return replace(self, ids=self.ids[:count], mask=self.mask[:count])

    def taught(self) -> list[int]:
        """The tokens that are taught."""
        return [token for token, taught in zip(self.ids, self.mask, strict=True) if taught]


def causes(anima: Prepared, trl: Prepared, *, decode: Decode, eos: int) -> list[str]:
    """Why two preparations differ; nothing when they do not.

    Args:
        anima: Anima's.
        trl: TRL's.
        decode: ids to text, nothing left out.
        eos: id of the token that ends an answer.
    """
    found: list[str] = []
    rest = trl.ids[len(anima.ids) :]
    if rest and trl.ids[: len(anima.ids)] == anima.ids and not decode(rest).strip():
        found.append(TAIL if any(trl.mask[len(anima.ids) :]) else UNTAUGHT)
        trl = trl.up_to(len(anima.ids))
    elif anima.ids == [*trl.ids, eos] and anima.mask[-1]:
        found.append(EOS)
        anima = anima.up_to(len(trl.ids))
    if anima.ids != trl.ids:
        return [UNEXPLAINED]
    begin = anima.mask.index(1)
    own = decode(anima.ids[trl.alone : begin])
    merged = range(trl.alone, begin) if own and trl.rest.startswith(own) else range(0)
    reasons = set()
    for at, (ours, theirs) in enumerate(zip(anima.mask, trl.mask, strict=True)):
        blank = not decode(anima.ids[at : at + 1]).strip() and anima.ids[at - 1] == eos
        if theirs > ours:
            reasons.add(MERGED if at in merged else BETWEEN if blank else UNEXPLAINED)
        elif ours > theirs:
            reasons.add(UNEXPLAINED)
    return [*found, *sorted(reasons)]


def over(
    anima: Prepared | None, trl: Prepared | None, whole: Sequence[Prepared], limit: int
) -> list[str]:
    """Why two preparations of a sequence that is over a limit differ.

    Args:
        anima: Anima's under the limit, or None if there is none.
        trl: TRL's under the limit, or None if there is none.
        whole: TRL's without a limit: the sequence, and the other answers of its record.
        limit: tokens.
    """
    own = whole[0]
    if trl is None and own.mask.index(1) < limit:
        return [UNEXPLAINED]
    if trl is not None and trl.ids != own.ids[:limit]:
        return [UNEXPLAINED]
    if anima is None:
        return [FILLED] if any(p.frame + sum(p.mask) > limit for p in whole) else [UNEXPLAINED]
    kept = anima.taught()  # all of the answer, but for what the template writes behind it
    taught = own.taught()
    if len(anima.ids) > limit or kept != taught[: len(kept)] or len(taught) > len(kept) + 1:
        return [UNEXPLAINED]
    return [DROPPED] if trl is None else [CUT]
