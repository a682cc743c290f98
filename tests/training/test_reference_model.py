"""A reference that is another model: asked first, freed, and never beside the policy in memory."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import anima_core
from anima_core.errors import AnimaError, UsageError
from anima_core.runs.plan import Plan
from anima_core.runs.prepare import prepare
from anima_core.runs.reporter import SilentReporter
from anima_core.runs.request import RunRequest
from anima_core.testing import save_tiny, tiny_tokenizer
from anima_core.training import build

pytest.importorskip("anima_dpo")
pytest.importorskip("anima_qlora")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another family and other weights, with the same vocabulary."""
    return save_tiny(tmp_path_factory.mktemp("other") / "gpt2", "gpt2", seed=9)


class Loads:
    """Which models are loaded, and how many are alive as one has just been."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kinds: list[str] = []
        self.alive: list[int] = []
        self.models: list[weakref.ref[PreTrainedModel]] = []
        check = build.check_head

        def watch(model: PreTrainedModel) -> None:
            self.kinds.append(type(model).__name__)
            self.models.append(weakref.ref(model))
            self.alive.append(sum(one() is not None for one in self.models))
            check(model)

        monkeypatch.setattr(build, "check_head", watch)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    return Loads(monkeypatch)


@pytest.fixture
def train(tiny_dir: Path, pairs_file: Path, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    def train(name: str, reference: object = None, **options: Any) -> list[dict[str, Any]]:
        dpo = {} if reference is None else {"reference": str(reference)}
        adapter: str = options.pop("adapter", "lora")
        anima_core.adapt(
            options.pop("model", tiny_dir), pairs_file, output=tmp_path / name,
            strategies={adapter: {}, "dpo": dpo, **options.pop("strategies", {})},
            **{"steps": 2, "batch_size": 4, "micro_tokens": 64, "dtype": "float32",
               "device": "cpu", "learning_rate": 1e-2, **options},
        )  # fmt: skip
        lines = (tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    return train


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_one_model_after_the_other_is_in_memory(
    train: Callable[..., Any], loads: Loads, other: Path, pairs_file: Path, adapter: str
) -> None:
    gc.disable()  # it must not be luck
    try:
        records = train("run", other, adapter=adapter, eval_data=str(pairs_file))
    finally:
        gc.enable()
    assert loads.kinds == ["GPT2LMHeadModel", "LlamaForCausalLM"]
    assert loads.alive == [1, 1]
    assert sum("eval_loss" in record for record in records) == 2
    train("again", other, adapter=adapter, eval_data=str(pairs_file))
    assert loads.kinds[2:] == ["LlamaForCausalLM"], "what is cached needs no model"


def test_its_log_probs_are_those_of_the_model(train: Callable[..., Any], other: Path) -> None:
    """The policy is both answers' log-probs at step 1; what the rewards lack is the reference."""
    own = train("own")[0]
    theirs = train("theirs", other)[0]
    as_policy = train("as_policy", model=other, adapter="full")[0]
    for answer in ("chosen", "rejected"):
        assert own[f"rewards_{answer}"] == pytest.approx(0.0, abs=1e-5)
        gap = 0.1 * (theirs[f"logps_{answer}"] - as_policy[f"logps_{answer}"])
        assert theirs[f"rewards_{answer}"] == pytest.approx(gap, abs=1e-4)
        assert abs(gap) > 1e-3


def test_the_model_itself_is_the_reference_that_it_is_anyway(
    train: Callable[..., Any], tiny_dir: Path
) -> None:
    for one, named in zip(train("own"), train("named", tiny_dir), strict=True):
        assert named["loss"] == pytest.approx(one["loss"], abs=1e-5)


def test_a_run_brings_its_adapter(
    train: Callable[..., Any], tiny_dir: Path, sft_file: Path, tmp_path: Path
) -> None:
    anima_core.adapt(
        tiny_dir, sft_file, output=tmp_path / "sft", strategies={"lora": {}}, steps=2,
        learning_rate=0.1, batch_size=4, dtype="float32",
    )  # fmt: skip
    base, tuned = train("base", tiny_dir)[0], train("tuned", tmp_path / "sft")[0]
    assert abs(tuned["rewards_chosen"] - base["rewards_chosen"]) > 1e-3
    onwards = train("onwards", tiny_dir, model=tmp_path / "sft")[0]
    assert onwards["rewards_chosen"] == pytest.approx(-tuned["rewards_chosen"], rel=1e-3)
    manifest = json.loads((tmp_path / "tuned" / "manifest.json").read_text())["reference"]
    assert manifest["run"] == str((tmp_path / "sft").resolve())
    assert manifest["trained_sha256"]


def test_another_reference_has_another_entry(
    train: Callable[..., Any], loads: Loads, tmp_path: Path
) -> None:
    """The path is the same, and so is the size: it is the weights that count."""
    reference = save_tiny(tmp_path / "moving", "gpt2", seed=1)
    first = train("first", reference)
    for file in reference.iterdir():
        file.unlink()
    reference.rmdir()
    save_tiny(reference, "gpt2", seed=2)
    second = train("second", reference)
    assert loads.kinds.count("GPT2LMHeadModel") == 2
    assert first[0]["loss"] != pytest.approx(second[0]["loss"], abs=1e-4)
    config = json.loads((reference / "config.json").read_text())
    config["layer_norm_epsilon"] = 0.5
    (reference / "config.json").write_text(json.dumps(config))
    third = train("third", reference)
    assert loads.kinds.count("GPT2LMHeadModel") == 3, "the same weights, computed otherwise"
    assert third[0]["loss"] != second[0]["loss"]


def test_a_run_is_repeated_and_resumed_from_its_own_file(
    train: Callable[..., Any], other: Path, tiny_dir: Path, pairs_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ref").symlink_to(other)
    (tmp_path / "run.yaml").write_text(
        f"model: {tiny_dir}\ndata: {pairs_file}\nsteps: 2\nbatch_size: 4\ndtype: float32\n"
        "save_every: 1\nstrategies: {lora: {}, dpo: {reference: ./models/ref}}\n"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    from anima_core.config.run_file import read_run_file
    from anima_core.training.run import train as carry_out

    def from_file(file: Path, **options: Any) -> None:
        request = read_run_file(file)
        core = {**request.core, "output": str(tmp_path / "run"), **options}
        request = RunRequest(core, request.strategies)
        carry_out(prepare(request, reporter=SilentReporter()), SilentReporter())

    from_file(tmp_path / "run.yaml")
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert f"reference: {tmp_path / 'models' / 'ref'}" in text
    from_file(tmp_path / "run" / "config.yaml", steps=3, resume=True)
    (tmp_path / "models" / "ref").unlink()
    save_tiny(tmp_path / "models" / "ref", "gpt2", seed=3)
    with pytest.raises(UsageError, match="another reference model") as caught:
        from_file(tmp_path / "run" / "config.yaml", steps=4, resume=True)
    assert caught.value.where == "--resume"
    with pytest.raises(UsageError, match=r"--dpo\.reference was"):
        train("run", tiny_dir, steps=4, resume=True)
    with pytest.raises(UsageError, match="another reference model"):
        train("run", steps=4, resume=True)


def test_a_start_that_was_trained_anew_is_another_start(
    train: Callable[..., Any], tiny_dir: Path, sft_file: Path, tmp_path: Path
) -> None:
    """The policy's reference is computed from it, when a run is resumed as when it begins."""

    def start(rate: float) -> None:
        anima_core.adapt(
            tiny_dir, sft_file, output=tmp_path / "sft", strategies={"lora": {}}, steps=1,
            learning_rate=rate, batch_size=4, dtype="float32", overwrite=True,
        )  # fmt: skip

    start(0.1)
    train("run", model=tmp_path / "sft", save_every=1)
    train("run", model=tmp_path / "sft", save_every=1, steps=3, resume=True)
    file = tmp_path / "run" / "manifest.json"
    assert len(json.loads(file.read_text())["model"]["trained_sha256"]) == 64
    start(0.2)
    with pytest.raises(UsageError, match="another adapter in the starting run") as caught:
        train("run", model=tmp_path / "sft", steps=4, resume=True)
    assert caught.value.where == "--resume"
    manifest = json.loads(file.read_text())
    del manifest["model"]["trained_sha256"]
    file.write_text(json.dumps(manifest))
    train("run", model=tmp_path / "sft", steps=4, resume=True)  # begun before it was written


def test_what_is_named_is_kept_whole(
    train: Callable[..., Any], other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(other.parent)
    train("run", other.name)
    assert f"reference: {other}" in (tmp_path / "run" / "config.yaml").read_text()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["reference"]["base"] == str(other.resolve())
    assert len(manifest["reference"]["sha256"]) == 64
    assert "reference: " in json.dumps(manifest["plan"])


def test_the_plan_counts_it_where_it_is_larger_than_all_of_training(
    tiny_dir: Path, pairs_file: Path, tmp_path: Path
) -> None:
    """As a plain reference is beside a policy in 4 bits: the peak is the larger, and no sum."""

    def plan(loss: dict[str, Any], dtype: str = "float32") -> Plan:
        core = {"model": str(tiny_dir), "data": (str(pairs_file),), "micro_tokens": 8,
                "dtype": dtype}  # fmt: skip
        return prepare(RunRequest(core, {"qlora": {}, "dpo": loss}), reporter=SilentReporter()).plan

    small, large = tiny_dir, save_tiny(tmp_path / "large", hidden_size=512)
    weights = sum(f.stat().st_size for f in large.glob("*.safetensors"))
    own = plan({})
    assert own.reference_memory == 0
    assert own.peak_memory == sum(own.memory.values())
    beside = plan({"reference": str(large)})
    assert beside.memory == own.memory
    assert weights < beside.reference_memory == beside.peak_memory < 1.2 * weights
    assert plan({"reference": str(large)}, "bfloat16").reference_memory < 0.6 * weights
    beside_small = plan({"reference": str(small)})
    assert 0 < beside_small.reference_memory < beside_small.peak_memory
    assert plan({"reference": "./nowhere"}).reference_memory == 0
    assert plan({"reference": str(large), "loss": ["sft"]}).reference_memory == 0


def test_answers_without_pairs_are_compared_with_it_too(
    loads: Loads, other: Path, tiny_dir: Path, tmp_path: Path
) -> None:
    data = tmp_path / "answers.jsonl"
    rows = [
        {"prompt": f"Pick {n}", "completion": "yes " * (n + 1), "label": bool(n % 2)}
        for n in range(4)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    losses = []
    for reference in ({}, {"reference": str(other)}):
        output = tmp_path / f"run{len(losses)}"
        anima_core.adapt(
            tiny_dir, data, output=output, strategies={"lora": {}, "kto": reference}, steps=1,
            batch_size=4, dtype="float32", device="cpu",
        )  # fmt: skip
        losses.append(json.loads((output / "metrics.jsonl").read_text().splitlines()[0])["loss"])
    assert loads.kinds == ["LlamaForCausalLM", "GPT2LMHeadModel", "LlamaForCausalLM"]
    assert losses[0] == pytest.approx(0.5, abs=1e-4)
    assert abs(losses[1] - 0.5) > 1e-3


# What is refused, before a weight is read.


@pytest.fixture
def refused(
    tiny_dir: Path, pairs_file: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AnimaError]:
    def no_weights(*_: object, **__: object) -> None:
        raise AssertionError("a weight was read")

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", no_weights)
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", no_weights)

    def refused(reference: object, **options: Any) -> AnimaError:
        core = {"model": str(tiny_dir), "data": (str(pairs_file),), **options.pop("core", {})}
        given = {"dpo": {"reference": str(reference), **options}}
        prepared = prepare(RunRequest(core, given), reporter=SilentReporter())
        with pytest.raises(AnimaError) as caught:
            prepared.refuse_errors()
        assert not loads.kinds
        return caught.value

    return refused


def test_another_vocabulary_is_refused(
    refused: Callable[..., AnimaError], other: Path, tmp_path: Path
) -> None:
    longer = save_tiny(tmp_path / "longer")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<|more|>"])
    tokenizer.save_pretrained(longer)
    error = refused(longer)
    assert (error.where, error.exit_code) == ("--dpo.reference", 2)
    assert "another vocabulary: 260 tokens, and the model's 259" in error.what
    swapped = save_tiny(tmp_path / "swapped")
    path = swapped / "tokenizer.json"
    text = json.loads(path.read_text(encoding="utf-8"))
    vocab = text["model"]["vocab"]
    vocab["aa"] = vocab.pop("a")
    path.write_text(json.dumps(text), encoding="utf-8")
    assert "is 'aa' there and 'a' in the model" in refused(swapped).what


def test_a_window_shorter_than_the_longest_example_is_refused(
    refused: Callable[..., AnimaError], tmp_path: Path
) -> None:
    short = save_tiny(tmp_path / "short", "gpt2", n_positions=8)
    error = refused(short)
    assert error.where == "--dpo.reference"
    assert "reads 8 tokens at most, and the longest example has" in error.what
    assert "--max-length 8" in error.fix


def test_a_window_that_is_long_enough_for_the_data_will_do(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    train("run", save_tiny(tmp_path / "short", "gpt2", n_positions=64))


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "no/where/at/all"])
def test_no_such_model_is_refused(refused: Callable[..., AnimaError], name: str) -> None:
    error = refused(name)
    assert (error.where, error.exit_code) == ("--dpo.reference", 2)
    assert name in error.what


def test_an_adapter_is_no_model(refused: Callable[..., AnimaError], tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    error = refused(tmp_path)
    assert error.where == "--dpo.reference"
    assert "run directory" in error.fix


def test_a_loss_that_looks_at_no_reference_refuses_one(
    refused: Callable[..., AnimaError], other: Path
) -> None:
    error = refused(other, loss="sft")
    assert error.where == "--dpo.reference"
    assert "would do nothing" in error.what


def test_pickled_weights_are_refused_with_the_option_named(
    train: Callable[..., Any], other: Path, tmp_path: Path
) -> None:
    pickled = save_tiny(tmp_path / "pickled", "gpt2")
    for file in pickled.glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    with pytest.raises(UsageError, match="no safetensors") as caught:
        train("run", pickled)
    assert caught.value.where == "--dpo.reference"
    assert not (tmp_path / "run").exists()
