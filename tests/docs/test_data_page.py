"""The page of the data shows a record of every format, and each is read as that format."""

from __future__ import annotations

import pytest
from anima_reference.formats import RECORDS, formats_page

from anima_core.contracts import Record
from anima_core.data.formats import FORMATS, to_example
from anima_core.data.formats.known import Format


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_its_record_is_read_as_the_format(known: Format) -> None:
    example = to_example(Record(RECORDS[known.name], "page.jsonl", 1), known.kind)
    assert example.format == known.name
    assert example.text or example.messages


def test_every_format_has_a_section() -> None:
    page = formats_page()
    assert all(f"{{ #{known.name} }}" in page for known in FORMATS)
