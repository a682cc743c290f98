"""The core's options: one model that the command line, run files and Python all share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from anima_core.config.values import one_or_many, pairs, shares

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Schedule = Literal["linear", "cosine", "constant"]
Overlong = Literal["error", "drop", "truncate", "split"]
TrainOn = Literal["all", "assistant", "last"]
Batching = Literal["shuffled", "full"]
Strings = Annotated[tuple[str, ...], BeforeValidator(one_or_many)]
Pairs = Annotated[tuple[str, ...], BeforeValidator(pairs)]
Shares = Annotated[tuple[str, ...], BeforeValidator(shares)]
Format = Literal[
    "prompt-completion", "prompt-response", "alpaca", "messages", "sharegpt", "input-output",
    "self-instruct", "long-data", "text", "chip2", "oasst", "hh-rlhf-text", "user-assistant",
    "preference", "alpaca-preference", "sharegpt-preference", "dialogue-pairs", "hh-rlhf",
    "unpaired",
]  # fmt: skip


class CoreOptions(BaseModel):
    """Every option of a run that does not belong to a strategy.

    A field's name in kebab-case is its flag (``batch_size``: ``--batch-size``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, defer_build=True)

    model: str = Field(
        description="Model: a local folder, a hub id, a .gguf file, 'demo', or a run directory "
        "whose adapter is trained further."
    )
    data: Strings = Field(
        default=(),
        description="Data: files (json, jsonl, csv, tsv, parquet, arrow, txt; also .gz, .zst), "
        "folders, quoted patterns, or hub data sets (owner/name@config:split).",
    )
    output: Path | None = Field(default=None, description="Run directory to write.")
    epochs: float = Field(default=1.0, gt=0, description="Passes over the data.")
    steps: int | None = Field(
        default=None, ge=1, description="Optimizer steps; overrides --epochs when given."
    )
    batch_size: int = Field(default=16, ge=1, description="Examples per optimizer step.")
    micro_tokens: int = Field(
        default=2048,
        ge=1,
        description="Tokens in flight at once; changes memory and speed, not the result. "
        "A longer example goes alone.",
    )
    batching: Batching = Field(
        default="shuffled",
        description="How examples are put together: at random, or in steps whose tokens fill "
        "micro-batches when --micro-tokens is a power of two (fewer of them, but steps of fewer "
        "and of more tokens).",
    )
    max_length: int | None = Field(
        default=None, ge=2, description="Longest sequence, in tokens [default: the model's window]."
    )
    max_prompt_length: int | None = Field(
        default=None,
        ge=1,
        description="Longest prompt, in tokens: all that stands before the last answer "
        "[default: what --max-length leaves].",
    )
    max_answer_length: int | None = Field(
        default=None,
        ge=1,
        description="Longest answer, in tokens with its end: the last one, or either of a pair "
        "[default: what --max-length leaves].",
    )
    overlong: Overlong = Field(
        default="error",
        description="What to do with a sequence past --max-length, or past the limits of prompt "
        "and answer: refuse, drop the example, truncate (leave out its earliest turns, then cut "
        "the first one left from its left; an answer stays whole), or split plain text.",
    )
    min_length: int | None = Field(
        default=None, ge=1, description="Leave shorter examples out, in tokens."
    )
    max_examples: int | None = Field(
        default=None, ge=1, description="Train on at most so many examples, drawn by --seed."
    )
    mix: Shares = Field(
        default=(),
        description="Share of the examples that each source of DATA gives, as SOURCE=SHARE: "
        "a.jsonl=0.7. Shares are relative and kept exactly, as far as the sources reach.",
    )
    format: Format | None = Field(
        default=None,
        description="Format of the records [default: told by each record's fields].",
    )
    columns: Pairs = Field(
        default=(),
        description="Which column holds a field that a format reads, as FIELD=COLUMN, e.g. "
        "prompt=question.",
    )
    fill: Pairs = Field(
        default=(),
        description="What takes the place of a placeholder in the data, as NAME=VALUE: "
        "name=Anima for {{name}}.",
    )
    template: str | None = Field(
        default=None,
        description="Chat template: chatml, chatml-tools, gemma, llama-2, llama-3, zephyr, or a "
        "Jinja file [default: the model's own; without one, a plain layout].",
    )
    train_on: TrainOn = Field(
        default="assistant",
        description="What of a dialogue is learnt: the assistant's turns, the last of them, or "
        "all of the text.",
    )
    skip_bad_records: bool = Field(
        default=False,
        description="Leave records that cannot be used out, counted and listed in the plan, "
        "instead of refusing the data.",
    )
    cache: bool = Field(
        default=True,
        description="Keep the data's tokens and the reference's log-probs for later runs, and take "
        "them from there when nothing that they depend on has changed.",
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="Peak learning rate [default: the loss's own, times the adapter's factor; "
        "anima plugins show NAME and the plan tell them].",
    )
    schedule: Schedule = Field(default="linear", description="Learning-rate schedule.")
    warmup: float = Field(
        default=0.03,
        ge=0,
        description="Warm-up: a fraction of all steps when below 1, else a number of steps.",
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="Decoupled weight decay, on matrices only."
    )
    max_grad_norm: float = Field(
        default=1.0, ge=0, description="Clip the gradient's L2 norm to this; 0 turns it off."
    )
    seed: int = Field(default=42, ge=0, description="Seed of order, initialisation and dropout.")
    dtype: Dtype = Field(
        default="auto",
        description="What matrix products compute in; auto takes bfloat16 where the device has "
        "it natively, else float32.",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:N or mps.")
    eval_data: Strings = Field(default=(), description="Held-out data to evaluate on.")
    eval_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Hold out so much of the data to evaluate on, by --seed; examples with the "
        "same prompt stay together.",
    )
    eval_every: int | None = Field(
        default=None, ge=1, description="Steps between evaluations [default: start and end only]."
    )
    save_every: int | None = Field(
        default=None,
        ge=1,
        description="Steps between checkpoints [default: only when interrupted].",
    )
    log_every: int = Field(default=1, ge=1, description="Steps between lines on the screen.")
    sample_prompts: Strings = Field(
        default=(),
        description="Prompts (or a text file with one a line) to answer before, during "
        "(with --eval-every) and after training.",
    )
    sample_tokens: int = Field(default=64, ge=1, description="Longest sample answer, in tokens.")
    resume: bool = Field(
        default=False, description="Go on from the newest checkpoint of --output, or start at 0."
    )
    overwrite: bool = Field(default=False, description="Replace an existing --output.")
    report_to: Strings = Field(
        default=(), description="Trackers, by transformers' names: tensorboard, wandb, mlflow …"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass: less memory."
    )
    trust_remote_code: bool = Field(
        default=False, description="Let code that comes with the model run."
    )
    debug: bool = Field(default=False, description="Show tracebacks.")


NOT_IN_RUN_FILE = frozenset({"output", "resume", "overwrite", "cache", "debug"})
"""Options that concern one invocation; ``config.yaml`` of a run leaves them out."""
