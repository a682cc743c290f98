"""Columns of the records under the names of the fields that formats read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anima_core.contracts import Record
from anima_core.data.formats import FIELDS
from anima_core.errors import DataError, UsageError
from anima_core.registry.names import did_you_mean

FLAG = "--columns"


class Columns:
    """Renames the columns that were named.

    Args:
        mapping: by field, the column that holds it.

    Attributes:
        hidden: fields of the records that a column was taken in the place of.

    Raises:
        UsageError: no format reads such a field.
    """

    def __init__(self, mapping: Mapping[str, str]) -> None:
        for field in mapping:
            if field not in FIELDS:
                raise UsageError(
                    f"no format reads a field {field!r}",
                    where=f"{FLAG} {field}={mapping[field]}",
                    fix=did_you_mean(field, FIELDS) or f"Fields are {', '.join(sorted(FIELDS))}.",
                )
        self.hidden: dict[str, None] = {}
        self._mapping = dict(mapping)
        self._never = dict.fromkeys(mapping.values())
        self._there: dict[str, None] = {}

    def rename(self, record: Record) -> Record:
        """The record with its columns under the fields' names; one that lacks a column lacks it."""
        if not self._mapping or record.fault:
            return record
        fields: dict[str, Any] = dict(record.fields)
        if self._never:
            self._there |= dict.fromkeys(map(str, fields))
        taken = {
            field: fields.pop(column)
            for field, column in self._mapping.items()
            if column in record.fields
        }
        for field in taken:
            self._never.pop(self._mapping[field], None)
            if field in fields:
                self.hidden[field] = None
        return replace(record, fields={**fields, **taken})

    def refuse_missing(self, where: str) -> None:
        """Refuse a column that no record had.

        Raises:
            DataError: naming the columns that there are.
        """
        for field, column in self._mapping.items():
            if column in self._never:
                raise DataError(
                    f"no record has a column {column!r}; there are {', '.join(self._there)}",
                    where=f"{where}: {FLAG} {field}={column}",
                    fix=did_you_mean(column, self._there),
                )
