"""Everything that can be changed about one model instance, to be compared with itself later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

_REGISTRIES = ("_parameters", "_buffers", "_modules")
_OTHERWISE = frozenset(_REGISTRIES)
"""Attributes that are compared in another way: as tensors, and as modules by name."""


class Snapshot:
    """What a model is made of: its modules, their classes, attributes and hooks, its weights.

    Args:
        model: the model.
    """

    def __init__(self, model: Any) -> None:
        self._modules = {name: (m, type(m), _attributes(m)) for name, m in model.named_modules()}
        self._tensors = {name: (t, t.detach().clone()) for name, t in _tensors(model)}
        self._flags = {name: p.requires_grad for name, p in model.named_parameters()}
        self._classes = _classes(model)
        self._config = model.config.to_dict()

    def differences(self, model: Any) -> Iterator[str]:
        """What of a model is not as it was, one sentence each."""
        now = dict(model.named_modules())
        for name in sorted(now.keys() ^ self._modules.keys()):
            yield f"{_shown(name)} was {'added' if name in now else 'removed'}"
        for name, (module, cls, attributes) in self._modules.items():
            if name not in now:
                continue
            if now[name] is not module:
                yield f"{_shown(name)} is another module"
            elif type(module) is not cls:
                yield f"{_shown(name)} is a {type(module).__name__}, and was a {cls.__name__}"
            else:
                yield from _changed(_shown(name), attributes, _attributes(module))
        yield from self._changed_tensors(model)
        for cls, attributes in self._classes.items():
            yield from _changed(f"the class {cls.__name__}", attributes, dict(vars(cls)))
        config = model.config.to_dict()
        for name in sorted(config.keys() | self._config.keys()):
            if config.get(name) != self._config.get(name):
                yield f"the config has another `{name}`"

    def _changed_tensors(self, model: Any) -> Iterator[str]:
        now = dict(_tensors(model))
        for name in sorted(now.keys() ^ self._tensors.keys()):
            yield f"{name} was {'added' if name in now else 'removed'}"
        for name, (tensor, values) in self._tensors.items():
            if name not in now:
                continue
            if now[name] is not tensor:
                yield f"{name} is another tensor object, which an optimizer would not know"
            elif now[name].dtype != values.dtype or now[name].device != values.device:
                yield f"{name} is {now[name].dtype} on {now[name].device}"
            elif not torch.equal(now[name].detach(), values):
                yield f"{name} has other values"
        for name, parameter in model.named_parameters():
            if self._flags.get(name, parameter.requires_grad) != parameter.requires_grad:
                yield f"{name} has requires_grad={parameter.requires_grad}"


def _tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _attributes(module: Any) -> dict[str, Any]:
    """A module's own attributes; its hooks are compared one by one."""
    found: dict[str, Any] = {}
    for name, value in vars(module).items():
        if name in _OTHERWISE:
            continue
        if name.endswith("_hooks") and isinstance(value, Mapping):
            found |= {f"{name}[{key}]": hook for key, hook in value.items()}
            continue
        found[name] = value
        if isinstance(value, dict):
            found[f"{name}[…]"] = tuple((key, id(item)) for key, item in value.items())
        elif isinstance(value, list):
            found[f"{name}[…]"] = tuple(map(id, value))
    return found


def _classes(model: Any) -> dict[type, dict[str, Any]]:
    """Attributes of every class that a module is an instance of."""
    bases = {base for module in model.modules() for base in type(module).__mro__}
    return {cls: dict(vars(cls)) for cls in bases - {object}}


def _changed(where: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{where} lost `{name}`"
        elif name not in before:
            yield f"{where} kept `{name}`"
        elif after[name] is not before[name] and not _equal(after[name], before[name]):
            yield f"{where} has another `{name}`"


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, (bool, int, float, str, type(None), tuple, frozenset)):
        return type(a) is type(b) and a == b
    return False


def _shown(name: str) -> str:
    return name or "the model"
