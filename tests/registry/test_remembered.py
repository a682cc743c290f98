"""What was found of a strategy is kept until its code, or what it stands on, changes."""

from __future__ import annotations

import dataclasses

import pytest

from anima_core.problems import Finding
from anima_core.registry import remembered
from anima_core.registry.offers import offers
from anima_core.registry.report import Report


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tried(monkeypatch):
    """The jobs that were done; what each brings is set by `brings`."""
    done = []

    def probe(jobs, disabled=()):
        done.extend(jobs)
        return [dataclasses.replace(probe.brings) for _ in jobs]

    probe.brings = Report(summary="One.", slots=("loss",), hooks=("diagnose", "loss"))
    probe.done = done
    monkeypatch.setattr(remembered, "probe", probe)
    return probe


@pytest.fixture
def mine(distribute, good_strategy):
    folder = distribute("fake-a", good_strategy, {"good": "Good"})
    return folder, [offer for offer in offers() if offer.name == "good"]


def test_a_second_look_tries_nothing(tried, mine):
    first = remembered.reports(mine[1])
    assert remembered.reports(mine[1]) == first == [tried.brings]
    assert len(tried.done) == 1
    assert (tried.done[0].hooks, tried.done[0].diagnose) == (True, False)


def test_changed_code_is_tried_again(tried, mine):
    folder, offered = mine
    remembered.reports(offered)
    (module,) = folder.glob("*.py")
    module.write_text(module.read_text() + "\n# changed\n")
    remembered.reports(offered)
    assert len(tried.done) == 2


def test_a_diagnosis_is_made_anew_each_time(tried, mine):
    remembered.reports(mine[1])
    tried.brings = Report(findings=(Finding("ok", "now"),), faults={"diagnose": "bad"})
    for _ in range(2):
        (report,) = remembered.reports(mine[1], diagnose=True)
        assert report.summary == "One."
        assert [finding.what for finding in report.findings] == ["now"]
        assert report.faults == {"diagnose": "bad"}
    assert [(job.hooks, job.diagnose) for job in tried.done[1:]] == [(False, True)] * 2
    assert remembered.reports(mine[1])[0].findings == ()


def test_what_was_found_at_fault_can_be_tried_again(tried, mine):
    tried.brings = Report(faults={"loss": "its hook `loss` failed"})
    told = []
    remembered.reports(mine[1], tell=told.append)
    remembered.reports(mine[1], tell=told.append)
    assert told == [1]
    tried.brings = Report()
    assert remembered.reports(mine[1], again=True)[0].reason == ""
    assert remembered.reports(mine[1])[0].reason == ""
    assert len(tried.done) == 2


@pytest.mark.parametrize(
    "brings",
    [Report(broken="does not import"), Report(notes=(f"{remembered.UNTRIED} ended",))],
    ids=["import", "process"],
)
def test_what_may_have_another_cause_is_not_kept(tried, mine, brings):
    tried.brings = brings
    remembered.reports(mine[1])
    remembered.reports(mine[1])
    assert len(tried.done) == 2


def test_a_file_that_cannot_be_read_back_is_made_anew(tried, mine, tmp_path):
    remembered.reports(mine[1])
    (file,) = (tmp_path / "cache" / "probes").iterdir()
    file.write_text('{"no_such_field": 1}')
    assert remembered.reports(mine[1]) == [tried.brings]
    assert len(tried.done) == 2
