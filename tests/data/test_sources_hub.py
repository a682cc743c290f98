from __future__ import annotations

from typing import Any

import datasets
import pyarrow
import pytest

from anima_core.contracts import Record
from anima_core.data.read import read_sources
from anima_core.errors import DataError

ROWS = [{"prompt": "a", "completion": "b"}, {"prompt": "你好", "completion": "c\nd"}]


def refused(source: str) -> DataError:
    with pytest.raises(DataError) as caught:
        list(read_sources([source]))
    return caught.value


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("some-owner/some-set.v1", ("some-owner/some-set.v1", None, "train")),
        ("squad", ("squad", None, "train")),
        ("squad:validation", ("squad", None, "validation")),
        ("owner/set@en-2.1:test_sft", ("owner/set", "en-2.1", "test_sft")),
        ("owner/set@main", ("owner/set", "main", "train")),
        ("owner/set:train[:10%]", ("owner/set", None, "train[:10%]")),
    ],
)
def test_other_names_go_to_the_hub(
    source: str, asked: tuple[str, str | None, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def load(name: str, config: str | None, *, split: str) -> Any:
        calls.append((name, config, split))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert list(read_sources([source])) == [Record(r, source, n) for n, r in enumerate(ROWS, 1)]
    assert calls == [asked]


def test_a_shuffled_set_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    data = datasets.Dataset.from_list([{"n": n} for n in range(600)]).select(range(599, -1, -1))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    assert [r.fields["n"] for r in read_sources(["x"])] == list(range(599, -1, -1))


def test_an_image_is_not_taken_for_text(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features(
        {"prompt": datasets.Image(), "completion": datasets.Value("string")}
    )
    row = {"prompt": {"bytes": b"\x89PNG", "path": None}, "completion": "a cat"}
    table = pyarrow.Table.from_pylist([row], schema=features.arrow_schema)
    data = datasets.Dataset(table, info=datasets.DatasetInfo(features=features))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    (record,) = read_sources(["x"])
    image = {"bytes": {"type": "binary", "bytes": 4}, "path": None}
    assert record.fields == {"prompt": image, "completion": "a cat"}


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (ConnectionError("Couldn't reach it\nmore"), "the hub cannot be reached"),
        (datasets.exceptions.DatasetNotFoundError("no"), "neither a file here nor a data set"),
        (ValueError("Config name is missing.\nPick one of ['a']"), "Pick one of ['a']"),
        (RuntimeError("Dataset scripts are no longer supported"), "scripts are no longer"),
    ],
)
def test_hub_failures_are_told_apart(
    error: Exception, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, config: str | None, *, split: str) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    found = refused("owner/set")
    assert what in found.what
    assert (found.where, found.exit_code) == ("owner/set", 3)


def test_offline_it_says_so() -> None:
    found = refused("no-such-owner/no-such-set")
    assert "is no file here, and the hub cannot be reached" in found.what
    assert "HF_HUB_OFFLINE" in found.fix
