"""A run that names an unsound strategy is refused: who, from where, what, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Crowd, Said
from .distributions import FAULTY, LATE, RESERVED, UNFIT, UPPER
from .making import ThirdParty

NAMED = {p: why for p, why in UNFIT.items() if p not in (UPPER, RESERVED)}


def message_about(said: str, party: ThirdParty) -> str:
    """The one message of a run that failed: whose fault it is, and never called ours."""
    assert said.count("error:") == 1
    assert "defect of Anima" not in said
    message = said[said.index("error:") :]
    assert f"{party.name} {party.version}" in message
    return message


@pytest.mark.parametrize("party", NAMED, ids=lambda party: party.name)
def test_one_that_is_unfit(crowd: Crowd, tmp_path: Path, party: ThirdParty) -> None:
    (name,) = party.strategies
    message = message_about(crowd.run(tmp_path / "run", f"--{name}", code=4), party)
    assert f"{name} (from {party.name} {party.version}): {NAMED[party]}" in message
    assert f"--no-plugin {party.name}" in message
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def met(crowd: Crowd, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Said, Path]]:
    """What came of runs that meet a fault, of one after them, and each run's folder."""
    flags = {p.name: [f"--{name}" for name in p.strategies] for p in (*FAULTY, *LATE)}
    flags["nobody"] = []
    folders = {name: tmp_path_factory.mktemp("met") / "run" for name in flags}
    lines = {name: crowd.training(folders[name], *flags[name]) for name in flags}
    return {name: (said, folders[name]) for name, said in crowd.several(lines).items()}


@pytest.mark.parametrize("party", FAULTY, ids=lambda party: party.name)
def test_one_whose_hook_fails(met: dict[str, tuple[Said, Path]], party: ThirdParty) -> None:
    said, folder = met[party.name]
    (name,) = party.strategies
    message = message_about(said.err, party)
    assert said.code == 4
    assert f"{name} (from {party.name} {party.version}): {FAULTY[party]}" in message
    assert message.count(FAULTY[party]) == 1
    assert f"--no-plugin {party.name}" in message
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("party", LATE, ids=lambda party: party.name)
def test_one_that_fails_as_it_works(met: dict[str, tuple[Said, Path]], party: ThirdParty) -> None:
    said, folder = met[party.name]
    (name,) = party.strategies
    message = message_about(said.err, party)
    assert said.code == 4
    assert f"{name} (from {party.name} {party.version}): {LATE[party]}" in message
    assert "leave" in message
    assert json.loads((folder / "manifest.json").read_text())["state"] == "failed"
    assert not (folder / "model").exists()


def test_a_process_that_met_them_all_trains_as_if_it_had_not(
    crowd: Crowd, met: dict[str, tuple[Said, Path]], tmp_path: Path
) -> None:
    """What they replaced was put back."""
    crowd.run(tmp_path / "run")
    said, after = met["nobody"]
    assert said.code == 0
    rows = [(run / "metrics.jsonl").read_text().splitlines() for run in (after, tmp_path / "run")]
    losses = [[json.loads(row)["loss"] for row in each] for each in rows]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2


@pytest.mark.parametrize("party", [UPPER, RESERVED], ids=lambda party: party.name)
def test_a_name_that_cannot_be_a_flag(crowd: Crowd, tmp_path: Path, party: ThirdParty) -> None:
    (name,) = party.strategies
    said = crowd.run(tmp_path / "run", f"--{party.name}:{name}", code=2)
    assert UNFIT[party] in message_about(said, party)


def test_a_plan_tells_of_it_with_everything_else(crowd: Crowd, tmp_path: Path) -> None:
    given = (crowd.model, tmp_path / "none.jsonl", "--dtype", "float32", "--json")
    plan = json.loads(crowd.anima("plan", *given, "--loss-raises", code=4)[0])
    errors = [p for p in plan["problems"] if p["level"] == "error"]
    assert [p["exit_code"] for p in errors] == [4, 3]
    assert errors[0]["where"] == "loss-raises (from third-loss-raises 2.1)"
    assert "--no-plugin third-loss-raises" in errors[0]["fix"]
