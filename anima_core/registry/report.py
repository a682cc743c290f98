"""What trying a strategy brought to light, as data for another process or a cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from anima_core.problems import Finding

IMPORT, BUILD, LIBRARIES = "its import", "its construction", "the libraries"
"""Steps of trying a strategy besides its hooks, which are called by their names."""


@dataclass
class Report:
    """What is known of one strategy after it was imported, and its hooks were called.

    Attributes:
        broken: why it cannot be used at all; empty when it loads.
        fix: what to do about that.
        summary, slots, hooks: what its class says.
        faults: what it does wrong, by step: `BUILD`, or the hook that is called.
        notes: what was not tried, and why.
        findings: what its `diagnose` found.
    """

    broken: str = ""
    fix: str = ""
    summary: str = ""
    slots: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    faults: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def reason(self) -> str:
        """Why a run that names it would fail; empty when nothing is known against it."""
        met = [what for hook, what in self.faults.items() if hook != "diagnose"]
        return self.broken or "; ".join(met)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Read back what `to_dict` made.

        Raises:
            TypeError: it is something else.
        """
        tuples = {name: tuple(data[name]) for name in ("slots", "hooks", "notes") if name in data}
        findings = tuple(Finding(**finding) for finding in data.get("findings", ()))
        return cls(**{**data, **tuples, "findings": findings})
