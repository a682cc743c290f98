"""Examples from records: every data format that is understood, told apart by its fields."""

from anima_core.data.formats.example import Example, Kind
from anima_core.data.formats.known import FIELDS, FORMATS, Format, detect, fields_of, named
from anima_core.data.formats.make import to_example, to_examples

__all__ = [
    "FIELDS",
    "FORMATS",
    "Example",
    "Format",
    "Kind",
    "detect",
    "fields_of",
    "named",
    "to_example",
    "to_examples",
]
