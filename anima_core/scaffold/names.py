"""Every name of a new plugin, made of the one that is given; and which names are refused."""

from __future__ import annotations

import builtins
import importlib.metadata
import importlib.util
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass

from anima_core.errors import UsageError
from anima_core.registry.names import CORE_DISTRIBUTION, is_kebab, kebab, snake
from anima_core.registry.offers import offers, reserved_names

LONGEST = 24
"""Most characters of a name: what is made of it still fits a line of code."""

_IMPORTED = frozenset({"Any", "ClassVar", "Field", "Iterable", "Literal", "Mapping", "Sequence"})
"""Names that a generated module imports, and so cannot give to its class."""


@dataclass(frozen=True)
class Names:
    """The names of a plugin.

    Attributes:
        strategy: the strategy and its flag, kebab-case.
    """

    strategy: str

    @property
    def snake(self) -> str:
        """The name as Python and run files write it."""
        return snake(self.strategy)

    @property
    def distribution(self) -> str:
        """What `pip` calls it."""
        return f"anima-{self.strategy}"

    @property
    def package(self) -> str:
        """What Python imports."""
        return f"anima_{self.snake}"

    @property
    def cls(self) -> str:
        """The strategy's class; begins the name of every other class."""
        word = "".join(part.capitalize() for part in self.strategy.split("-"))
        taken = keyword.iskeyword(word) or hasattr(builtins, word) or word in _IMPORTED
        return f"{word}Strategy" if taken else word


def check_name(name: str, hook: str) -> Names:
    """The names of a plugin, once the given one is known to be fit.

    Args:
        name: the strategy's name.
        hook: the hook that it begins with.

    Raises:
        UsageError: the name is malformed, too long, reserved, a keyword, or taken by something
            that is installed.
    """
    for reason, fix in _obstacles(name, hook):
        raise UsageError(f"{name!r} {reason}", where="NAME", fix=fix)
    return Names(name)


def _obstacles(name: str, hook: str) -> Iterator[tuple[str, str]]:
    """Why a name cannot be given, and what to do, the gravest reason first; none when it can."""
    other = "Choose another name."
    if not is_kebab(name):
        words = kebab("-".join(name.lower().split()))
        better = f"Say {words}." if is_kebab(words) else "For instance: focal, or token-weights."
        yield "is not lower-case words and digits joined by hyphens", better
    if len(name) > LONGEST:
        yield f"has {len(name)} characters, more than {LONGEST}", "Choose a shorter name."
    if name in reserved_names():
        yield f"belongs to the core's option --{name}", other
    if keyword.iskeyword(name) or keyword.iskeyword(name.capitalize()):
        yield "is a word of the Python language", other
    if name in ("adapt", "core") or name.startswith("adapt-"):
        yield f"would make a package or distribution named like {CORE_DISTRIBUTION}'s", other
    for offer in offers():
        if offer.name == name:
            yield f"is taken by {offer.distribution} {offer.version}", other
    if name in _companions():
        yield f"would make a package named like that of {CORE_DISTRIBUTION}-{name}", other
    if _installed(names := Names(name)):
        yield f"would make {names.package}, and a package of that name is installed", other
    if hook == "attention" and (word := _transformers_own(name)):
        yield f"holds {word!r}, which transformers takes for an attention of its own", other


def _companions() -> set[str]:
    """What the core's own extras are called, installed or not: ``dpo`` of ``anima-adapt-dpo``."""
    try:
        needed = importlib.metadata.requires(CORE_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return set()
    words = (re.split(r"[^\w-]", need, maxsplit=1)[0] for need in needed)
    head = f"{CORE_DISTRIBUTION}-"
    return {word.removeprefix(head) for word in words if word.startswith(head)}


def _installed(names: Names) -> bool:
    if importlib.util.find_spec(names.package) is not None:
        return True
    try:
        importlib.metadata.distribution(names.distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _transformers_own(name: str) -> str:
    from anima_core.attention.segments import TRANSFORMERS_WORDS

    return next((word for word in TRANSFORMERS_WORDS if word in snake(name)), "")
