"""Phase one: which strategies a command line selects, before its parser can be built.

Only metadata is read, and the classes of strategies that are selected (or whose option is
followed by a word that may be its value or a flag).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from anima_core.cli.core_flags import valued
from anima_core.cli.parameters import is_flag
from anima_core.cli.refuse import Refusals, check_disabled
from anima_core.cli.scan import Flag, flags
from anima_core.cli.words import is_strategy, selectable, split_option
from anima_core.config.requests import merge
from anima_core.errors import AnimaError
from anima_core.registry.load import load_strategy
from anima_core.registry.names import snake, split_reference
from anima_core.registry.offers import Offer, find_offer, offers
from anima_core.runs.request import RunRequest

if TYPE_CHECKING:
    from anima_core.strategy import Options


@dataclass(frozen=True)
class FirstLook:
    """What phase one found.

    Attributes:
        offered: the strategies that may be selected.
        base: the run file, or an empty request, with the distributions to leave out.
        named: strategies named by a flag, in order.
        selected: options model of every selected strategy, by name: the run file's and the
            command line's, as `merge` puts them together.
        rest: the command line without strategies' flags, and ``dist:`` left out of options.
    """

    offered: Sequence[Offer]
    base: RunRequest
    named: Sequence[str]
    selected: Mapping[str, type[Options]]
    rest: Sequence[str]


def first_look(argv: Sequence[str]) -> FirstLook:
    """Read the words after ``train`` or ``plan`` as far as that is possible without a parser.

    Raises:
        UsageError: an unknown option or strategy, an option of one that is not selected, a run
            file that cannot be read, or a distribution to leave out that is not there.
        SetupError: a selected strategy does not import.
    """
    base = _base(argv)
    offered = selectable(offers(base.disabled))
    names = {offer.name for offer in offered}
    found = list(flags(argv, _Arity(offered)))
    named = list(
        dict.fromkeys(f.name.removeprefix("--") for f in found if is_strategy(f.name, names))
    )
    over = RunRequest(core={}, strategies={name: {} for name in named})
    merged = merge(replace(base, core={}), over).strategies  # the core's options come later
    chosen = [find_offer(reference, offered) for reference in merged]
    selected = {offer.name: load_strategy(offer).Options for offer in chosen}
    Refusals(names, selected, chosen).check(found)
    return FirstLook(offered, base, named, selected, _rest(argv, found, names))


def _base(argv: Sequence[str]) -> RunRequest:
    """The run file and the distributions to leave out: read before any strategy is looked at."""
    from anima_core.config.run_file import read_run_file

    takes = valued()
    early = list(flags(argv, lambda name, _word: name in takes))
    disabled = tuple(f.value for f in early if f.name == "--no-plugin" and f.value)
    configs = [f.value for f in early if f.name == "--config" and f.value]
    check_disabled(disabled)
    request = read_run_file(configs[-1]) if configs else RunRequest(core={})
    return replace(request, disabled=disabled)


@dataclass
class _Arity:
    """Whether an option takes the next word for its value."""

    offered: Sequence[Offer]
    _valued: Collection[str] = field(default_factory=valued)
    _fields: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def __call__(self, name: str, word: str) -> bool:
        if name in self._valued:
            return True
        reference, option = split_option(name)
        if not option or not word.startswith("-"):  # no flag, whatever it belongs to
            return False
        fields = self._of(reference)
        field_ = fields.get(snake(option)) or fields.get(snake(option.removeprefix("no-")))
        return field_ is not None and not is_flag(field_)

    def _of(self, reference: str) -> Mapping[str, Any]:
        if reference not in self._fields:
            try:
                offer = find_offer(split_reference(reference)[1], self.offered)
                self._fields[reference] = load_strategy(offer).Options.model_fields
            except AnimaError:  # said where it is selected, or where its option is refused
                self._fields[reference] = {}
        return self._fields[reference]


def _rest(argv: Sequence[str], found: Sequence[Flag], names: Collection[str]) -> list[str]:
    rest: list[str | None] = list(argv)
    for flag in found:
        if is_strategy(flag.name, names):
            rest[flag.index] = None
        elif ":" in flag.name and split_option(flag.name)[1]:
            name = flag.name.rpartition(":")[2]
            rest[flag.index] = f"--{name}={flag.value}" if flag.joined else f"--{name}"
    return [word for word in rest if word is not None]
