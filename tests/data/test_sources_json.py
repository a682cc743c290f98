from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anima_core.contracts import Record
from anima_core.data import jsons, lines, window
from anima_core.data.faults import kind_of
from anima_core.data.jsons import read_json
from anima_core.data.read import read_sources
from anima_core.data.window import Window
from anima_core.errors import DataError

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
CHUNKS = st.integers(1, 40)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n\t", " : ")])
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def decode(text: bytes, chunk: int) -> tuple[list[Any], DataError | None]:
    """Every value of a list or a sequence, and what ended it."""
    reader = Window(io.BufferedReader(io.BytesIO(text)), "x.json", chunk)  # type: ignore[arg-type]
    each = jsons._elements if reader.peek() == "[" else jsons._sequence
    values = []
    try:
        for value in each(reader):
            if value.fault:
                return values, value.fault
            values.append(value.value)
    except DataError as error:
        return values, error
    return values, None


@quick
@given(st.lists(VALUES), CHUNKS, st.booleans(), SEPARATORS, st.booleans())
def test_a_list_is_what_json_says_for_any_chunks(
    values: list[Any], chunk: int, ascii_: bool, separators: tuple[str, str], mark: bool
) -> None:
    text = json.dumps(values, ensure_ascii=ascii_, separators=separators)
    raw = ("\ufeff" * mark + text).encode("utf-8", "surrogatepass" if ascii_ else "strict")
    assert decode(raw, chunk) == (json.loads(text), None)


@quick
@given(st.lists(VALUES.filter(lambda v: not isinstance(v, list)), min_size=1), CHUNKS)
def test_a_sequence_is_what_json_says_for_any_chunks(values: list[Any], chunk: int) -> None:
    text = "\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    assert decode(text.encode(), chunk) == (values, None)


@quick
@given(st.lists(VALUES, min_size=1), CHUNKS, st.data())
def test_a_broken_list_is_refused_where_json_refuses_it(
    values: list[Any], chunk: int, data: st.DataObject
) -> None:
    text = json.dumps(values, ensure_ascii=False, indent=1)
    at = data.draw(st.integers(1, len(text) - 1))
    broken = text[:at] + data.draw(st.sampled_from(["", ",", "}", "#", '"', "\n"])) + text[at:]
    broken = broken[: data.draw(st.integers(at, len(broken)))]
    try:
        expected, error = json.loads(broken), None
    except json.JSONDecodeError as caught:
        expected, error = None, caught
    found, fault = decode(broken.encode(), chunk)
    if error is None:
        assert (found, fault) == (expected, None)
    else:
        assert fault is not None
        *_, line, column = fault.where.split(":")
        whole = decode(broken.encode(), 10**6)[1]
        assert whole is not None
        assert (fault.what.splitlines()[0], fault.where) == (
            whole.what.splitlines()[0],
            whole.where,
        )
        # Between records it is this reader that says what is wrong, and json at times points at
        # the comma before the place.
        if "Expecting" in fault.what and "Expecting" in error.msg:
            assert (int(line), int(column)) == (error.lineno, error.colno)


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_a_large_list_is_read_in_little_memory(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "x" * 1000, "completion": "你好" * 200}, ensure_ascii=False)
    source = write(tmp_path / "a.json", "[" + ",\n".join([row] * 20_000) + "]")
    assert Path(source).stat().st_size > 40 * 2**20
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_json(source)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_bytes_that_are_no_utf8_are_one_records_fault(tmp_path: Path) -> None:
    rows = [b'{"a": "%d"}' % n for n in range(50)]
    rows[7] = b'{"a": "caf\xe9"}'
    rows[30] = b'{"\xff": 1, "a": "\xf0\x9f"}'
    source = write(tmp_path / "a.json", b"[" + b",\n".join(rows) + b"]")
    for chunk in (1, 7, 1000):
        records = list(read_json(source, chunk))
        assert len(records) == 50
        assert {r.line: r.fault.where for r in records if r.fault} == {
            8: f"{source}:8:11",
            31: f"{source}:31:3",
        }


@pytest.mark.parametrize(("begin", "between", "end"), [("", "\n", ""), ("[\n", ",\n", "\n]")])
def test_one_object_a_line_goes_on_behind_a_bad_line(
    tmp_path: Path, begin: str, between: str, end: str
) -> None:
    rows = [f'{{"a": {n}}}' for n in range(40)]
    rows[3], rows[20], rows[39] = '{"a": 3', '{"a" 20}', '{"a": "'
    source = write(tmp_path / "a.json", begin + between.join(rows) + end)
    first = 2 if begin else 1
    for chunk in (1, 11, 10**6):
        records = list(read_json(source, chunk))
        assert [r.line for r in records] == list(range(1, 41))
        assert [r.line for r in records if r.fault] == [4, 21, 40]
        lines = [int(r.fault.where.split(":")[-2]) for r in records if r.fault]
        # What lacks its bracket goes on in the next line, as far as JSON can tell.
        assert lines == [4 + first, 20 + first, 39 + first]


def test_a_list_that_is_cut_short_ends_with_one_fault(tmp_path: Path) -> None:
    source = write(tmp_path / "a.json", '[\n{"a": 1},\n{"a": 2},\n{"a": ')
    assert [r.fault is None for r in read_json(source)] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("{'a': 1}", "double quotes"),
        ("{\"a\": 'b'}", "double quotes"),
        ('{"a": True}', "true in JSON"),
        ('{"a": None}', "null in JSON"),
        ('{"a": [1,]}', "comma too many"),
        ('{"a": "b\tc"}', "is written"),
        ('{"a": "C:\\p"}', "written twice"),
    ],
)
def test_the_usual_slips_are_told_with_their_cure(tmp_path: Path, text: str, fix: str) -> None:
    for name in ("a.json", "a.jsonl"):
        (record,) = read_sources([write(tmp_path / name, text)])
        assert record.fault is not None
        assert fix in record.fault.fix


def test_old_line_ends_are_named(tmp_path: Path) -> None:
    (record,) = read_sources([write(tmp_path / "a.jsonl", '{"a": 1}\r{"a": 2}\r')])
    assert record.fault is not None
    assert record.fault.fix == "end each line with a line feed"


def test_objects_over_several_lines_end_at_the_first_bad_one(tmp_path: Path) -> None:
    good, bad = json.dumps({"a": 1}, indent=1), '{\n "a" 2\n}'
    source = write(tmp_path / "a.json", "\n".join([good, bad, good]))
    records = read_json(source)
    assert next(records) == Record({"a": 1}, source, 1)
    with pytest.raises(DataError, match=r"a\.json:5:6"):
        next(records)


def test_what_is_too_long_for_one_record_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LIMIT", 2**20)
    monkeypatch.setattr(window, "LIMIT", 2**20)
    rows = ['{"a": 1}', '{"a": "' + "x" * 3 * 2**20 + '"}', '{"a": 2}']
    source = write(tmp_path / "a.json", "\n".join(rows))
    records = list(read_json(source, 2**10))
    assert [r.fields for r in records] == [{"a": 1}, {}, {"a": 2}]
    assert records[1].fault is not None
    assert records[1].fault.where == f"{source}:2:1"
    assert "longer than 1 MiB" in records[1].fault.what
    source = write(tmp_path / "b.json", "[" + ",".join(rows) + "]")
    with pytest.raises(DataError, match=r"b\.json:1:11: a record is longer than 1 MiB"):
        list(read_json(source, 2**10))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('[{"a": 1 "b": 2}]', '\n    [{"a": 1 "b": 2}]\n             ^'),
        ('[\n {"你": 1 "b": 2}\n]', '\n     {"你": 1 "b": 2}\n              ^'),
        ('[{"a": "\t"}]', '\n    [{"a": " "}]\n            ^'),
        ("[1, 2", "\n    [1, 2\n         ^"),
    ],
)
def test_the_text_around_is_shown(tmp_path: Path, text: str, shown: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read_json(write(tmp_path / "a.json", text)))
    assert caught.value.what.endswith(shown)


def test_the_text_around_is_short(tmp_path: Path) -> None:
    text = '[{"a": "' + "x" * 200 + '", "b" "' + "y" * 200 + '"}]'
    with pytest.raises(DataError) as caught:
        list(read_json(write(tmp_path / "a.json", text)))
    _, around, caret = caught.value.what.splitlines()
    assert around.startswith("    …xxx")
    assert around.endswith("yyy…")
    assert len(around.strip()) <= 60
    assert around[caret.index("^") :].startswith('"yyy')


def test_the_kind_of_a_fault_leaves_the_text_around_out(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(read_json(write(tmp_path / "a.json", "[1, }")))
    assert kind_of(caught.value.what) == "malformed JSON: Expecting value"
