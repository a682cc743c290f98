from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anima_core.contracts import Record
from anima_core.data import lines, tables
from anima_core.data.read import read_sources
from anima_core.data.tables import read_csv

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def told(records: list[Record]) -> dict[int, str]:
    return {r.line: r.fault.what.splitlines()[0] for r in records if r.fault}


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1), tabs=st.booleans())
def test_what_is_written_is_read(rows: list[tuple[str, str]], tabs: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.tsv" if tabs else "a.csv")
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_ALL)
            writer.writerow(["one", "two"])
            writer.writerows(rows)
        found = [(r.fields["one"], r.fields["two"]) for r in read_csv(str(path))]
    assert found == rows


def test_every_bad_row_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.csv",
        b"a,b\n"
        b"1,x\n"
        b"2\n"  # 3
        b"3,x,y\n"  # 4
        b'4,"x"y\n'  # 5
        b"5,caf\xe9\n"  # 6
        b"6,\0\n"  # 7
        b'7,"two\nlines"\n'  # 8
        b'8,"tw\xf6\nlines"\n'  # 10
        b'9,"open\n10,x\n11,"x"\n'  # 12 to 14
        b"12,x\n",
    )
    records = list(read_csv(source))
    good = {r.line: r.fields["a"] for r in records if not r.fault}
    assert good == {2: "1", 8: "7", 15: "12"}
    assert told(records) == {
        3: "has 1 columns where the header has 2",
        4: "has 3 columns where the header has 2",
        5: "malformed table: ',' expected after '\"'",
        6: "byte 0xe9 is not UTF-8; text must be UTF-8",
        7: "holds a NUL byte, which is no text",
        10: "byte 0xf6 is not UTF-8; text must be UTF-8",
        12: "malformed table: ',' expected after '\"' (the row runs to line 14)",
    }


def test_a_value_that_never_ends_is_refused_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "LIMIT", 2**16)
    monkeypatch.setattr(lines, "LIMIT", 2**16)
    rows = "".join(f"{n},{'x' * 100}\n" for n in range(3000))
    records = list(read_csv(write(tmp_path / "a.csv", 'a,b\n0,"open\n' + rows)))
    assert records[0].line == 2
    assert "a value is longer than" in told(records)[2]
    assert records[-1].fields["a"] == "2999"
    assert sum(1 for r in records if r.fault) == 1


def test_a_line_that_is_too_long_is_one_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LIMIT", 2**16)
    records = list(read_csv(write(tmp_path / "b.csv", f"a,b\n0,{'x' * 2**18}\n1,x\n")))
    assert [r.fields for r in records] == [{}, {"a": "1", "b": "x"}]
    assert told(records)[2].startswith("a line is longer than")


def test_blank_rows_are_passed_over(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "\na,b\n\n  \n1,2\n,,,\n")
    assert [(r.line, r.fields) for r in read_sources([source])] == [(5, {"a": "1", "b": "2"})]


def test_two_files_are_read_in_turns(tmp_path: Path) -> None:
    text = "a,b\n" + f"{'x' * 200_000},b\n" * 3
    first, second = (read_csv(write(tmp_path / name, text)) for name in ("a.csv", "b.csv"))
    assert next(first).line == 2
    assert len(list(second)) == 3
    assert len(list(first)) == 2
