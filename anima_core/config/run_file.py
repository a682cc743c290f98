"""Read a run file, with the line of whatever is wrong in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from anima_core.config.core import CoreOptions
from anima_core.config.paths import anchored, anchored_option, home_expanded
from anima_core.errors import UsageError
from anima_core.registry.names import canonical_reference, did_you_mean, snake, split_reference
from anima_core.runs.request import RunRequest

STRATEGIES = "strategies"
"""The key that holds the strategies; every other key is a core option."""

_DEPTH = 2  # options of strategies; an alias may make a document endless

Lines = dict[tuple[str, ...], int]


def read_run_file(path: Path | str) -> RunRequest:
    """Read a run file: core options in snake_case, and ``strategies:``.

    A value of null means the default. Relative paths are resolved against the file's folder.
    A strategy is written in snake_case or kebab-case, with ``dist:`` before it where two
    distributions offer it, and holds its options or nothing.

    Raises:
        UsageError: naming file and line: no such file, no YAML, an unknown key, a key twice.
    """
    file = home_expanded(path)
    values, lines = _parse(file)
    folder = file.resolve().parent
    known = [*CoreOptions.model_fields, STRATEGIES]
    for key in values:
        if key not in known:
            raise UsageError(
                f"unknown key `{key}`",
                where=_place(file, lines, (str(key),)),
                fix=did_you_mean(str(key), known) or "see `anima train --help` for every option",
            )
    core = {
        key: anchored(key, value, folder)
        for key, value in values.items()
        if key != STRATEGIES and value is not None
    }
    strategies = _strategies(values.get(STRATEGIES), file, lines, folder)
    return RunRequest(core, strategies, places=_places(file, lines))


def _places(file: Path, lines: Lines) -> dict[str, str]:
    """Where each value stands, by core option or by strategy and option."""
    places = {}
    for key, line in lines.items():
        if len(key) == 1:
            places[key[0]] = f"{file}:{line}"
        elif key[0] == STRATEGIES and len(key) == 3:
            strategy = split_reference(key[1])[1]
            places[f"{strategy}.{snake(key[2])}"] = f"{file}:{line}"
    return places


def _strategies(value: Any, file: Path, lines: Lines, folder: Path) -> dict[str, dict[str, Any]]:
    if value is None:
        return {}
    place = _place(file, lines, (STRATEGIES,))
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        value = dict.fromkeys(value)
    if not isinstance(value, Mapping):
        raise UsageError(
            "`strategies` holds the strategies' names, each with its options", where=place
        )
    strategies: dict[str, dict[str, Any]] = {}
    for key, options in value.items():
        place = _place(file, lines, (STRATEGIES, str(key)))
        if options is not None and not isinstance(options, Mapping):
            raise UsageError(
                f"`{key}` holds {options!r}; its options were expected, by name", where=place
            )
        name = canonical_reference(str(key))
        if name in strategies:
            raise UsageError(f"the strategy `{name}` stands here twice", where=place)
        given = {snake(str(k)): v for k, v in (options or {}).items() if v is not None}
        strategies[name] = {k: anchored_option(v, folder) for k, v in given.items()}
    return strategies


def _parse(file: Path) -> tuple[dict[str, Any], Lines]:
    """The file's mapping, and the line of each of its keys."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(
            f"the run file cannot be read: {reason}", where=f"--config {file}"
        ) from error
    lines: Lines = {}
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            _note_lines(node, (), lines, file)
        values = {} if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark is not None else str(file)
        what = getattr(error, "problem", None) or str(error)
        raise UsageError(f"this is no YAML: {what}", where=where) from error
    except ValueError as error:  # a date that is none
        raise UsageError(f"this is no YAML: {error}", where=str(file)) from error
    if not isinstance(values, dict):
        raise UsageError("a run file holds options by name", where=f"{file}:1")
    return values, lines


def _note_lines(node: yaml.Node, path: tuple[str, ...], lines: Lines, file: Path) -> None:
    if not isinstance(node, yaml.MappingNode) or len(path) > _DEPTH:
        return
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        here = (*path, str(key.value))
        if here in lines:
            raise UsageError(
                f"`{key.value}` stands here twice; the first is in line {lines[here]}",
                where=f"{file}:{key.start_mark.line + 1}",
            )
        lines[here] = key.start_mark.line + 1
        _note_lines(value, here, lines, file)


def _place(file: Path, lines: Lines, key: tuple[str, ...]) -> str:
    return f"{file}:{lines[key]}" if key in lines else str(file)
