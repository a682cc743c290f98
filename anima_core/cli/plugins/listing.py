"""`anima plugins list`: every strategy that is offered, each imported in isolation."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from anima_core.errors import AnimaError
from anima_core.registry.load import implemented, load_strategy
from anima_core.registry.offers import Offer, offers


@dataclass(frozen=True)
class PluginLine:
    """What is known of one offered strategy.

    Attributes:
        strategy, distribution, version: what is offered, and by whom.
        state: ``ok``, or ``broken`` when a run could not use it.
        reason: why it is broken, or how to name it where two distributions offer the name.
        slots: the slots it answers.
        hooks: every hook that it implements.
        summary: what it says of itself.
    """

    strategy: str
    distribution: str
    version: str
    state: str
    reason: str = ""
    slots: tuple[str, ...] = ()
    hooks: tuple[str, ...] = field(default=())
    summary: str = ""


def plugin_lines(offered: Sequence[Offer]) -> list[PluginLine]:
    """A line for each offer; a broken one hides no other."""
    names = [offer.name for offer in offered]
    lines = []
    for offer in offered:
        origin = (offer.name, offer.distribution, offer.version)
        try:
            cls = load_strategy(offer)
        except AnimaError as error:
            lines.append(PluginLine(*origin, "broken", error.what))
            continue
        shared = names.count(offer.name) > 1
        reason = f"another distribution offers it too: name it --{offer.reference}"
        hooks = tuple(sorted(implemented(cls)))
        lines.append(
            PluginLine(*origin, "ok", reason if shared else "", cls.slots, hooks, cls.summary)
        )
    return lines


def list_plugins(disabled: Sequence[str], *, machine: bool) -> int:
    """Print every offered strategy on standard output; 0 even when some are broken."""
    lines = plugin_lines(offers(disabled))
    if machine:
        listed = [asdict(line) for line in lines]
        sys.stdout.write(json.dumps(listed, ensure_ascii=False, indent=2) + "\n")
        return 0
    rows = [("strategy", "slots", "from", "state", "")]
    for line in lines:
        answers = ", ".join(line.slots) or ", ".join(line.hooks)
        said = "; ".join(part for part in (line.summary, line.reason) if part)
        origin = f"{line.distribution} {line.version}"
        rows.append((line.strategy, answers, origin, line.state, said))
    for text in _columns(rows):
        sys.stdout.write(text + "\n")
    return 0


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows as text, the last column wrapped. Without rich, which is slow to import."""
    from shutil import get_terminal_size
    from textwrap import wrap

    widths = [max(len(cell) for cell in column) for column in list(zip(*rows, strict=True))[:-1]]
    indent = sum(widths) + 2 * len(widths)
    room = max(30, get_terminal_size().columns - indent)
    for *cells, last in rows:
        head = "".join(f"{c:<{w}}  " for c, w in zip(cells, widths, strict=True))
        first, *others = wrap(last, room) or [""]
        yield (head + first).rstrip()
        yield from (" " * indent + text for text in others)
