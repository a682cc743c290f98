"""The prompts of ``--sample-prompts``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anima_core.errors import UsageError


def sample_prompts(given: Sequence[str]) -> list[str]:
    """The prompts: each item is one, or names a text file with one a line.

    Raises:
        UsageError: a file that cannot be read, or holds no prompt.
    """
    prompts: list[str] = []
    for item in given:
        path = Path(item)
        if len(item) > 255 or not path.is_file():
            if path.suffix == ".txt" and "\n" not in item:
                raise UsageError(
                    f"{item} is not there", where="--sample-prompts", fix="Name a text file."
                )
            prompts.append(item)
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{item} cannot be read: {error}", where="--sample-prompts", fix="Use UTF-8 text."
            ) from error
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise UsageError(
                f"{item} is empty", where="--sample-prompts", fix="Write one prompt a line."
            )
        prompts += found
    return prompts
