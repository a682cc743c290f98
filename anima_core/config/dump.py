"""Write a run file from what a run was resolved to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from anima_core.config.core import NOT_IN_RUN_FILE, CoreOptions
from anima_core.config.paths import absolute, home_expanded
from anima_core.config.run_file import STRATEGIES
from anima_core.config.text import NONE
from anima_core.registry.names import snake, split_reference

if TYPE_CHECKING:
    from pydantic import BaseModel

    from anima_core.strategy import Options


def dump_run_file(config: CoreOptions, strategies: Mapping[str, Options]) -> str:
    """A run file that `read_run_file` reads back to the same options, exactly.

    Args:
        config: the core's options, resolved; those of one invocation alone are left out, and
            paths that exist on this machine are made absolute.
        strategies: options of every strategy that was named, by name or ``dist:name``, in
            order (`Selection.named`).
    """
    core = {
        name: absolute(name, getattr(config, name))
        for name in CoreOptions.model_fields
        if name not in NOT_IN_RUN_FILE and getattr(config, name) is not None
    }
    core[STRATEGIES] = {_key(name): _options(options) for name, options in strategies.items()}
    return yaml.dump(core, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Safe, and escapes what YAML takes for the end of a line."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if text.replace("\n", "").isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _key(reference: str) -> str:
    distribution, name = split_reference(reference)
    return f"{distribution}:{snake(name)}" if distribution else snake(name)


def _options(options: BaseModel) -> dict[str, Any]:
    """Every option; no value where the default is one is a word, since null means the default."""
    fields = type(options).model_fields
    values: dict[str, Any] = {}
    for name in fields:
        value = getattr(options, name)
        if value is not None:
            values[name] = _plain(value)
        elif fields[name].is_required() or fields[name].get_default() is not None:
            values[name] = NONE
    return values


def _plain(value: Any) -> Any:
    """A value as YAML's own types."""
    if isinstance(value, Path):
        return str(home_expanded(value).absolute())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item) for item in value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return value
