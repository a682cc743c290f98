"""Whether what a hook returned is what the core can go on with, and how to say that it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from reprlib import Repr
from typing import Any, get_args

from anima_core.contracts import Adapter, Attention, Record
from anima_core.problems import Finding, Problem

_LITERALS = (str, bytes, int, float, complex, bool, type(None), tuple, list, dict, set, frozenset)
_DTYPES = frozenset({"float16", "bfloat16", "float32", "float64"})
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def check_answer(hook: str, answer: object) -> str:
    """What is wrong with what a hook returned; empty when it is what its specification asks for.

    Args:
        hook: the hook's name.
        answer: what one implementation of it returned. Of an iterable of records nothing is read:
            see `check_record`.

    Returns:
        A clause that follows the hook's name, e.g. ``answered 7, where … is wanted``.
    """
    return _CHECKS[hook](answer)


def check_record(record: object) -> str:
    """What is wrong with one of the things that a `read_data` hook gave; empty when nothing is."""
    if not isinstance(record, Record):
        return f"gave {shown(record)}, where an anima_core.Record is wanted"
    fields: Any = record.fields
    if not isinstance(fields, Mapping):
        return f"gave a record whose fields are {shown(fields)}, no mapping"
    return ""


def shown(value: object) -> str:
    """A value in a few words: plain data as it is written, anything else by its type."""
    if isinstance(value, _LITERALS):
        return _SHORT.repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}, not an instance"
    name = type(value).__qualname__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _wrong(answer: object, wanted: str) -> str:
    return f"answered {shown(answer)}, where {wanted} is wanted"


def _tokenizer(answer: object) -> str:
    from transformers import PreTrainedTokenizerBase

    good = isinstance(answer, PreTrainedTokenizerBase)
    return "" if good else _wrong(answer, "a transformers tokenizer (PreTrainedTokenizerBase)")


def _nothing(answer: object) -> str:
    return "" if answer is None else _wrong(answer, "None (the config is changed in place)")


def _model(answer: object) -> str:
    from transformers import PreTrainedModel

    good = isinstance(answer, PreTrainedModel)
    return "" if good else _wrong(answer, "a transformers.PreTrainedModel")


def _attention(answer: object) -> str:
    if not isinstance(answer, Attention):
        return _wrong(answer, "an anima_core.Attention")
    if not isinstance(answer.name, str) or not answer.name:
        return f"answered an Attention whose name is {shown(answer.name)}"
    if not isinstance(answer.dtypes, tuple) or not set(answer.dtypes) <= _DTYPES:
        return (
            f"answered an Attention whose dtypes are {shown(answer.dtypes)}, no tuple of names "
            f"like {', '.join(sorted(_DTYPES))}"
        )
    for name in ("segments", "shared_prefix", "sliding_window", "softcap"):
        if not isinstance(getattr(answer, name), bool):
            return f"answered an Attention whose {name} is {shown(getattr(answer, name))}, no bool"
    return ""


def _adapter(answer: object) -> str:
    import torch

    if not isinstance(answer, Adapter):
        return _wrong(answer, "an anima_core.Adapter")
    fault, model = "", vars(answer)["model"]
    if not isinstance(model, torch.nn.Module):
        fault = f"model is {shown(model)}"
    elif answer.folder not in ("adapter", "model"):
        fault = f"folder is {shown(answer.folder)}, not adapter or model"
    else:
        fault = _trainable(answer.trainable, torch.nn.Parameter)
    for name in ("save", "load", "merge", "disabled"):
        value = getattr(answer, name)
        if not fault and not callable(value) and not (value is None and name == "disabled"):
            fault = f"{name} is {shown(value)}, and cannot be called"
    return fault and f"answered an Adapter whose {fault}"


def _trainable(named: Any, kind: type) -> str:
    if not isinstance(named, Mapping):
        return f"trainable is {shown(named)}, no mapping"
    for name, parameter in named.items():
        if not isinstance(name, str) or not isinstance(parameter, kind):
            return f"trainable holds {shown(name)}: {shown(parameter)}, no named parameter"
    return ""


def _patch(answer: object) -> str:
    good = isinstance(answer, AbstractContextManager)
    return "" if good else _wrong(answer, "a context manager")


def _records(answer: object) -> str:
    if isinstance(answer, (str, bytes, Mapping)) or not isinstance(answer, Iterable):
        return _wrong(answer, "an iterable of anima_core.Record")
    return ""


def _kernel(answer: object) -> str:
    if isinstance(answer, type) or not callable(answer):
        return _wrong(answer, "a callable (hidden, head, target) -> log-probs")
    return ""


_LOSS_WORDS: Mapping[str, tuple[object, ...]] = {
    "data": ("completion", "preference", "unpaired"),
    "scope": ("example", "step"),
    "needs": ("logps", "topk", "hidden"),
    "uses_reference": (True, False),
}

_LOSS_METHODS: Mapping[str, tuple[str, ...]] = {"topk": ("wanted",), "hidden": ("places",)}
"""What a loss must have besides, by what it needs."""

_LOSS_MAY_HAVE = ("warnings", "data_problems", "step_done")
_LOSS_MAY_SAY = ("collision",)


def _loss(answer: object) -> str:
    methods = ["denominators", "__call__"]
    methods += _LOSS_METHODS.get(str(getattr(answer, "needs", None)), ())
    missing = [name for name in (*_LOSS_WORDS, *methods) if not hasattr(answer, name)]
    if isinstance(answer, type) or answer is None or len(missing) > 3:
        return _wrong(answer, f"a loss ({', '.join([*_LOSS_WORDS, *methods])})")
    if missing:
        return f"answered {shown(answer)}, a loss without {', '.join(missing)}"
    for name, words in _LOSS_WORDS.items():
        value = getattr(answer, name)
        if not any(value is word or (isinstance(value, str) and value == word) for word in words):
            known = " or ".join(map(str, words))
            return f"answered a loss whose {name} is {shown(value)}, not {known}"
    for name in _LOSS_MAY_SAY:
        if not isinstance(getattr(answer, name, False), bool):
            return f"answered a loss whose {name} is {shown(getattr(answer, name))}, no bool"
    differences = getattr(answer, "differences", {})
    if not _pairs_of_names(differences):
        return (
            f"answered a loss whose differences are {shown(differences)}, no mapping of a name to "
            "two names of metrics"
        )
    methods += [name for name in _LOSS_MAY_HAVE if getattr(answer, name, None) is not None]
    idle = [name for name in methods if not callable(getattr(answer, name))]
    return f"answered a loss whose {', '.join(idle)} cannot be called" if idle else ""


def _pairs_of_names(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str)
        and isinstance(pair, tuple)
        and len(pair) == 2
        and all(isinstance(part, str) for part in pair)
        for name, pair in value.items()
    )


def _optimizer(answer: object) -> str:
    import torch

    good = isinstance(answer, torch.optim.Optimizer)
    return "" if good else _wrong(answer, "a torch.optim.Optimizer")


def _callbacks(answer: object) -> str:
    from transformers import TrainerCallback

    return _sequence(answer, TrainerCallback, "transformers.TrainerCallback")


def _problems(answer: object) -> str:
    return _sequence(answer, Problem, "anima_core.Problem") or _levels(answer, Problem)


def _findings(answer: object) -> str:
    return _sequence(answer, Finding, "anima_core.Finding") or _levels(answer, Finding)


def _sequence(answer: object, kind: type, name: str) -> str:
    if isinstance(answer, (str, bytes)) or not isinstance(answer, Sequence):
        return _wrong(answer, f"a list or tuple of {name}")
    for item in answer:
        if not isinstance(item, kind):
            return f"answered a list with {shown(item)} in it, where every item is to be a {name}"
    return ""


def _levels(answer: Any, kind: type[Problem] | type[Finding]) -> str:
    from typing import get_type_hints

    levels = get_args(get_type_hints(kind)["level"])
    for item in answer:
        if item.level not in levels:
            one = kind.__name__
            return f"answered a {one} whose level is {shown(item.level)}, not {' or '.join(levels)}"
        for name in ("what", "fix"):
            if not isinstance(getattr(item, name), str):
                said = f"{name} is {shown(getattr(item, name))}, no text"
                return f"answered a {kind.__name__} whose {said}"
    return ""


def _bytes(answer: object) -> str:
    if not isinstance(answer, Mapping):
        return _wrong(answer, "a mapping of bytes by component")
    for name, size in answer.items():
        if not isinstance(name, str) or type(size) is not int or size < 0:
            said = f"{shown(name)}: {shown(size)}"
            return f"answered a mapping with {said} in it, no whole number of bytes by name"
    return ""


_CHECKS: Mapping[str, Callable[[object], str]] = {
    "load_tokenizer": _tokenizer,
    "configure_model": _nothing,
    "attention": _attention,
    "load_model": _model,
    "adapt_model": _adapter,
    "patch_model": _patch,
    "read_data": _records,
    "token_logps": _kernel,
    "loss": _loss,
    "optimizer": _optimizer,
    "callbacks": _callbacks,
    "estimate_memory": _bytes,
    "validate": _problems,
    "diagnose": _findings,
}
