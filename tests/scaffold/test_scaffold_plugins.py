"""New plugins as they are for whoever makes them: installed, tested and trained with, unedited."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from overlay import Overlay

from anima_core.scaffold.kinds import SUMMARIES

pytest.importorskip("hatchling", reason="installs plugins with the build backend itself")

NAMES: Mapping[str, str] = {
    "load_tokenizer": "end-token",
    "configure_model": "far-rope",
    "attention": "slow-but-sure",
    "load_model": "strictly",
    "adapt_model": "vectors",
    "patch_model": "noisy",
    "read_data": "yaml-rows",
    "token_logps": "in-chunks",
    "loss": "focal",
    "optimizer": "lion",
    "callbacks": "soon-enough",
}
"""A name for each hook, so that all of them can be installed side by side."""

# Words that make a strategy's work show in the run, beyond that it ends.
EXTRA: Mapping[str, tuple[str, ...]] = {
    "configure_model": ("--far-rope.theta", "20000"),
    "attention": ("--slow-but-sure.queries", "3"),
    "token_logps": ("--in-chunks.chunk", "50"),
    "loss": ("--focal.average", "answer"),
    "callbacks": ("--soon-enough.below", "100", "--soon-enough.steps", "1"),
}

FEW = ("--steps", "3", "--batch-size", "4")

# One process for every run: importing torch anew takes longer than they do.
RUNS = """
import json, sys
from anima_core.cli.main import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    if code:
        sys.exit(f"{words} exited with {code}")
"""


@pytest.fixture(scope="module")
def core(new_overlay: Callable[[bool], Overlay]) -> Overlay:
    """The core and a plugin for every hook, made by the command and installed together."""
    overlay = new_overlay(False)
    for hook, name in NAMES.items():
        overlay.anima("plugins", "new", name, "--slot", hook.replace("_", "-"))
    overlay.install(*(overlay.folder / name for name in NAMES.values()), editable=True)
    return overlay


@pytest.fixture(scope="module")
def runs(core: Overlay, tiny_dir: Path, sft_file: Path) -> Path:
    """A folder of runs, one trained with each plugin alone, by the plugin's name."""
    rows = [json.loads(line) for line in sft_file.read_text().splitlines()]
    yaml = core.folder / "rows.yaml"
    yaml.write_text("".join(f"- {json.dumps(row)}\n" for row in rows), encoding="utf-8")
    folder = core.folder / "runs"
    commands = []
    for hook, name in NAMES.items():
        data = yaml if hook == "read_data" else sft_file
        words = ["train", tiny_dir, data, f"--{name}", *EXTRA.get(hook, ()), *FEW]
        commands.append([*map(str, words), "--output", str(folder / name)])
    adapted = str(folder / NAMES["adapt_model"])
    commands.append(["generate", adapted, "--prompt", "Say 1", "--max-new-tokens", "3"])
    core.run("python", "-c", RUNS, json.dumps(commands), cold=True)
    return folder


def manifest(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "manifest.json").read_text()))


def steps(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_there_is_a_plugin_for_every_hook() -> None:
    assert set(NAMES) == set(SUMMARIES)


def test_their_own_tests_pass_without_an_edit(core: Overlay) -> None:
    folders = [core.folder / name for name in NAMES.values()]
    done = core.run("pytest", "-q", "--import-mode=importlib", *folders)
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_each_is_listed_and_sound(core: Overlay) -> None:
    shown = json.loads(core.anima("plugins", "list", "--json").stdout)
    listed = {line["strategy"]: line for line in shown}
    for hook, name in NAMES.items():
        line = listed[name]
        assert (line["distribution"], line["version"]) == (f"anima-{name}", "0.1.0")
        assert (line["state"], line["reason"]) == ("ok", "")
        assert hook in line["hooks"]
        assert line["summary"] == SUMMARIES[hook]


@pytest.mark.parametrize("hook", NAMES)
def test_a_run_with_it_trains(runs: Path, hook: str) -> None:
    run = runs / NAMES[hook]
    made = manifest(run)
    assert made["state"] == "done"
    entry = made["strategies"][NAMES[hook]]
    assert (entry["distribution"], entry["version"]) == (f"anima-{NAMES[hook]}", "0.1.0")
    records = steps(run)
    assert len(records) == (1 if hook == "callbacks" else 3)
    assert all(0 < record["loss"] < 20 for record in records)


def test_plugins_that_are_exact_change_nothing(runs: Path) -> None:
    """Those that compute what the core's defaults compute give the same losses."""
    exact = ("load_tokenizer", "load_model", "read_data", "token_logps", "attention")
    losses = {hook: [r["loss"] for r in steps(runs / NAMES[hook])] for hook in exact}
    for hook, values in losses.items():
        assert values == pytest.approx(losses["load_model"], rel=1e-4), hook


def test_plugins_that_are_not_change_something(runs: Path) -> None:
    first = {hook: steps(runs / name)[0]["loss"] for hook, name in NAMES.items()}
    for hook in ("configure_model", "patch_model", "loss"):
        assert first[hook] != pytest.approx(first["load_model"], rel=1e-5), hook
    last = {h: steps(runs / NAMES[h])[2]["loss"] for h in ("load_model", "optimizer")}
    assert last["optimizer"] != pytest.approx(last["load_model"], rel=1e-5)


def test_what_is_adapted_is_saved_alone(runs: Path) -> None:
    from safetensors.torch import load_file

    saved = load_file(runs / "vectors/adapter/vectors.safetensors")
    assert saved
    assert all(tensor.ndim == 1 for tensor in saved.values())


def test_two_losses_are_refused_with_both_named(
    core: Overlay, new_overlay: Callable[[bool], Overlay], tiny_dir: Path, pairs_file: Path
) -> None:
    overlay = new_overlay(True)
    overlay.install(core.folder / "focal", editable=True)
    words = ["train", tiny_dir, pairs_file, "--focal", "--dpo", "--output", "run"]
    said = re.sub(r"\s+", " ", overlay.anima(*words, code=2).stderr)
    assert "focal (from anima-focal 0.1.0)" in said
    assert "dpo (from anima-adapt-dpo 0.1.0)" in said
    assert not (overlay.folder / "run").exists()
