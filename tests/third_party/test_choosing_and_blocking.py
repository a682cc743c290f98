"""Whose strategy takes part is for the user to say, and a word that means nothing is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from .conftest import Crowd
from .distributions import CHATTERBOX, COMPANION, NEEDS, PATIENT, SHADOW, TWIN_A, TWIN_B

PLANS = {
    "nobody": "",
    "twin b": "--third-twin-b:twin",
    "twin a": "--twin --no-plugin third-twin-b",
    "shadow": "--third-shadow:sft",
    "core": "--anima-adapt:sft",
    "company": "--needs --companion",
    "patient": "--third-patient:patient --third-patient:patient.patience 4",
}


@pytest.fixture(scope="module")
def plans(crowd: Crowd) -> dict[str, dict[str, Any]]:
    """Who answers which hook under each line."""
    return crowd.plans(PLANS)


def refusal(
    crowd: Crowd, *words: object, code: int = 2, environment: Mapping[str, str] | None = None
) -> str:
    """What is said of a plan that is refused, once."""
    given = ("plan", crowd.model, crowd.data, "--dtype", "float32", *words)
    out, said = crowd.anima(*given, code=code, environment=environment)
    assert out == ""
    assert said.count("error:") == 1
    return said


def test_a_name_that_two_offer_must_be_chosen(crowd: Crowd, plans: dict[str, Any]) -> None:
    said = refusal(crowd, "--twin")
    for party in (TWIN_A, TWIN_B):
        assert f"{party.name} {party.version}" in said
        assert f"--{party.name}:twin" in said
    assert "--no-plugin" in said
    assert plans["twin b"]["loss"]["version"] == TWIN_B.version
    assert plans["twin a"]["loss"]["version"] == TWIN_A.version


def test_a_default_that_another_offers_too(crowd: Crowd, plans: dict[str, Any]) -> None:
    assert SHADOW.name in refusal(crowd, "--sft")
    assert plans["nobody"]["loss"]["distribution"] == "anima-adapt"
    assert plans["shadow"]["loss"]["version"] == SHADOW.version
    assert plans["core"]["loss"]["distribution"] == "anima-adapt"
    assert not plans["core"]["loss"]["default"]


def test_a_distribution_that_does_not_offer_it(crowd: Crowd, plans: dict[str, Any]) -> None:
    said = refusal(crowd, "--third-patient:twin")
    for party in (TWIN_A, TWIN_B):
        assert f"{party.name} {party.version}" in said
    assert plans["patient"]["callbacks"]["strategy"] == "patient"


def test_a_distribution_left_out_by_a_word(crowd: Crowd) -> None:
    said = refusal(crowd, "--patient", "--no-plugin", "Third_Patient")
    assert f"{PATIENT.name} {PATIENT.version}" in said
    assert "is left out" in said
    listed = crowd.json("plugins", "list", "--no-plugin", PATIENT.name)
    mine = [line for line in listed if line["distribution"] == PATIENT.name]
    assert [line["state"] for line in mine] == ["blocked"]


def test_a_distribution_left_out_by_the_environment(crowd: Crowd) -> None:
    outside = {"ANIMA_DISABLE_PLUGINS": f"third-absent, {PATIENT.name}"}
    said = refusal(crowd, "--patient", environment=outside)
    assert f"{PATIENT.name} {PATIENT.version}" in said
    assert "ANIMA_DISABLE_PLUGINS" in said
    listed = crowd.json("plugins", "list", environment=outside)
    mine = [line for line in listed if line["distribution"] == PATIENT.name]
    assert [line["state"] for line in mine] == ["blocked"]
    assert "ANIMA_DISABLE_PLUGINS" in " ".join(map(str, mine[0].values()))


@pytest.mark.parametrize("command", ["plan m d", "train m d", "plugins list", "doctor"])
def test_a_misspelt_distribution_to_leave_out(crowd: Crowd, command: str) -> None:
    said = crowd.anima(*command.split(), "--no-plugin", "third-patiemt", code=2)[1]
    assert "--no-plugin third-patiemt" in said
    assert "did you mean third-patient" in said


def test_the_core_cannot_be_left_out(crowd: Crowd) -> None:
    assert "anima-adapt" in refusal(crowd, "--no-plugin", "anima-adapt")
    said = refusal(crowd, environment={"ANIMA_DISABLE_PLUGINS": "Anima_Adapt"})
    assert "ANIMA_DISABLE_PLUGINS" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--patient.patience many", "--patient.patience: 'many' is not valid"),
        ("--patient.patience 10", "expected less than or equal to 9"),
        ("--patient.cooling 0", "expected greater than 0"),
        ("--patient.patiense 3", "did you mean --patient.patience?"),
        ("--patient=3", "a strategy's flag takes no value"),
        ("--no-patient", "--no-patient"),
    ],
)
def test_an_option_that_cannot_be(crowd: Crowd, words: str, expected: str) -> None:
    flags = words if words.startswith("--patient=") else f"--patient {words}"
    assert expected in refusal(crowd, *flags.split())


def test_an_option_without_its_value(crowd: Crowd) -> None:
    given = ("plan", crowd.model, crowd.data, "--patient", "--patient.cooling")
    assert "'--patient.cooling' requires an argument" in crowd.anima(*given, code=2)[1]


def test_an_option_in_a_run_file_that_cannot_be(crowd: Crowd, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    for value, expected in (("patience: 99", "patience"), ("patiense: 3", "patience")):
        file.write_text(f"strategies: {{patient: {{{value}}}}}\n", encoding="utf-8")
        said = refusal(crowd, "--config", file)
        assert "run.yaml" in said
        assert expected in said


def test_what_one_needs_of_another_distribution(crowd: Crowd, plans: dict[str, Any]) -> None:
    said = refusal(crowd, "--needs")
    assert f"needs (from {NEEDS.name} {NEEDS.version}) needs the strategy `companion`" in said
    assert f"{COMPANION.name} {COMPANION.version}" in said
    assert "add --companion" in said

    said = refusal(crowd, "--needs", "--no-plugin", COMPANION.name)
    assert f"{COMPANION.name} {COMPANION.version}" in said

    said = refusal(crowd, "--needs", "--companion", "--xentropy")
    assert f"companion (from {COMPANION.name} {COMPANION.version}) cannot run beside" in said
    assert "xentropy (from anima-adapt-longctx" in said

    assert plans["company"]["loss"]["strategy"] == "needs"
    assert plans["company"]["callbacks"]["strategy"] == "companion"


def test_two_for_one_slot_are_both_named(crowd: Crowd) -> None:
    said = refusal(crowd, "--needs", "--companion", "--dpo")
    assert f"needs (from {NEEDS.name} {NEEDS.version})" in said
    assert "dpo (from anima-adapt-dpo" in said


def test_one_that_talks_as_it_is_imported_is_kept_off_standard_output(crowd: Crowd) -> None:
    """Also where it is selected; `Crowd.json` takes nothing but JSON."""
    given = ("plan", crowd.model, crowd.data, "--dtype", "float32", "--chatty")
    assert crowd.json(*given)["steps"] == 1
    for line in ("plugins list", "train --chatty --help"):
        said = crowd.anima(*line.split())[0]
        assert CHATTERBOX.name in said
        assert "thank you" not in said
