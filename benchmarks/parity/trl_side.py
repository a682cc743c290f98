"""TRL's side: its own trainer prepares the records, and its collator's ids and masks are written.

Runs inside TRL's own environment and imports nothing of Anima. The model is a random one of a few
thousand parameters: the trainers want one, and nothing is trained.
"""
# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call,no-any-return"

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import transformers
import trl
from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer


def main() -> None:
    """Prepare, collate, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", choices=("sft", "dpo"), required=True)
    parser.add_argument("--assistant-only", action="store_true", help="assistant_only_loss=True")
    parser.add_argument("--data", type=Path, required=True, help="jsonl in TRL's own format")
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--folder", type=Path, required=True, help="has tokenizer/; written to")
    options = parser.parse_args()
    lines = options.data.read_text(encoding="utf-8").split("\n")
    data = Dataset.from_list([json.loads(line) for line in lines if line])
    trainer = make(options, data)
    with (options.folder / "trl.jsonl").open("w", encoding="utf-8") as stream:
        for example in trainer.train_dataset:
            batch = trainer.data_collator([example])
            parts = parting(trainer.processing_class, example)
            for line in collated(options.kind, batch):
                stream.write(json.dumps({"row": example["row"], **parts, **line}) + "\n")
    versions = {"trl": trl.__version__, "transformers": transformers.__version__}
    (options.folder / "trl-versions.json").write_text(json.dumps(versions))


def make(options: argparse.Namespace, data: Dataset) -> Any:
    """A trainer as it comes, but for the length."""
    tokenizer = AutoTokenizer.from_pretrained(options.folder / "tokenizer")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
        )
    )
    folder = options.folder / "trl-model"
    model.save_pretrained(folder)  # a DPOTrainer loads its reference from there
    common: dict[str, Any] = {
        "output_dir": str(options.folder / "trl-work"),
        "max_length": options.max_length,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    given = {"model": str(folder), "processing_class": tokenizer, "train_dataset": data}
    if options.kind == "dpo":
        return DPOTrainer(args=DPOConfig(**common), **given)
    return SFTTrainer(args=SFTConfig(**common, assistant_only_loss=options.assistant_only), **given)


def parting(tokenizer: Any, example: dict[str, Any]) -> dict[str, Any]:
    """Where the prompt's own tokens part from those that it has before an answer.

    Returns:
        The first such token, over all answers, and the prompt's text from there on; -1 if its
        tokens are the same. And how many tokens the shortest prompt has: the system's words, and
        one token that asks.
    """
    if "prompt" not in example:
        return {"alone": -1, "rest": "", "frame": 0}
    ids = tokenizer.apply_chat_template(
        example["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    first = len(ids)
    for name in ("completion", "chosen", "rejected"):
        if name in example:
            dialogue = example["prompt"] + example[name]
            whole = tokenizer.apply_chat_template(dialogue, tokenize=True, return_dict=False)
            pairs = enumerate(zip(ids, whole, strict=False))
            first = next((i for i, (a, b) in pairs if a != b and i < first), first)
    rest = tokenizer.decode(ids[first:], clean_up_tokenization_spaces=False)
    system = [m for m in example["prompt"][:1] if m["role"] == "system"]
    frame = tokenizer.apply_chat_template(
        [*system, {"role": "user", "content": "a"}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
    )
    return {"alone": first if rest else -1, "rest": rest, "frame": len(frame)}


def collated(kind: str, batch: Any) -> list[dict[str, Any]]:
    """The rows of a batch without their padding."""
    names = ("chosen", "rejected") if kind == "dpo" else ("completion",)
    found = []
    for row, name in enumerate(names):
        there = batch["attention_mask"][row].bool()
        if kind == "dpo":
            mask = batch["completion_mask"][row][there].tolist()
        else:
            mask = (batch["labels"][row][there] != -100).int().tolist()
        ids = batch["input_ids"][row][there].tolist()
        found.append({"name": name, "ids": ids, "mask": mask})
    return found


if __name__ == "__main__":
    main()
