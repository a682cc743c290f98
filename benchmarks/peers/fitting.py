"""Which records of a file fit into a length: prints the row numbers as JSON.

The two sides cut a sequence that is too long at different ends; records that need no cutting
are the same work for both.
"""
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import argparse
import json
from pathlib import Path

from records import prompt_and_answers
from transformers import AutoTokenizer


def main() -> None:
    """Read the file, tokenize, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--max-length", type=int, required=True)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    fitting = []
    for row, record in enumerate(json.loads(options.data.read_text(encoding="utf-8"))):
        prompt, answers = prompt_and_answers(record)
        longest = max(
            len(tokenizer.apply_chat_template(prompt + answer, tokenize=True, return_dict=False))
            for answer in answers
        )
        if longest <= options.max_length:
            fitting.append(row)
    print(json.dumps(fitting))


if __name__ == "__main__":
    main()
