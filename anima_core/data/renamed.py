"""Columns of the records under the names of the fields that formats read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from anima_core.contracts import Record
from anima_core.data.formats import FIELDS
from anima_core.errors import DataError, UsageError
from anima_core.registry.names import did_you_mean

FLAG = "--columns"


@dataclass
class Seen:
    """What was met of the columns that were named.

    Attributes:
        hidden: fields of the records that a column was taken in the place of.
        found: the columns that some record had.
        there: every column there is.
    """

    hidden: dict[str, None] = field(default_factory=dict)
    found: dict[str, None] = field(default_factory=dict)
    there: dict[str, None] = field(default_factory=dict)

    def merge(self, later: Seen) -> None:
        """Take in what was met in the records that follow."""
        self.hidden |= later.hidden
        self.found |= later.found
        self.there |= later.there


class Columns:
    """Renames the columns that were named.

    Args:
        mapping: by field, the column that holds it.

    Raises:
        UsageError: no format reads such a field.
    """

    def __init__(self, mapping: Mapping[str, str]) -> None:
        for name in mapping:
            if name not in FIELDS:
                raise UsageError(
                    f"no format reads a field {name!r}",
                    where=f"{FLAG} {name}={mapping[name]}",
                    fix=did_you_mean(name, FIELDS) or f"Fields are {', '.join(sorted(FIELDS))}.",
                )
        self._mapping = dict(mapping)

    def rename(self, record: Record, seen: Seen) -> Record:
        """The record with its columns under the fields' names; one that lacks a column lacks it."""
        if not self._mapping or record.fault:
            return record
        fields: dict[str, Any] = dict(record.fields)
        seen.there |= dict.fromkeys(map(str, fields))
        taken = {
            name: fields.pop(column)
            for name, column in self._mapping.items()
            if column in record.fields
        }
        for name in taken:
            seen.found[self._mapping[name]] = None
            if name in fields:
                seen.hidden[name] = None
        return replace(record, fields={**fields, **taken})

    def refuse_missing(self, seen: Seen, where: str) -> None:
        """Refuse a column that no record had.

        Raises:
            DataError: naming the columns that there are.
        """
        for name, column in self._mapping.items():
            if column not in seen.found:
                raise DataError(
                    f"no record has a column {column!r}; there are {', '.join(seen.there)}",
                    where=f"{where}: {FLAG} {name}={column}",
                    fix=did_you_mean(column, seen.there),
                )
