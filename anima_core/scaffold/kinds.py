"""The hooks that a new plugin can begin with, and what its first version does. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from anima_core.errors import UsageError
from anima_core.hookspecs import HOOKS
from anima_core.registry.names import did_you_mean, snake

SUMMARIES: Mapping[str, str] = {
    "load_tokenizer": "The model's own tokenizer, with an end and a padding token of your choice",
    "configure_model": "Another base frequency of RoPE (Xiong et al. 2023), and a window to match",
    "attention": "Exact eager attention, its softmax in float32, some queries at a time",
    "load_model": "Unquantised weights from safetensors, each of them accounted for",
    "adapt_model": "Train biases and norms alone (BitFit, Zaken et al. 2021)",
    "patch_model": "Noise on the embeddings in training (NEFTune, Jain et al. 2023)",
    "read_data": "Records from YAML files, each with its line",
    "token_logps": "Log-probs by a log-sum-exp over chunks of the vocabulary",
    "loss": "Negative log-likelihood of the answers, a mean over tokens or over answers",
    "optimizer": "Lion: steps by the sign of the momentum (Chen et al. 2023)",
    "callbacks": "Stop when the loss has stayed below a value",
}
"""For each hook that has a template: what the plugin written from it does, in one line."""


def hook_of(word: str) -> str:
    """The hook that a user means by ``--slot``, in kebab-case or snake_case.

    Raises:
        UsageError: there is no such hook, or no plugin begins with it.
    """
    hook = snake(word.strip().lower())
    if hook in SUMMARIES:
        return hook
    known = f"Slots: {', '.join(SUMMARIES)}."
    if hook in HOOKS:
        raise UsageError(
            f"a plugin does not begin with `{hook}`, which says more about what another hook does",
            where="--slot",
            fix=f"Begin with that hook, and add `{hook}` to the class.\n{known}",
        )
    hint = did_you_mean(hook, SUMMARIES)
    raise UsageError(
        f"there is no slot `{word}`", where="--slot", fix=f"{hint}\n{known}" if hint else known
    )
