"""Anima's side: reads a data file, and writes the tokenizer and the token ids and masks.

Runs in Anima's environment. Records come through the public way: reader, formats, template.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from anima_core.batch import EncodedExample
from anima_core.data.chosen_template import use_template
from anima_core.data.dataset import load_dataset
from anima_core.data.read import read_sources
from anima_core.model.folder import model_folder
from anima_core.model.resolve import resolve_model

NO_LIMIT = 10**9


def main() -> None:
    """Read, encode, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--kind", choices=("sft", "dpo"), required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--template", help="name or file")
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--folder", type=Path, required=True, help="where to write")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(
        model_folder(resolve_model(options.model), weights=False)
    )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if options.template:
        use_template(tokenizer, options.template)
    tokenizer.save_pretrained(options.folder / "tokenizer")
    examples, _ = load_dataset(
        read_sources([options.data]),
        tokenizer,
        kind="completion" if options.kind == "sft" else "preference",
        limit=options.max_length or NO_LIMIT,
        overlong="truncate" if options.max_length else "error",
        sources=[options.data],
    )
    with (options.folder / "anima.jsonl").open("w", encoding="utf-8") as stream:
        for example in examples:
            for sequence in sequences(example):
                stream.write(json.dumps({"row": example.line - 1, **sequence}) + "\n")
    versions = {n: importlib.metadata.version(n) for n in ("anima-adapt", "transformers")}
    (options.folder / "anima-versions.json").write_text(json.dumps(versions))


def sequences(example: EncodedExample) -> list[dict[str, Any]]:
    """Each sequence that the model reads: its name, ids and mask."""
    found = []
    for segment in example.segments:
        if segment.parent < 0 and len(example.segments) > 1:
            continue  # a prompt, which its answers continue
        ids, mask = list(segment.ids), list(map(int, segment.supervised))
        if segment.parent >= 0:
            before = example.segments[segment.parent]
            ids, mask = [*before.ids, *ids], [*map(int, before.supervised), *mask]
        found.append({"name": segment.role.name.lower(), "ids": ids, "mask": mask})
    return found


if __name__ == "__main__":
    main()
