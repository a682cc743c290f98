"""What computing a prompt once saves: the same pairs, with the prompt shared and with it repeated.

    python benchmarks/shared_prompt.py
    python benchmarks/shared_prompt.py --cases 800+200x2 --profile

Each case is a prompt and its continuations: ``800+200x2`` is a prompt of 800 tokens and two answers
of 200. It is encoded twice, as one prompt with continuations and as one sequence an answer; both
train the same LoRA by the core's own step, in turns in one process. Loss and gradients must agree.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from harness.environments import demo_model
from harness.machine import this_machine

from anima_core.batch import Batch, EncodedExample, Role, TokenSegment
from anima_core.training.reference import Reference

CASES = "800+200x2,200+200x2,800+200x4"
SHARED, REPEATED = "shared", "repeated"
TOLERANCE = 1e-4


def main() -> None:
    """Measure every case and print a table."""
    options = arguments()
    trainer = Trainer(options.model_dir or demo_model(Path(sys.executable)), options.micro_tokens)
    facts = f"{torch.get_num_threads()} threads, --micro-tokens {options.micro_tokens}"
    print(f"{this_machine().describe()}; float32, {facts}", flush=True)
    if options.profile:
        profile(trainer, parse(options.cases.split(",")[0]), options)
        return
    print(
        "\n| prompt + answers | prompts/s, shared | repeated | speed (range) | by CPU time "
        "| peak, MB, shared | repeated | memory | loss differs by | gradient by |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for text in options.cases.split(","):
        print(compare(trainer, parse(text), options).row(), flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", default=CASES, help="PROMPT+ANSWERxCOUNT, with commas")
    parser.add_argument("--examples", type=int, default=4, help="prompts a step")
    parser.add_argument("--micro-tokens", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each side")
    parser.add_argument("--model-dir", type=Path, help="safetensors folder [default: the demo's]")
    parser.add_argument(
        "--profile", action="store_true", help="where the first case's time goes, and no table"
    )
    return parser.parse_args()


@dataclass(frozen=True)
class Case:
    """A prompt of some tokens and its answers."""

    name: str
    prompt: int
    answer: int
    count: int

    def examples(self, number: int, vocab: int, layout: str) -> list[EncodedExample]:
        """Random tokens, the same for both layouts."""
        draw = random.Random(f"{self.name}/{number}")
        made = []
        for _ in range(number):
            prompt = tuple(draw.choices(range(vocab), k=self.prompt))
            answers = [tuple(draw.choices(range(vocab), k=self.answer)) for _ in range(self.count)]
            made.append(EncodedExample(tuple(laid_out(prompt, answers, layout))))
        return made


def parse(text: str) -> Case:
    """``800+200x2`` as a case."""
    prompt, answers = text.split("+")
    answer, count = answers.split("x")
    return Case(text, int(prompt), int(answer), int(count))


def laid_out(prompt: tuple[int, ...], answers: Sequence[tuple[int, ...]], layout: str) -> Any:
    """The segments of one example: chosen and rejected by turns, whose log-probs add up."""
    if layout == SHARED:
        yield TokenSegment(prompt, (False,) * len(prompt), Role.PROMPT)
    for index, answer in enumerate(answers):
        role = Role.REJECTED if index % 2 else Role.CHOSEN
        if layout == SHARED:
            yield TokenSegment(answer, (True,) * len(answer), role, parent=0)
        else:
            targets = (False,) * len(prompt) + (True,) * len(answer)
            yield TokenSegment(prompt + answer, targets, role)


class Trainer:
    """The demo model with LoRA r 16 under DPO, and the core's step."""

    def __init__(self, folder: Path, micro_tokens: int) -> None:
        from accelerate import Accelerator
        from anima_dpo.loss import DpoLoss
        from anima_longctx.chunked_logps import ChunkedLogps
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        from anima_core.attention.sdpa import NAME, segment_sdpa
        from anima_core.attention.segments import register_segment_attention
        from anima_core.training.module import LogpsModule
        from anima_core.training.step import StepRunner

        register_segment_attention(NAME, segment_sdpa)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=NAME
        )
        self.vocab = model.config.vocab_size
        self.model = get_peft_model(
            model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
        ).train()
        for name, parameter in self.model.named_parameters():
            if "lora_B" in name:  # else A's gradient is zero in the first step
                torch.nn.init.normal_(parameter, std=0.02)
        self.loss = DpoLoss()
        self.module = LogpsModule(self.model, ChunkedLogps(), self.loss)
        self.runner = StepRunner(self.module, self.loss, Accelerator(cpu=True), 0, 0, 1)
        self.micro_tokens = micro_tokens
        self.trained = [p for p in self.model.parameters() if p.requires_grad]

    def batches(self, examples: Sequence[EncodedExample]) -> list[Batch]:
        """The step's micro-batches."""
        from anima_core.training.step import cut

        return cut(examples, range(len(examples)), self.micro_tokens)

    def reference(self, batches: Sequence[Batch]) -> Reference:
        """The model as it is; an example's targets are in the same order in both layouts."""
        rows: dict[int, torch.Tensor] = {}
        with torch.no_grad():
            for batch in batches:
                logps = self.module.logps(batch)
                for index, row in enumerate(batch.rows):
                    rows[row] = logps[batch.target_example == index]
        ordered = [rows[row] for row in sorted(rows)]
        return Reference(torch.cat(ordered), [len(logps) for logps in ordered])

    def step(self, batches: Sequence[Batch], reference: Reference) -> float:
        """Forward and backward of a step, gradients left on the parameters; its loss."""
        from anima_core.training.step import add_denominators

        for parameter in self.trained:
            parameter.grad = None
        below = add_denominators(self.loss, batches)
        return self.runner.backward(0, batches, below, reference).loss(below)

    def gradient(self) -> torch.Tensor:
        """Every trained parameter's gradient, in one vector."""
        return torch.cat([p.grad.flatten() for p in self.trained if p.grad is not None])


@dataclass
class Compared:
    """What one case came to."""

    case: Case
    examples: int
    loss: float = 0.0
    gradient: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=lambda: {SHARED: [], REPEATED: []})
    cpu: dict[str, list[float]] = field(default_factory=lambda: {SHARED: [], REPEATED: []})
    peak: dict[str, int] = field(default_factory=lambda: {SHARED: 0, REPEATED: 0})

    def row(self) -> str:
        """One line of the table."""
        speed = {k: self.examples / statistics.median(v) for k, v in self.seconds.items()}
        ratios, by_cpu = turns(self.seconds), turns(self.cpu)
        peak = {k: v / 1e6 for k, v in self.peak.items()}
        return (
            f"| {self.case.prompt} + {self.case.count} of {self.case.answer} "
            f"| {speed[SHARED]:.3f} | {speed[REPEATED]:.3f} "
            f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) "
            f"| {statistics.median(by_cpu):.2f} "
            f"| {peak[SHARED]:,.0f} | {peak[REPEATED]:,.0f} "
            f"| {peak[SHARED] / peak[REPEATED]:.2f} "
            f"| {self.loss:.0e} | {self.gradient:.0e} |"
        )


def turns(taken: dict[str, list[float]]) -> list[float]:
    """How many times faster the shared prompt was, turn by turn, ascending."""
    pairs = zip(taken[REPEATED], taken[SHARED], strict=True)
    return sorted(repeated / shared for repeated, shared in pairs)


def compare(trainer: Trainer, case: Case, options: argparse.Namespace) -> Compared:
    """Both layouts in turns, after a turn each in which they are compared."""
    both = {
        layout: trainer.batches(case.examples(options.examples, trainer.vocab, layout))
        for layout in (SHARED, REPEATED)
    }
    found = Compared(case, options.examples)
    reference = trainer.reference(both[SHARED])
    losses, gradients = {}, {}
    for layout, batches in both.items():
        with Watch() as watch:
            losses[layout] = trainer.step(batches, reference)
        found.peak[layout] = watch.peak
        gradients[layout] = trainer.gradient()
    found.loss = abs(losses[SHARED] - losses[REPEATED]) / abs(losses[REPEATED])
    difference = gradients[SHARED] - gradients[REPEATED]
    found.gradient = float(difference.norm() / gradients[REPEATED].norm())
    if max(found.loss, found.gradient) > TOLERANCE:
        raise SystemExit(f"{case.name}: the layouts differ: {found}")
    for _ in range(options.repeats):
        for layout, batches in both.items():
            began, cpu = time.perf_counter(), time.process_time()
            trainer.step(batches, reference)
            found.seconds[layout].append(time.perf_counter() - began)
            found.cpu[layout].append(time.process_time() - cpu)
    return found


class Watch:
    """The most memory above what was there before, looked at every few milliseconds, in bytes."""

    def __enter__(self) -> Watch:
        self._process = psutil.Process()
        trim()
        self._before = self._process.memory_info().rss
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.005):
            self.peak = max(self.peak, self._process.memory_info().rss - self._before)


def trim() -> None:
    """Give free memory back to the system, where glibc can, so that both sides start alike."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return


def profile(trainer: Trainer, case: Case, options: argparse.Namespace) -> None:
    """PyTorch's profiler over one step of each layout."""
    for layout in (SHARED, REPEATED):
        batches = trainer.batches(case.examples(options.examples, trainer.vocab, layout))
        reference = trainer.reference(batches)
        trainer.step(batches, reference)
        with torch.profiler.profile() as profiler:
            trainer.step(batches, reference)
        table = profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=22)
        print(f"\n## {case.name}, {layout}: {[b.tokens for b in batches]} tokens\n\n{table}")


if __name__ == "__main__":
    main()
