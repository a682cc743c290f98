"""Are Anima's token ids and loss masks those of TRL's own preparation?

    python benchmarks/parity/preparation.py --sft alpaca.json --dpo pairs.json

Each library prepares the same records in an environment of its own; they are compared sequence by
sequence, and each difference is put down to a cause that the tokens themselves bear out. Ends
with 1 if one is left unexplained.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "peers")]

from comparing import Outcome, compare  # noqa: E402
from harness.environments import ROOT, anima_python, trl_python  # noqa: E402
from records import prompt_and_answers  # noqa: E402

CLOSED = HERE / "closed.jinja"


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: what the table calls it.
        kind: sft or dpo.
        source: the file that Anima reads.
        template: another template than the model's own.
        messages: whole dialogues with ``assistant_only_loss``, in the stead of prompt and
            completion.
        limit: tokens, or none.
    """

    name: str
    kind: str
    source: Path
    template: str | None = None
    messages: bool = False
    limit: int | None = None


def main() -> None:
    """Prepare on both sides, compare, print."""
    options = arguments()
    work: Path = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    anima = anima_python(options.anima_python, work)
    trl = trl_python(options.trl_python, work)
    outcomes = []
    for number, case in enumerate(cases(options, work)):
        folder = work / f"case-{number}"
        folder.mkdir(exist_ok=True)
        outcomes.append(run(case, options.model, anima, trl, folder))
        print(outcomes[-1].told(), flush=True)
    print("\n" + Outcome.HEAD)
    for outcome in outcomes:
        print(outcome.row())
    versions: dict[str, str] = {}
    for name in ("anima-versions.json", "trl-versions.json"):
        versions |= json.loads((work / "case-0" / name).read_text())
    print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))
    raise SystemExit(1 if any(outcome.unexplained for outcome in outcomes) else 0)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sft", type=Path, action="append", default=[], help="Alpaca-type json")
    parser.add_argument("--dpo", type=Path, action="append", default=[], help="ShareGPT pairs")
    parser.add_argument("--model", default="demo", help="whose tokenizer to take")
    parser.add_argument(
        "--template", action="append", default=[], help="compare in this one too: a name or a file"
    )
    parser.add_argument("--max-length", type=int, help="compare once more under this limit")
    parser.add_argument("--anima-python", type=Path, help="interpreter that has Anima")
    parser.add_argument("--trl-python", type=Path, help="interpreter that has TRL")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "benchmarks" / "parity")
    options = parser.parse_args()
    if not options.sft + options.dpo:
        parser.error("give --sft FILE or --dpo FILE")
    return options


def cases(options: argparse.Namespace, work: Path) -> list[Case]:
    """Every comparison that the command line asks for."""
    found = []
    for kind, files in (("sft", options.sft), ("dpo", options.dpo)):
        for file in files:
            name = f"{kind} {file.stem}"
            found.append(Case(name, kind, file))
            for template in (str(CLOSED), *options.template):
                title = f"{name}, template {Path(template).stem}"
                found.append(Case(title, kind, file, template))
            if options.max_length:
                limit = options.max_length
                found.append(Case(f"{name}, limit {limit}", kind, file, limit=limit))
            dialogues = work / f"{file.stem}-dialogues.jsonl"
            write_dialogues(file, dialogues)
            title = f"{file.stem} as dialogues, template {CLOSED.stem}, assistant_only_loss"
            found.append(Case(title, "sft", dialogues, str(CLOSED), messages=True))
    return found


def run(case: Case, model: str, anima: Path, trl: Path, folder: Path) -> Outcome:
    """Let both sides prepare a case, and compare what they wrote."""
    line = [str(anima), str(HERE / "anima_side.py"), "--model", model, "--kind", case.kind]
    line += ["--data", str(case.source.absolute()), "--folder", str(folder)]
    line += ["--template", case.template] if case.template else []
    limit = ["--max-length", str(case.limit)] if case.limit else []
    call([*line, *limit], folder / "anima.log")
    data = folder / "records.jsonl"
    write_records(case, data)
    line = [str(trl), str(HERE / "trl_side.py"), "--kind", case.kind, "--data", str(data)]
    line += ["--folder", str(folder), *(["--assistant-only"] if case.messages else [])]
    if case.limit:
        call([*line, *limit], folder / "trl.log")
        (folder / "trl.jsonl").rename(folder / "trl-cut.jsonl")
    call(line, folder / "trl.log")
    return compare(case.name, folder, limit=case.limit)


def call(line: list[str], log: Path) -> None:
    """Run one side; its output is shown if it fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as output:
        code = subprocess.run(
            line, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])
        raise SystemExit(f"{' '.join(line)}\nended with {code}:\n{tail}")


def write_records(case: Case, target: Path) -> None:
    """The records in TRL's own format, each with its row."""
    text = case.source.read_text(encoding="utf-8")
    rows = []
    if case.messages:
        rows = [json.loads(line) for line in text.split("\n") if line]
    else:
        for prompt, answers in map(prompt_and_answers, json.loads(text)):
            names = ("chosen", "rejected") if case.kind == "dpo" else ("completion",)
            rows.append({"prompt": prompt, **dict(zip(names, answers, strict=True))})
    lines = [json.dumps({"row": row, **fields}) + "\n" for row, fields in enumerate(rows)]
    target.write_text("".join(lines), encoding="utf-8")


def write_dialogues(source: Path, target: Path) -> None:
    """A file's prompts with their (better) answers, as whole dialogues."""
    rows = map(prompt_and_answers, json.loads(source.read_text(encoding="utf-8")))
    lines = [json.dumps({"messages": [*prompt, *answers[0]]}) + "\n" for prompt, answers in rows]
    target.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
