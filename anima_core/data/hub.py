"""Records from a data set on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator

from anima_core.contracts import Record
from anima_core.data import columnar
from anima_core.errors import DataError

SPLIT = "train"
"""The split that is read unless another is named."""

_ID = re.compile(
    r"(?P<name>[\w.-]+(/[\w.-]+)?)(@(?P<config>[\w.+-]+))?"
    r"(:(?P<split>[\w.-]+(\[[\w:%-]*\])?))?"
)


def is_hub_id(source: str) -> bool:
    """Whether this can be the name of a hub data set: ``owner/name@config:split``."""
    return bool(_ID.fullmatch(source))


def read_hub(source: str) -> Iterator[Record]:
    """Rows of a hub data set; `line` is the row's 1-based number.

    Args:
        source: ``owner/name``, then ``@config`` if there are several, then ``:split`` if not
            `SPLIT` (also a part of one: ``:train[:1000]``).

    Raises:
        DataError: it does not exist, has no such split, needs a choice or a script, or the hub
            cannot be reached and it is not in the local cache.
    """
    match = _ID.fullmatch(source)
    if not match:
        raise DataError("is neither a file nor the name of a hub data set", where=source)
    import datasets

    name, config, split = match["name"], match["config"], match["split"] or SPLIT
    try:
        data = datasets.load_dataset(name, config, split=split)
    except ConnectionError as error:  # also what the library's own offline errors derive from
        raise DataError(
            f"is no file here, and the hub cannot be reached: {_short(error)}",
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
            f"could not be loaded from the hub: {_short(error)}",
            where=source,
            fix=f"read was the split {split!r}; choose as {name}@config:split, or save it as "
            "jsonl or parquet and give the file",
        ) from None
    yield from columnar.rows(data.with_format("arrow").iter(columnar.ROWS_AT_ONCE), source)


def _short(error: BaseException) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 300 else f"{said[:299]}…"
