"""Anima and TRL side by side: the same model, data, LoRA and examples a step, in turns.

    python benchmarks/compare.py sft --data path/to/alpaca.json
    python benchmarks/compare.py dpo --data path/to/preference_pairs.json

Each run is a process of its own; the sides alternate, so that a machine that slows down does so
for both. Prints a table and writes everything to a JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

from harness.data import write_examples, write_synthetic
from harness.environments import ROOT, anima_python, demo_model, fitting_rows, trl_python
from harness.machine import Machine, this_machine
from harness.sides import Anima, Job, Measured, Side, Trl, measure
from harness.table import WITH, losses, ratios, speed, table

BATCH_SIZE = {"sft": 8, "dpo": 4}
MAX_LENGTH = {"sft": 512, "dpo": 1024}
LEARNING_RATE = {"sft": 2e-4, "dpo": 5e-6}


def main() -> None:
    """Measure, print, write."""
    options = arguments()
    machine = this_machine()
    work: Path = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    python = anima_python(options.anima_python, work)
    sides = contestants(options, machine, python, trl_python(options.trl_python, work))
    job = make_job(options, python, work)
    print(machine.describe(), flush=True)
    results = alternate(sides, job, options.repeats, work)
    unit = "pairs/s" if job.kind == "dpo" else "tokens/s"
    print(f"\n{table(results, unit=unit)}\n")
    for name, ratio in ratios(results, unit=unit).items():
        whole = f", {ratio[WITH]:.2f} with the reference" if WITH in ratio else ""
        memory = f"{ratio['memory']:.2f} of its memory"
        print(f"{name}: {ratio['speed']:.2f} times its {unit}{whole}, {memory}")
    if options.check:
        print(f"\n{losses(results)}")
    target: Path = options.result or work / f"{job.kind}{'-check' if options.check else ''}.json"
    record = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": machine.to_json(),
        "environment": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "LD_PRELOAD")},
        "dtype": machine.dtype,
        "unit": unit,
        "ratios": ratios(results, unit=unit),
        "runs": {name: [run.to_json() for run in runs] for name, runs in results.items()},
    }
    target.write_text(json.dumps(record, indent=1), encoding="utf-8")
    print(f"\nWritten to {target}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=("sft", "dpo"))
    parser.add_argument(
        "--data",
        type=Path,
        help="json file: Alpaca-type records, or ShareGPT preference pairs [default: synthetic]",
    )
    parser.add_argument(
        "--config",
        choices=("tuned", "default", "both"),
        default="both",
        help="TRL tuned by hand, as it comes, or both; as it comes computes in bfloat16, and is "
        "left out where the CPU emulates that",
    )
    parser.add_argument("--steps", type=int, default=10, help="timed steps, after one more")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side")
    parser.add_argument("--batch-size", type=int, help="examples a step [default: sft 8, dpo 4]")
    parser.add_argument(
        "--micro-batch", type=int, help="examples in flight, TRL tuned [default: sft 4, dpo 2]"
    )
    parser.add_argument("--max-length", type=int, help="tokens [default: sft 512, dpo 1024]")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--check",
        action="store_true",
        help="one batch over and over, once, and the losses of every step side by side: the first "
        "must agree, the rest stay near (the sides draw LoRA's A from different generators)",
    )
    parser.add_argument("--model-dir", type=Path, help="safetensors folder [default: the demo's]")
    parser.add_argument("--anima-args", default="", help="more arguments of `anima train`")
    parser.add_argument("--anima-python", type=Path, help="interpreter that has Anima")
    parser.add_argument("--trl-python", type=Path, help="interpreter that has TRL")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "benchmarks")
    parser.add_argument("--result", type=Path, help="json file to write [default: in --work]")
    options = parser.parse_args()
    if options.check:
        options.repeats = 1
    return options


def contestants(
    options: argparse.Namespace, machine: Machine, anima: Path, trl: Path
) -> list[Side]:
    """Anima, and TRL in the configurations that make sense on this machine."""
    wanted = ["default", "tuned"] if options.config == "both" else [options.config]
    if "default" in wanted and not machine.native_bf16:
        print("TRL as it comes is left out: it computes in bfloat16, which this CPU emulates.")
        wanted.remove("default")
    micro_batch = options.micro_batch or (4 if options.kind == "sft" else 2)
    sides: list[Side] = [Anima(anima, shlex.split(options.anima_args))]
    sides += [Trl(trl, config, machine.dtype, micro_batch) for config in wanted]
    return sides


def make_job(options: argparse.Namespace, python: Path, work: Path) -> Job:
    """The job of both sides, its data written."""
    kind = options.kind
    batch_size = options.batch_size or BATCH_SIZE[kind]
    max_length = options.max_length or MAX_LENGTH[kind]
    steps = options.steps + 1
    model = (options.model_dir or demo_model(python)).absolute()
    source = options.data
    if source is None:
        source = work / f"{kind}-synthetic.json"
        write_synthetic(kind, source)
    data = work / f"{kind}-data.json"
    write_examples(
        source,
        batch_size if options.check else batch_size * steps,
        options.seed,
        data,
        lambda file: fitting_rows(python, model, file, max_length),
    )
    return Job(kind, model, data, steps, batch_size, max_length, LEARNING_RATE[kind], options.seed)


def alternate(sides: list[Side], job: Job, repeats: int, work: Path) -> dict[str, list[Measured]]:
    """Run the sides in turns."""
    unit = "pairs/s" if job.kind == "dpo" else "tokens/s"
    results: dict[str, list[Measured]] = {side.name: [] for side in sides}
    for repeat in range(1, repeats + 1):
        for number, side in enumerate(sides):
            measured = measure(side, job, work / "runs" / f"{job.kind}-{number}")
            results[side.name].append(measured)
            print(
                f"{side.name}, run {repeat} of {repeats}: {speed(measured, unit):.3f} {unit}, "
                f"{measured.peak_bytes / 1e9:.2f} GB, {measured.whole_seconds:.0f} s in all",
                flush=True,
            )
    return results


if __name__ == "__main__":
    main()
