from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from anima_core.data.folders import Found
from anima_core.data.read import files_of, read_sources
from anima_core.errors import DataError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(folder: Path, *names: str) -> None:
    for n, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"n": {n}}}\n' if path.suffix != ".csv" else f"n\n{n}\n")


def found(source: str) -> Found:
    files = files_of(source)
    assert files is not None
    return files


def refused(source: str) -> DataError:
    with pytest.raises(DataError) as caught:
        list(read_sources([source]))
    assert caught.value.where == source
    assert caught.value.exit_code == 3
    return caught.value


def test_a_folder_is_all_the_data_in_it(here: Path) -> None:
    fill(here, "d/b.jsonl", "d/a/z.csv", "d/a/.x.jsonl", "d/.git/y.jsonl", "d/_SUCCESS")
    fill(here, "d/README.md", "d/notes.md", "d/a.bin", "d/LICENSE.txt", "d/dataset_info.json")
    (here / "d" / "c.jsonl.gz").write_bytes(gzip.compress(b'{"n": 7}\n'))
    files = found("d")
    assert files.files == ["d/a/z.csv", "d/b.jsonl", "d/c.jsonl.gz", "d/notes.md"]
    assert files.hidden == 3
    assert files.about == ["d/LICENSE.txt", "d/README.md", "d/dataset_info.json"]
    assert files.other == {".bin": 1}
    records = list(read_sources(["d"]))
    assert [r.file for r in records] == files.files
    assert records[2].fields == {"n": 7}


def test_files_are_named_as_the_folder_was(here: Path) -> None:
    fill(here, "d/a.jsonl")
    assert found("./d").files == found("d/").files == ["d/a.jsonl"]
    assert found(str(here)).files == [str(here / "d/a.jsonl")]


def test_links_are_followed_once(here: Path) -> None:
    fill(here, "real/a.jsonl", "d/b.jsonl")
    (here / "d" / "linked").symlink_to(here / "real")
    (here / "real" / "back").symlink_to(here / "d")
    assert found("d").files == ["d/b.jsonl", "d/linked/a.jsonl"]


def test_a_folder_without_data_says_what_it_holds(here: Path) -> None:
    fill(here, "d/a.bin", "d/b.bin", "d/README.md", "d/noname", "d/.hidden.jsonl")
    error = refused("d")
    assert error.what == (
        "is a folder without data; it holds 2 of .bin, 1 of a name without a suffix, README.md, "
        "1 hidden"
    )
    assert ".jsonl" in error.fix
    (here / "empty").mkdir()
    assert refused("empty").what.endswith("it holds nothing")


def test_an_empty_file_among_others_is_no_fault(here: Path) -> None:
    fill(here, "d/a.jsonl")
    (here / "d/b.jsonl").touch()
    assert [r.fault for r in read_sources(["d"])] == [None]
    (here / "d/a.jsonl").write_text("")
    (record,) = read_sources(["d"])
    assert record.fault is not None
    assert (record.fault.where, record.fault.what) == ("d", "holds no records")


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "test.jsonl"),
        ("train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"),
        ("train/a.jsonl", "dev/a.jsonl"),
        ("data/Train_1.json", "data/Test_1.json"),
    ],
)
def test_a_test_set_is_not_trained_on(here: Path, names: tuple[str, str]) -> None:
    fill(here, *(f"d/{name}" for name in names))
    error = refused("d")
    assert error.what == f"holds several splits: d/{names[0]} and d/{names[1]}"
    assert found("d/train*" if "data" not in names[0] else "d/*/Train*").files == [f"d/{names[0]}"]


def test_one_split_or_likely_words_are_no_splits(here: Path) -> None:
    fill(here, "d/train/a.jsonl", "d/tests.jsonl", "d/developer.jsonl", "d/evals/testimony.jsonl")
    assert len(found("d").files) == 4


def test_a_pattern_is_the_data_that_it_matches(here: Path) -> None:
    fill(here, "d/a1.jsonl", "d/a2.jsonl", "d/b.jsonl", "d/a3.bin", "d/deep/er/a4.csv")
    assert found("d/a*").files == ["d/a1.jsonl", "d/a2.jsonl"]
    assert found("d/a*").other == {".bin": 1}
    assert found("d/a[12].jsonl").files == ["d/a1.jsonl", "d/a2.jsonl"]
    assert found("d/**/a*.*").files == ["d/a1.jsonl", "d/a2.jsonl", "d/deep/er/a4.csv"]
    assert found(str(here / "d/?.jsonl")).files == [str(here / "d/b.jsonl")]
    assert found("d/de*").files == ["d/deep/er/a4.csv"]
    assert [r.fields["n"] for r in read_sources(["d/[ab]*.jsonl"])] == [0, 1, 2]


def test_a_pattern_that_matches_nothing(here: Path) -> None:
    fill(here, "d/a.bin")
    assert refused("d/*.jsonl").what == "no file matches"
    assert refused("d/a*").what == "matches no data, but 1 of .bin"


def test_a_name_with_brackets_is_a_file_if_it_exists(here: Path) -> None:
    fill(here, "a[1].jsonl", "a1.jsonl")
    assert found("a[1].jsonl").files == ["a[1].jsonl"]
