"""What is installed is told in full, even when every plugin is broken."""

from __future__ import annotations

import json
import sys

import pytest

from anima_core.cli.main import main

DIAGNOSE = """
    @anima_core.hookimpl
    def diagnose(self):
        BODY
"""


pytestmark = pytest.mark.usefixtures("warm_children")


@pytest.fixture
def listed(capsys):
    def listed(*words):
        code = main([*words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return listed


def test_broken_plugins_hide_no_other(distribute, good_strategy, listed):
    distribute("fake-a", good_strategy, {"good": "Good"}, version="1.1")
    distribute("fake-b", "import no_such_module", {"broken": "Good"}, version="2.2")
    distribute("fake-c", good_strategy.replace("= anima_core.HOOK_API", "= 99"), {"old": "Good"})

    code, lines = listed("plugins", "list")
    assert list(lines[0]) == [
        "strategy", "distribution", "version", "state", "reason", "slots", "hooks", "summary",
    ]  # fmt: skip
    by_name = {line["strategy"]: line for line in lines}

    assert code == 0
    assert by_name["good"]["state"] == "ok"
    assert by_name["good"]["slots"] == ["loss"]
    assert (by_name["broken"]["state"], by_name["broken"]["version"]) == ("broken", "2.2")
    assert "no_such_module" in by_name["broken"]["reason"]
    assert "hook API 99" in by_name["old"]["reason"]
    for name, distribution in (("broken", "fake-b"), ("old", "fake-c")):
        assert f"--no-plugin {distribution}" in by_name[name]["reason"]


def test_a_name_that_two_offer_says_how_to_name_it(distribute, good_strategy, listed):
    distribute("fake-a", good_strategy, {"twice": "Good"}, version="1.1")
    distribute("fake-b", good_strategy, {"twice": "Good"}, version="2.2")
    _, lines = listed("plugins", "list")
    mine = [line for line in lines if line["strategy"] == "twice"]
    assert [line["state"] for line in mine] == ["shadowed", "shadowed"]
    for line, flag, other in zip(
        mine, ("--fake-a:twice", "--fake-b:twice"), ("fake-b 2.2", "fake-a 1.1"), strict=True
    ):
        assert flag in line["reason"]
        assert other in line["reason"]


def test_the_cores_own_answers_though_another_offers_its_name(distribute, good_strategy, listed):
    distribute("fake-a", good_strategy, {"sft": "Good"})
    _, lines = listed("plugins", "list")
    states = {line["distribution"]: line for line in lines if line["strategy"] == "sft"}
    assert states["anima-adapt"]["state"] == "ok"
    assert "--anima-adapt:sft" in states["anima-adapt"]["reason"]
    assert states["fake-a"]["state"] == "shadowed"


def test_names_that_cannot_be_flags_are_listed_as_broken(distribute, good_strategy, listed):
    distribute("fake-a", good_strategy, {"Loud": "Good", "steps": "Good"})
    _, lines = listed("plugins", "list")
    by_name = {line["strategy"]: line for line in lines}
    assert "lower-case words" in by_name["Loud"]["reason"]
    assert "--steps" in by_name["steps"]["reason"]
    assert [by_name[name]["state"] for name in ("Loud", "steps")] == ["broken", "broken"]


def test_a_hook_that_fails_is_found_before_a_run_meets_it(distribute, good_strategy, listed):
    failing = good_strategy.replace("return Total(run, self.options)", "return 1 / 0")
    wrong = good_strategy.replace("return Total(run, self.options)", "return 'loss'")
    distribute("fake-a", failing, {"failing": "Good"}, version="1.1")
    distribute("fake-b", wrong, {"wrong": "Good"})
    _, lines = listed("plugins", "list")
    by_name = {line["strategy"]: line for line in lines}

    assert [by_name[name]["state"] for name in ("failing", "wrong")] == ["broken", "broken"]
    assert "its hook `loss` failed: ZeroDivisionError" in by_name["failing"]["reason"]
    assert "its hook `loss` answered 'loss'" in by_name["wrong"]["reason"]
    assert "--no-plugin fake-a" in by_name["failing"]["reason"]
    assert by_name["failing"]["slots"] == ["loss"]

    code, found = listed("doctor")
    assert code == 1
    mine = [f for f in found if f["about"] == "failing" and f["level"] == "error"]
    assert len(mine) == 1
    assert "from fake-a 1.1: its hook `loss` failed: ZeroDivisionError" in mine[0]["what"]
    assert "--no-plugin fake-a" in mine[0]["fix"]


def test_the_list_for_people_says_the_same(distribute, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    distribute("fake-b", "import no_such_module", {"broken": "Good"}, version="2.2")
    assert main(["plugins", "list"]) == 0
    rows = capsys.readouterr().out.splitlines()
    (at,) = [n for n, row in enumerate(rows) if row.startswith("broken ")]
    assert rows[at].split() == ["broken", "-", "fake-b", "2.2", "broken"]
    assert "no_such_module" in rows[at + 1]


def test_the_list_for_people_fits_a_terminal(distribute, good_strategy, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    distribute("fake-b", "import no_such_module", {"broken": "Good"}, version="2.2")
    assert main(["plugins", "list"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "\n    Supervised fine-tuning: mean negative log-likelihood" in out


def test_no_plugin_leaves_a_distribution_out(distribute, good_strategy, listed):
    distribute("fake-a", good_strategy, {"good": "Good"})
    code, lines = listed("plugins", "list", "--no-plugin", "fake-a")
    assert code == 0
    assert [(e["state"], e["slots"]) for e in lines if e["strategy"] == "good"] == [("blocked", [])]
    assert not {name for name in sys.modules if name.startswith("fake_")}
    assert "sft" in {line["strategy"] for line in lines}
    assert main(["plugins", "list", "--no-plugin", "fake-x"]) == 2


@pytest.mark.parametrize(
    ("body", "level", "words"),
    [
        ('return [anima_core.Finding("warning", "no paging here")]', "warning", "no paging here"),
        ("return 1 / 0", "error", "`diagnose` failed: ZeroDivisionError"),
        ('return ["fine"]', "error", "`diagnose` answered a list with 'fine' in it"),
    ],
)
def test_the_doctor_asks_each_strategy_in_isolation(
    distribute, good_strategy, listed, body, level, words
):
    distribute("fake-a", good_strategy + DIAGNOSE.replace("BODY", body), {"good": "Good"})
    distribute("fake-b", "import no_such_module", {"broken": "Good"})

    code, found = listed("doctor")

    mine = [f for f in found if f["about"] == "good"]
    assert mine[0]["level"] == "ok"
    assert mine[1]["level"] == level
    assert words in mine[1]["what"]
    assert [f["level"] for f in found if f["about"] == "broken"] == ["error"]
    assert code == 1
    assert {"python", "torch", "device", "dtype", "sft"} <= {f["about"] for f in found}


def test_the_doctor_exits_0_where_nothing_is_wrong(monkeypatch, listed):
    from anima_core.cli import doctor

    sound = [("python", doctor.Finding("ok", "3")), ("x", doctor.Finding("warning", "slow"))]
    monkeypatch.setattr(doctor, "examine", lambda disabled: sound)
    code, found = listed("doctor")
    assert (code, len(found)) == (0, 2)


def test_the_doctor_warns_of_a_distribution_that_the_environment_misspells(monkeypatch, listed):
    monkeypatch.setenv("ANIMA_DISABLE_PLUGINS", "anima-adapt-dpoo")
    _, found = listed("doctor")
    mine = [f for f in found if f["about"] == "plugins"]
    assert [f["level"] for f in mine] == ["warning"]
    assert "anima-adapt-dpoo" in mine[0]["what"]


def test_the_environment_leaves_a_distribution_out_and_says_so(
    distribute, good_strategy, listed, monkeypatch
):
    distribute("fake-a", good_strategy, {"good": "Good"})
    monkeypatch.setenv("ANIMA_DISABLE_PLUGINS", "fake_a")
    _, lines = listed("plugins", "list")
    (mine,) = [line for line in lines if line["strategy"] == "good"]
    assert mine["state"] == "blocked"
    assert "take fake-a out of ANIMA_DISABLE_PLUGINS" in mine["reason"]

    _, found = listed("doctor")
    assert [f["what"] for f in found if f["about"] == "plugins"] == ["left out: fake-a"]
    assert "good" not in {f["about"] for f in found}
