from pathlib import Path

import pytest

from anima_core.config.paths import absolute, anchored


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


@pytest.mark.parametrize(
    "value", ["data/*", "data/*.jsonl", "**/a.*", "data/none*.jsonl", "d.arrow"]
)
def test_a_pattern_is_meant_from_the_files_folder(here, value):
    assert anchored("data", value, here) == str(here / value)


@pytest.mark.parametrize("value", ["org/set:train[:10%]", "data/none*", "org/set@config:test"])
def test_what_matches_nothing_is_left(here, value):
    assert anchored("data", value, here) == value
    assert anchored("model", "data/*", here) == "data/*"


def test_a_pattern_that_matches_is_written_absolute(here, monkeypatch):
    monkeypatch.chdir(here)
    assert absolute("data", ["data/*.jsonl", "data/x*"]) == [
        f"{Path.cwd()}/data/*.jsonl",
        "data/x*",
    ]


def test_the_sources_of_a_mixture_are_meant_as_the_data_is(here):
    given = {"data/a.jsonl": 0.7, "org/set": 0.3}
    texts = [f"{here}/data/a.jsonl=0.7", "org/set=0.3"]
    assert anchored("mix", given, here) == texts
    assert anchored("mix", ["data/a.jsonl=0.7", "org/set=0.3"], here) == texts
    assert anchored("mix", "nothing", here) == "nothing"
    assert absolute("mix", ("../data/a.jsonl=0.7", "org/set=0.3")) == texts
