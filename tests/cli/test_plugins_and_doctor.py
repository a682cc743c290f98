"""What is installed is told in full, even when every plugin is broken."""

from __future__ import annotations

import json

import pytest

from anima_core.cli.main import main

DIAGNOSE = """
    @anima_core.hookimpl
    def diagnose(self):
        BODY
"""


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
    by_name = {line["strategy"]: line for line in lines}

    assert code == 0
    assert by_name["good"]["state"] == "ok"
    assert by_name["good"]["slots"] == ["loss"]
    assert (by_name["broken"]["state"], by_name["broken"]["version"]) == ("broken", "2.2")
    assert "no_such_module" in by_name["broken"]["reason"]
    assert "hook API 99" in by_name["old"]["reason"]


def test_a_name_that_two_offer_says_how_to_name_it(distribute, good_strategy, listed):
    distribute("fake-a", good_strategy, {"twice": "Good"})
    distribute("fake-b", good_strategy, {"twice": "Good"})
    _, lines = listed("plugins", "list")
    assert [
        "--fake-a:twice" in line["reason"] for line in lines if line["strategy"] == "twice"
    ] == [
        True,
        False,
    ]


def test_the_list_for_people_says_the_same(distribute, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    distribute("fake-b", "import no_such_module", {"broken": "Good"}, version="2.2")
    assert main(["plugins", "list"]) == 0
    (line,) = [row for row in capsys.readouterr().out.splitlines() if row.startswith("broken ")]
    assert "fake-b 2.2" in line
    assert "no_such_module" in line


def test_no_plugin_leaves_a_distribution_out(distribute, good_strategy, listed):
    distribute("fake-a", good_strategy, {"good": "Good"})
    code, lines = listed("plugins", "list", "--no-plugin", "fake-a")
    assert code == 0
    assert "good" not in {line["strategy"] for line in lines}
    assert "sft" in {line["strategy"] for line in lines}
    assert main(["plugins", "list", "--no-plugin", "fake-x"]) == 2


@pytest.mark.parametrize(
    ("body", "level", "words"),
    [
        ('return [anima_core.Finding("warning", "no paging here")]', "warning", "no paging here"),
        ("return 1 / 0", "error", "`diagnose` failed: ZeroDivisionError"),
        ('return ["fine"]', "error", "no Finding"),
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
