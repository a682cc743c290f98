"""Keep what trying a strategy brought to light, until it, or what it stands on, changes."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from anima_core.cache import cache_root, write_whole
from anima_core.registry.offers import Offer
from anima_core.registry.probing import UNTRIED, Job, probe
from anima_core.registry.report import Report
from anima_core.version import __version__


def reports(
    offered: Sequence[Offer],
    disabled: Sequence[str] = (),
    *,
    diagnose: bool = False,
    again: bool = False,
    tell: Callable[[int], None] = lambda _number: None,
) -> list[Report]:
    """A report on each strategy; its hooks are tried where that was not done before.

    Args:
        offered: the strategies.
        disabled: distributions to leave out.
        diagnose: whether to call `diagnose` too, which is never remembered.
        again: whether to try again what was found at fault: the cause may be gone.
        tell: called with the number of strategies that are to be tried, when there are any.
    """
    keys = [_key(offer) for offer in offered]
    known = [_recall(key) for key in keys]
    if again:
        known = [report if report and not report.reason else None for report in known]
    jobs = [
        Job(offer, hooks=report is None, diagnose=diagnose)
        for offer, report in zip(offered, known, strict=True)
        if report is None or (diagnose and "diagnose" in report.hooks)
    ]
    if jobs:
        tell(len(jobs))
    made = zip(jobs, probe(jobs, disabled), strict=True)
    tried = {job.offer.reference: report for job, report in made}
    found = []
    for offer, key, old in zip(offered, keys, known, strict=True):
        new = tried.get(offer.reference)
        if new is not None and old is None:
            _remember(key, new)
        found.append(_together(old, new))
    return found


def _together(old: Report | None, new: Report | None) -> Report:
    """What was remembered, with the diagnosis of now."""
    if old is None or new is None:
        report = new or old
        assert report is not None
        return report
    return replace(old, findings=new.findings, faults={**old.faults, **new.faults})


def _key(offer: Offer) -> str:
    """A name for the strategy's code and what it stands on; empty where its code is not found.

    Installing a package changes the time of the folder of packages, so every report is made anew.
    """
    top = offer.entry_point.module.partition(".")[0]
    try:
        spec = find_spec(top)
        if spec is None:
            return ""
        places = [Path(place) for place in spec.submodule_search_locations or ()]
        files = sorted(path for place in places for path in place.rglob("*.py"))
        if not places and spec.origin:
            files = [Path(spec.origin)]
        facts = [
            (offer.reference, offer.version, offer.entry_point.value, __version__),
            (sys.version, platform.node()),
            [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files],
            [Path(entry).stat().st_mtime_ns for entry in sys.path if _holds_packages(entry)],
        ]
    except (ImportError, ValueError, OSError):
        return ""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _holds_packages(entry: str) -> bool:
    return Path(entry).name in ("site-packages", "dist-packages") and Path(entry).is_dir()


def _file(key: str) -> Path:
    return cache_root() / "probes" / f"{key}.json"


def _recall(key: str) -> Report | None:
    if not key:
        return None
    try:
        return Report.from_dict(json.loads(_file(key).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _remember(key: str, report: Report) -> None:
    """Write a report down, unless the cause of what it says lies elsewhere than in the key."""
    if not key or report.broken or any(note.startswith(UNTRIED) for note in report.notes):
        return
    faults = {hook: what for hook, what in report.faults.items() if hook != "diagnose"}
    kept = replace(report, findings=(), faults=faults)
    try:
        write_whole(_file(key), json.dumps(kept.to_dict()))
    except OSError:  # a cache that cannot be written only costs time
        return
