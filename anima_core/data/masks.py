"""The tokens of a text, and which of them are targets.

A dialogue is tokenised once, as a whole, with the place of every token in the text; a token is
a target if it overlaps an answer. Padding and EOS ids play no part in that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from anima_core.batch import Role, TokenSegment
from anima_core.data.chat import Renderer
from anima_core.data.spans import Rendered


@dataclass(frozen=True)
class Tokens:
    """One text's tokens.

    Attributes:
        ids: token ids.
        weights: the weight of each in the loss; 0 where it is no target.
        stops: for each, where in the text it ends.
    """

    ids: list[int]
    weights: list[float]
    stops: list[int]

    def segment(self, role: Role, start: int, parent: int = -1) -> TokenSegment:
        """The tokens from `start` on; nothing predicts a root's first token."""
        weights = self.weights[start:]
        if parent < 0 and weights:
            weights[0] = 0.0
        own = tuple(weight or 1.0 for weight in weights) if {*weights} - {0.0, 1.0} else ()
        supervised = tuple(map(bool, weights))
        return TokenSegment(tuple(self.ids[start:]), supervised, role, parent, own)


def tokenize(render: Renderer, texts: Sequence[Rendered]) -> list[Tokens]:
    """Tokenise some texts with one call, and weigh their tokens by the parts that are learnt."""
    if not texts:
        return []
    encoded = render.tokenizer(
        [rendered.text for rendered in texts],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    rows = zip(encoded["input_ids"], encoded["offset_mapping"], texts, strict=True)
    return [_masked(render, ids, offsets, rendered) for ids, offsets, rendered in rows]


def _masked(
    render: Renderer, ids: list[int], offsets: list[tuple[int, int]], rendered: Rendered
) -> Tokens:
    starts = [start for start, _ in offsets]
    stops = [stop for _, stop in offsets]
    weights = [0.0] * len(ids)
    for start, stop, weight in rendered.spans:
        # Tokenizers that trim offsets give white space no width: it counts where it ends.
        first, end = bisect_right(stops, start), bisect_left(starts, stop)
        if first and _reaches_over(render, ids[first - 1], rendered.text, stops[first - 1], start):
            first -= 1
            stops[first] = start + 1
        weights[first:end] = [weight] * max(end - first, 0)
    if not _ends(render, ids, starts, rendered):
        # The template leaves the turn open; without EOS the model would never learn to stop.
        ids, stops = [*ids, render.eos_id], [*stops, len(rendered.text)]
        last = [span.weight for span in rendered.spans if span.stop == len(rendered.text)]
        weights.append(last[-1] if last else 0.0)
    return Tokens(ids, weights, stops)


def _ends(render: Renderer, ids: Sequence[int], starts: Sequence[int], rendered: Rendered) -> bool:
    """Whether the last token says that the text ends: a special one, written by the template."""
    if not ids or rendered.plain:
        return bool(ids) and ids[-1] == render.eos_id
    return render.special.get(ids[-1]) == rendered.text[starts[-1] :].strip()


def _reaches_over(render: Renderer, token: int, text: str, stop: int, boundary: int) -> bool:
    r"""Whether a token has taken in an answer's first space, which its trimmed offsets hide.

    Byte-level tokenizers write a space as ``Ġ``: with them ``"\n\n "`` may be one token, whose
    offsets end before the space.
    """
    before, after = text[boundary - 1 : boundary], text[boundary : boundary + 1]
    if stop != boundary or before == " " or after != " ":
        return False
    return str(render.tokenizer.convert_ids_to_tokens(token)).endswith("Ġ")
