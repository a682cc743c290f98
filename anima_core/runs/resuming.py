"""Whether a checkpoint belongs to the run that is to go on from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anima_core.errors import UsageError

STATEFUL_SLOTS = frozenset({"load_model", "adapt_model", "loss", "optimizer"})
SAME_OPTIONS = (
    "batch_size", "batching", "seed", "learning_rate", "schedule", "warmup", "weight_decay",
    "max_grad_norm",
)  # fmt: skip
"""Options that decide what a step does; others (steps, saving, watching, memory) may change."""


def check_same_run(old: Mapping[str, Any], new: Mapping[str, Any], step: int) -> None:
    """Refuse to go on from a checkpoint of something else.

    Args:
        old: the manifest of the run directory.
        new: the manifest of what was asked for now.
        step: the checkpoint's step.

    Raises:
        UsageError: naming everything that differs.
    """
    differing = list(_differences(old, new))
    if differing:
        raise UsageError(
            f"the run to go on with was another: {'; '.join(differing)}",
            where="--resume",
            fix="Give the options of the first start (its config.yaml has them), or another "
            "--output.",
        )
    if new["plan"]["steps"] < step:
        raise UsageError(
            f"the newest checkpoint is past it, at step {step}",
            where=f"--steps {new['plan']['steps']}",
            fix="Ask for more steps, or name another --output.",
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for what, key in (("data", "data_sha256"), ("chat template", "template_sha256")):
        if old.get(key) != new.get(key):
            yield f"other {what}"
    for what, key in (("base model", "sha256"), ("starting run", "run")):
        if old["model"].get(key) != new["model"].get(key):
            yield f"another {what}"
    start = "trained_sha256"
    if start in old["model"] and old["model"][start] != new["model"].get(start):
        yield "another adapter in the starting run (it was trained anew)"
    if _reference(old) != _reference(new):
        yield "another reference model"
    before, now = _stateful(old), _stateful(new)
    for name in sorted({*before, *now}):
        if name not in now:
            yield f"--{name} took part"
        elif name not in before:
            yield f"--{name} did not take part"
        elif (first := before[name]["distribution"]) != (other := now[name]["distribution"]):
            yield f"--{name} was of {first}, not of {other}"
        else:
            yield from _option_differences(
                f"--{name}.", before[name]["options"], now[name]["options"]
            )
    yield from _option_differences("--", old.get("options", {}), new["options"])


def _reference(manifest: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Hashes of the model that the reference log-probs come from; None for the policy."""
    model = manifest.get("reference") or {}
    return model.get("sha256"), model.get("trained_sha256")


def _option_differences(
    prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[str]:
    for name in new:
        if name in old and old[name] != new[name]:
            yield f"{prefix}{name.replace('_', '-')} was {old[name]}, not {new[name]}"


def _stateful(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The strategies that a checkpoint's state hangs on."""
    return {
        name: entry
        for name, entry in manifest["strategies"].items()
        if STATEFUL_SLOTS & set(entry["slots"]) or entry.get("configures_model")
    }
