"""What a run needs of its attention and its loss, refused before anything loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anima_core.errors import DataError, UsageError
from anima_core.problems import Problem
from anima_core.registry.names import CORE_DISTRIBUTION
from anima_core.strategy import GIVES
from anima_core.training.ranks import sharding_asked

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from anima_core.context import RunContext
    from anima_core.contracts import Attention, Loss
    from anima_core.registry.selection import Provider, Selection
    from anima_core.runs.plan import DataSummary


def capability_problems(run: RunContext, attention: Attention, loss: Loss) -> list[Problem]:
    """Problems between the model, the attention and the loss."""
    config = run.model_config
    found = []

    def lacks(what: str) -> None:
        found.append(Problem(f"attention {attention.name}", f"it cannot do {what}", "Use --sdpa."))

    if not attention.segments:
        lacks("segments, which every batch is made of")
    if loss.data != "completion" and not attention.shared_prefix:
        lacks("a prompt shared by two answers")
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and not attention.sliding_window:
        lacks(f"this model's sliding window of {window} tokens")
    if getattr(config, "attn_logit_softcapping", None) and not attention.softcap:
        lacks("this model's attention soft-capping")
    if attention.dtypes and run.dtype not in attention.dtypes:
        lacks(f"{run.dtype} (only {', '.join(attention.dtypes)})")
    if loss.needs == "hidden" and run.config.sample_prompts:
        what = "the loss looks at hidden states and teaches no answers: samples would say nothing"
        found.append(Problem("--sample-prompts", what, "Leave it out; watch with --eval-fraction."))
    return found + (_process_problems(loss) if run.world > 1 else [])


def kernel_problems(selection: Selection, loss: Loss) -> list[Problem]:
    """Problems between the loss and the kernel that feeds it."""
    asking, giving = (selection.providers[slot] for slot in ("loss", "token_logps"))
    gives = tuple(selection.cls_attribute("token_logps", "gives", GIVES))
    found = _collision_problems(asking, loss)
    if loss.needs == "hidden":
        return found + _hidden_problems(asking, giving, loss)
    if loss.needs not in gives:
        what = (
            f"{asking} needs {loss.needs!r} of the kernel, and {giving} gives "
            f"{' and '.join(gives) or 'nothing'} only"
        )
        fix = f"Leave out --{giving.strategy}, or use another loss."
    elif loss.needs == "topk" and not callable(getattr(loss, "wanted", None)):
        what = f"{asking} needs 'topk', and its loss has no method `wanted` to say which tokens"
        fix = "The plugin must define wanted(batch)."
    else:
        return found
    return [*found, Problem(f"--{asking.strategy} --{giving.strategy}", what, fix)]


def _collision_problems(asking: Provider, loss: Loss) -> list[Problem]:
    """Collision probabilities, beside anything but the log-probs of the targets."""
    if loss.needs == "logps" or not getattr(loss, "collision", False):
        return []
    what = (
        f"{asking} says collision = True and needs {loss.needs!r}: collision probabilities go with "
        "'logps' alone"
    )
    return [Problem(f"--{asking.strategy}", what, "The plugin must say collision = False.")]


def _hidden_problems(asking: Provider, giving: Provider, loss: Loss) -> list[Problem]:
    """What is wrong beside a loss that looks at hidden states, where no kernel takes part."""
    found = []
    if not (giving.strategy == "plain" and giving.distribution == CORE_DISTRIBUTION):
        what = f"{asking} takes hidden states and no log-probs, so {giving} would do nothing"
        fix = f"Leave out --{giving.strategy}."
        found.append(Problem(f"--{asking.strategy} --{giving.strategy}", what, fix))
    if loss.uses_reference:
        what = f"{asking} wants reference log-probs, and needs 'hidden': it has none to compare"
        fix = "The plugin must say uses_reference = False."
        found.append(Problem(f"--{asking.strategy}", what, fix))
    if not callable(getattr(loss, "places", None)):
        what = f"{asking} needs 'hidden', and its loss has no method `places` to say which tokens"
        found.append(Problem(f"--{asking.strategy}", what, "The plugin must define places(batch)."))
    return found


def weight_problems(selection: Selection, loss: Loss, data: DataSummary) -> list[Problem]:
    """Messages with weights, beside a loss that would count all tokens of an example alike."""
    if not data.weighted or getattr(loss, "weighs_tokens", False):
        return []
    asking = selection.providers["loss"]
    return [
        Problem(
            f"--{asking.strategy}",
            f"{data.weighted:,} example{'s have' if data.weighted > 1 else ' has'} messages with a "
            "'weight' other than 0 and 1, and "
            f"{asking} counts all tokens of an example alike",
            "Leave those weights out (0 leaves a message out, and a record as a whole may have a "
            "'weight'), or use --sft. A loss that counts by batch.target_weights says "
            "weighs_tokens = True.",
            exit_code=DataError.exit_code,
        )
    ]


def margin_notes(selection: Selection, loss: Loss, data: DataSummary) -> list[Problem]:
    """Pairs that say by how much an answer is the better one, beside a loss that does not look."""
    if not data.margined or getattr(loss, "reads_margins", False):
        return []
    asking = selection.providers["loss"]
    what = (
        f"{data.margined:,} record{'s have' if data.margined > 1 else ' has'} a 'margin', which "
        f"{asking} does not look at"
    )
    return [Problem("data", what, level="note")]


def _process_problems(loss: Loss) -> list[Problem]:
    """What would not be exact in several processes."""
    found = []
    if loss.scope == "step":
        what = "a loss that sees the whole step runs in one process only"
        fix = "Launch one process, or take a loss that looks at each example by itself."
        found.append(Problem("loss", what, fix))
    elif hasattr(loss, "state_dict") and getattr(loss, "step_done", None) is None:
        what = "a loss that keeps state without `step_done` runs in one process only"
        fix = "Launch one process; its plugin may change what it keeps in `step_done` instead."
        found.append(Problem("loss", what, fix))
    if sharding := sharding_asked():
        found.append(
            Problem(
                "accelerate launch",
                f"{sharding} is not supported: each process keeps the whole model (DDP)",
                "Launch with torchrun, or with `accelerate launch --multi_gpu`.",
            )
        )
    return found


def window_problems(run: RunContext) -> list[Problem]:
    """What is wrong with a ``--max-length`` past the model's window."""
    limit, window = run.config.max_length, window_of(run.model_config)
    if limit is None or limit <= window:
        return []
    learned = getattr(run.model_config, "rope_parameters", None) is None
    return [
        Problem(
            "--max-length",
            f"{limit} is past the model's window of {window} tokens"
            + (", and it has no position beyond" if learned else ", which it was not trained for"),
            f"Say {window} or less." if learned else "Add --rope-scaling, or say less.",
            level="error" if learned else "warning",
        )
    ]


def window_of(config: PretrainedConfig) -> int:
    """The model's window in tokens, scaled where RoPE scaling says so."""
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        if value := getattr(config, name, None):
            return int(value)
    raise UsageError(
        "the model's config does not say how long its window is",
        where="--max-length",
        fix="Give --max-length.",
    )
