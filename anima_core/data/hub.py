"""Records from a data set on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator

from anima_core.contracts import Record
from anima_core.errors import DataError

SPLIT = "train"
"""The split that is read."""

_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def read_hub(source: str) -> Iterator[Record]:
    """Rows of a hub data set's training split; `line` is the row's 1-based number.

    Raises:
        DataError: it does not exist, has no such split, needs a choice or a script, or the hub
            cannot be reached and it is not in the local cache.
    """
    if not _ID.fullmatch(source):
        raise DataError("is neither a file nor the name of a hub data set", where=source)
    import datasets

    try:
        rows = datasets.load_dataset(source, split=SPLIT)
    except ConnectionError as error:  # also what the library's own offline errors derive from
        raise DataError(
            f"is no file here, and the hub cannot be reached: {_first(error)}",
            where=source,
            fix="check the connection (and HF_HUB_OFFLINE), or give a file",
        ) from None
    except datasets.exceptions.DatasetNotFoundError:
        raise DataError(
            "is neither a file here nor a data set on the hub that can be reached",
            where=source,
            fix="check the name; a private or gated data set wants `hf auth login` first",
        ) from None
    except (datasets.exceptions.DatasetsError, ValueError, RuntimeError, OSError) as error:
        raise DataError(
            f"could not be loaded from the hub: {_first(error)}",
            where=source,
            fix=f"only a data set with one configuration and a {SPLIT!r} split is read; "
            "save another as jsonl or parquet and give the file",
        ) from None
    for number, fields in enumerate(rows, 1):
        yield Record(fields, source, number)


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
