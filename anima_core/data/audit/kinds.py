"""Which kind of examples a data set holds, told from its first records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from anima_core.contracts import Record
from anima_core.data.formats import FORMATS, Kind, detect
from anima_core.errors import DataError

LOOKED_AT = 256
"""Records that are looked at."""


def kind_of(
    records: Iterable[Record], columns: dict[str, str], form: str | None
) -> tuple[Kind, Iterator[Record]]:
    """The kind of most of the first records.

    Args:
        records: records, read as they are needed.
        columns: by field, the column that holds it.
        form: name of the format to read them in, which decides; None where it is not named.

    Returns:
        The kind (completion, where no record fits any format), and all of the records.
    """
    for known in FORMATS:
        if known.name == form:
            return known.kind, iter(records)
    stream = iter(records)
    first: list[Record] = []
    failed: DataError | None = None
    try:
        first.extend(islice(stream, LOOKED_AT))
    except DataError as error:
        failed = error
    kinds: Counter[Kind] = Counter()
    for record in first:
        fields = dict(record.fields)
        fields |= {field: fields[column] for field, column in columns.items() if column in fields}
        found = detect(fields)
        if found:
            kinds[found.kind] += 1
    kind: Kind = kinds.most_common(1)[0][0] if kinds else "completion"
    return kind, chain(first, _rest(stream, failed))


def _rest(stream: Iterator[Record], failed: DataError | None) -> Iterator[Record]:
    if failed:
        raise failed
    yield from stream
