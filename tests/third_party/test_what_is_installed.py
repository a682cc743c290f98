"""However many of those installed are unsound, `plugins list` and `doctor` tell of all of them."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Crowd
from .distributions import (
    EVERYONE,
    FAULTY,
    ILL,
    KILLS,
    SHADOW,
    SHADOW_LORA,
    SOUND,
    TWIN_A,
    TWIN_B,
    UNFIT,
)
from .making import ThirdParty

BROKEN = {KILLS: "ended the process", **UNFIT, **FAULTY}


@pytest.fixture(scope="module")
def listed(crowd: Crowd) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = crowd.json("plugins", "list")
    return lines


@pytest.fixture(scope="module")
def examined(crowd: Crowd) -> list[dict[str, Any]]:
    """What the doctor says, who finds something wrong."""
    found: list[dict[str, Any]] = crowd.json("doctor", code=1)
    return found


def line_of(lines: list[dict[str, Any]], party: ThirdParty) -> dict[str, Any]:
    (line,) = [line for line in lines if line["distribution"] == party.name]
    return line


def errors_about(found: list[dict[str, Any]], party: ThirdParty) -> list[str]:
    """What the doctor has against a distribution: each finding as one text."""
    (name,) = party.strategies
    return [
        f"{f['what']} {f['fix']}"
        for f in found
        if f["about"] == name
        and f["level"] == "error"
        and f"{party.name} {party.version}" in f"{f['what']} {f['fix']}"
    ]


@pytest.mark.parametrize("party", EVERYONE, ids=lambda party: party.name)
def test_the_list_names_everybody(listed: list[dict[str, Any]], party: ThirdParty) -> None:
    line = line_of(listed, party)
    assert [line["strategy"]] == list(party.strategies)
    assert line["version"] == party.version
    assert (line["state"] == "broken") is (party in BROKEN)


@pytest.mark.parametrize("party", BROKEN, ids=lambda party: party.name)
def test_what_is_broken_is_told_with_its_reason_and_a_way_out(
    listed: list[dict[str, Any]], examined: list[dict[str, Any]], party: ThirdParty
) -> None:
    line = line_of(listed, party)
    assert BROKEN[party] in line["reason"]
    assert f"--no-plugin {party.name}" in " ".join(map(str, line.values()))
    (said,) = errors_about(examined, party)
    assert BROKEN[party] in said
    assert f"--no-plugin {party.name}" in said


def test_the_bundled_and_the_sound_are_as_they_were(
    listed: list[dict[str, Any]], examined: list[dict[str, Any]]
) -> None:
    ours = {line["strategy"]: line for line in listed if line["distribution"] == "anima-adapt"}
    assert {"sft", "plain", "full", "adamw", "sdpa", "files"} <= set(ours)
    assert {line["state"] for line in ours.values()} == {"ok"}
    for party in SOUND:
        assert errors_about(examined, party) == []


def test_a_name_that_several_offer_says_how_to_choose(listed: list[dict[str, Any]]) -> None:
    for party in (TWIN_A, TWIN_B, SHADOW, SHADOW_LORA):
        line = line_of(listed, party)
        assert line["state"] in ("ok", "shadowed")
        (name,) = party.strategies
        assert f"--{party.name}:{name}" in " ".join(map(str, line.values()))
    assert line_of(listed, TWIN_A)["state"] == line_of(listed, TWIN_B)["state"]


def test_the_list_for_people_says_the_same(crowd: Crowd) -> None:
    said = crowd.anima("plugins", "list")[0]
    for party in BROKEN:
        assert f"{party.name} {party.version} broken" in said
        assert f"--no-plugin {party.name}" in said
    assert "a_package_that_nobody_has" in said


@pytest.mark.parametrize("party", ILL, ids=lambda party: party.name)
def test_a_diagnosis_that_fails_is_a_finding_about_its_strategy(
    examined: list[dict[str, Any]], party: ThirdParty
) -> None:
    (said,) = errors_about(examined, party)
    assert ILL[party] in said
    assert "`diagnose`" in said
    assert f"--no-plugin {party.name}" in said


def test_the_doctor_for_people_says_the_same(crowd: Crowd) -> None:
    said = crowd.anima("doctor", code=1)[0]
    for party in (*BROKEN, *ILL):
        assert f"{party.name} {party.version}" in said
        assert f"--no-plugin {party.name}" in said


def test_whoever_is_left_out_is_no_longer_complained_of(crowd: Crowd) -> None:
    without = ",".join(party.name for party in EVERYONE if party not in SOUND)
    found = crowd.json("doctor", environment={"ANIMA_DISABLE_PLUGINS": without})
    assert {f["level"] for f in found} <= {"ok", "warning"}
    assert {"twin", "sft", "dpo", "patient"} <= {f["about"] for f in found}
