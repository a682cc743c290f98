"""A run that names an unsound strategy is refused: who, from where, what, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Crowd
from .distributions import FAULTY, LATE, RESERVED, UNFIT, UPPER, ThirdParty

NAMED = {p: why for p, why in UNFIT.items() if p not in (UPPER, RESERVED)}


def message_about(said: str, party: ThirdParty) -> str:
    """The one message of a run that failed: whose fault it is, and never called ours."""
    assert said.count("error:") == 1
    assert "defect of Anima" not in said
    message = said[said.index("error:") :]
    assert f"{party.name} {party.version}" in message
    return message


def refused(crowd: Crowd, folder: Path, party: ThirdParty, *words: object, code: int) -> str:
    """What is said of a run that names a strategy; once, with its origin, and nothing is left."""
    (name,) = party.strategies
    before = sorted(folder.rglob("*"))
    said = crowd.run(folder / "run", *(words or (f"--{name}",)), code=code)
    assert sorted(folder.rglob("*")) == before
    return message_about(said, party)


@pytest.mark.parametrize("party", {**NAMED, **FAULTY}, ids=lambda party: party.name)
def test_one_that_is_unfit_or_fails(crowd: Crowd, tmp_path: Path, party: ThirdParty) -> None:
    message = refused(crowd, tmp_path, party, code=4)
    words = {**NAMED, **FAULTY}[party]
    assert message.count(words) == 1
    assert f"(from {party.name} {party.version}): {words}" in message
    assert f"--no-plugin {party.name}" in message


@pytest.mark.parametrize("party", [UPPER, RESERVED], ids=lambda party: party.name)
def test_a_name_that_cannot_be_a_flag(crowd: Crowd, tmp_path: Path, party: ThirdParty) -> None:
    (name,) = party.strategies
    assert UNFIT[party] in refused(crowd, tmp_path, party, f"--{party.name}:{name}", code=2)


def test_a_plan_tells_of_it_with_everything_else(crowd: Crowd, tmp_path: Path) -> None:
    given = (crowd.model, tmp_path / "none.jsonl", "--dtype", "float32", "--json")
    plan = json.loads(crowd.anima("plan", *given, "--loss-raises", code=4)[0])
    errors = [p for p in plan["problems"] if p["level"] == "error"]
    assert [p["exit_code"] for p in errors] == [4, 3]
    assert errors[0]["where"] == "loss-raises (from third-loss-raises 2.1)"
    assert "--no-plugin third-loss-raises" in errors[0]["fix"]


@pytest.mark.parametrize("party", LATE, ids=lambda party: party.name)
def test_one_that_fails_as_it_works(crowd: Crowd, tmp_path: Path, party: ThirdParty) -> None:
    (name,) = party.strategies
    said = crowd.run(tmp_path / "run", f"--{name}", code=4)
    message = message_about(said, party)
    assert f"{name} (from {party.name} {party.version}): {LATE[party]}" in message
    assert "leave" in message
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["state"] == "failed"
    assert not (tmp_path / "run" / "model").exists()
