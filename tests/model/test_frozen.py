"""A model beside the trained one: what it says, and what is refused before its weights are read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import AutoConfig

import anima_core
from anima_core import check_same_vocabulary, check_window, frozen_bytes, load_frozen
from anima_core.context import RunContext
from anima_core.errors import UsageError
from anima_core.testing import (
    FAMILIES,
    batch_of,
    random_examples,
    run_context,
    save_tiny,
    tiny_model,
    tiny_tokenizer,
)

EXAMPLES = random_examples("completion", 5, seed=4, vocab=320)
PAIRS = random_examples("preference", 3, seed=4, vocab=320)


@pytest.fixture
def run(tiny_dir: Path) -> RunContext:
    config = AutoConfig.from_pretrained(tiny_dir)
    return run_context(model_dir=tiny_dir, model_config=config)


def sequences(examples: list) -> list[tuple[list[int], list[bool]]]:
    found = []
    for example in examples:
        for segment in example.segments:
            ids, mask = list(segment.ids), list(segment.supervised)
            if segment.parent >= 0:
                parent = example.segments[segment.parent]
                ids, mask = [*parent.ids, *ids], [False] * len(parent.ids) + mask
            if any(mask):
                found.append((ids, mask))
    return found


def textbook(model: torch.nn.Module, examples: list) -> torch.Tensor:
    """Logits at every target's place, from whole sequences run alone."""
    rows = []
    with torch.no_grad():
        for ids, mask in sequences(examples):
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
            rows.append(logits[:-1][torch.tensor(mask[1:])])
    return torch.cat(rows)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("examples", [EXAMPLES, PAIRS], ids=["completions", "pairs"])
def test_it_says_what_its_own_forward_says(
    family: str, examples: list, run: RunContext, tmp_path: Path
) -> None:
    frozen = load_frozen(run, str(save_tiny(tmp_path / "other", family, seed=9)))  # type: ignore[arg-type]
    batch = batch_of(examples)
    expected = textbook(tiny_model(family, seed=9), examples)  # type: ignore[arg-type]
    logits = frozen.logits(batch)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    logps = log_softmax(expected, dim=-1)
    own = logps.gather(1, batch.targets[:, None])[:, 0]
    torch.testing.assert_close(frozen.logps(batch, 3), own, rtol=1e-4, atol=1e-4)
    ids, values = frozen.topk(batch, 4, chunk_tokens=3)
    assert ids.shape == values.shape == (len(batch.targets), 4)
    torch.testing.assert_close(values, logps.topk(4).values, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logps.gather(1, ids), values, rtol=1e-4, atol=1e-4)


def test_the_size_of_a_chunk_bounds_what_is_in_memory_and_changes_nothing(
    run: RunContext, tiny_dir: Path
) -> None:
    frozen, batch = load_frozen(run, str(tiny_dir)), batch_of(EXAMPLES)
    chunks = list(frozen.logit_chunks(batch, 7))
    assert max(len(logits) for _, logits in chunks) == 7
    assert [rows.start for rows, _ in chunks] == list(range(0, len(batch.targets), 7))
    torch.testing.assert_close(torch.cat([part for _, part in chunks]), frozen.logits(batch))


def test_loading_leaves_the_random_state_as_it_was(run: RunContext, tiny_dir: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_frozen(run, str(tiny_dir))
    assert torch.equal(torch.rand(3), expected)


def test_it_is_never_trained_and_never_in_training_mode(run: RunContext, tiny_dir: Path) -> None:
    run = replace(run, config=run.config.model_copy(update={"gradient_checkpointing": True}))
    model = load_frozen(run, str(tiny_dir))._model
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(module.training for module in model.modules())
    assert not any(getattr(m, "gradient_checkpointing", False) for m in model.modules())


def test_autocast_around_it_changes_nothing(run: RunContext, tiny_dir: Path) -> None:
    frozen, batch = load_frozen(run, str(tiny_dir)), batch_of(EXAMPLES[:1])
    alone = frozen.logits(batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(frozen.logits(batch), alone)


def test_it_is_loaded_in_the_dtype_that_the_run_computes_in(
    run: RunContext, tiny_dir: Path
) -> None:
    run = replace(run, dtype="bfloat16", weights_dtype="float32")
    frozen = load_frozen(run, str(tiny_dir))
    assert {p.dtype for p in frozen._model.parameters()} == {torch.bfloat16}
    assert frozen.logits(batch_of(EXAMPLES[:1])).dtype == torch.float32
    bf16 = frozen_bytes(run, str(tiny_dir))
    assert bf16 == 2 * sum(p.numel() for p in frozen._model.parameters())


def test_a_head_padded_beyond_the_other_is_cut(run: RunContext, tmp_path: Path) -> None:
    source = str(save_tiny(tmp_path / "wide", seed=9, vocab=384))
    (problem,) = check_same_vocabulary(run, source, where="--x.teacher")
    assert problem.level == "note"
    assert "384" in problem.what
    assert "320" in problem.what
    frozen, batch = load_frozen(run, source), batch_of(EXAMPLES)
    assert frozen.vocab == 320
    expected = textbook(tiny_model(seed=9, vocab=384), EXAMPLES)[:, :320]
    ids, logps = frozen.topk(batch, 320)
    assert int(ids.max()) < 320
    torch.testing.assert_close(logps.exp().sum(1), torch.ones(len(ids)))
    torch.testing.assert_close(
        logps, log_softmax(expected, -1).gather(1, ids), rtol=1e-4, atol=1e-4
    )


def test_a_run_directory_brings_its_adapter(
    run: RunContext, tiny_dir: Path, sft_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("anima_qlora")
    out = tmp_path / "run"
    anima_core.adapt(
        str(tiny_dir), [str(sft_file)], strategies={"lora": {}}, output=out, steps=2,
        learning_rate=0.05, dtype="float32", batch_size=4,
    )  # fmt: skip
    frozen, batch = load_frozen(run, str(out)), batch_of(EXAMPLES)
    base = load_frozen(run, str(tiny_dir))
    assert not any(p.requires_grad for p in frozen._model.parameters())
    assert float((frozen.logits(batch) - base.logits(batch)).abs().max()) > 1e-2
    assert check_same_vocabulary(run, str(out)) == []
    assert frozen_bytes(run, str(out)) > frozen_bytes(run, str(tiny_dir))


def test_the_same_vocabulary_is_no_problem(run: RunContext, tmp_path: Path) -> None:
    source = str(save_tiny(tmp_path / "other", "gpt2", seed=1))
    assert check_same_vocabulary(run, source) == []
    assert check_window(run, source) == []


def other_tokenizer(folder: Path, **words: str) -> Path:
    """A tiny model whose tokenizer has other words."""
    save_tiny(folder)
    path = folder / "tokenizer.json"
    text = json.loads(path.read_text(encoding="utf-8"))
    vocab = text["model"]["vocab"]
    for old, new in words.items():
        vocab[new] = vocab.pop(old)
    path.write_text(json.dumps(text), encoding="utf-8")
    return folder


def test_another_vocabulary_is_refused_with_an_example(run: RunContext, tmp_path: Path) -> None:
    source = other_tokenizer(tmp_path / "other", a="aa")
    for weights in source.glob("*.safetensors"):
        weights.unlink()  # nothing here may read one
    (problem,) = check_same_vocabulary(run, str(source), where="--x.teacher")
    place = tiny_tokenizer().get_vocab()["a"]
    assert problem.level == "error"
    assert problem.where == "--x.teacher"
    assert f"token {place} is 'aa' there and 'a' in the model" in problem.what
    assert problem.fix


def test_a_vocabulary_of_another_size_is_refused(run: RunContext, tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "other")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<|more|>"])
    tokenizer.save_pretrained(source)
    (problem,) = check_same_vocabulary(run, str(source))
    assert "260 tokens, and the model's 259" in problem.what


def test_a_source_that_is_not_there_is_a_problem(run: RunContext, tmp_path: Path) -> None:
    (problem,) = check_same_vocabulary(run, str(tmp_path / "none"), where="--x.teacher")
    assert problem.where == "--x.teacher"
    assert problem.level == "error"
    assert problem.exit_code == 2
    with pytest.raises(UsageError) as caught:
        load_frozen(run, str(tmp_path / "none"), where="--x.teacher")
    assert caught.value.where == "--x.teacher"


def test_a_run_that_learnt_to_judge_is_refused_before_its_weights_are_read(
    run: RunContext, tiny_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("anima_dpo")
    data = tmp_path / "pairs.jsonl"
    pair = {"prompt": "Pick one", "chosen": "yes", "rejected": "no"}
    data.write_text(json.dumps(pair) + "\n", encoding="utf-8")
    judge = tmp_path / "judge"
    anima_core.adapt(
        tiny_dir, data, strategies={"reward": {}}, output=judge, steps=1, dtype="float32",
        batch_size=1, device="cpu",
    )  # fmt: skip
    for weights in (judge / "model").glob("*.safetensors"):
        weights.unlink()
    (problem,) = check_same_vocabulary(run, str(judge), where="--x.teacher")
    with pytest.raises(UsageError, match="learnt to judge text") as caught:
        load_frozen(run, str(judge), where="--x.teacher")
    assert (problem.what, problem.fix) == (caught.value.what, caught.value.fix)
    assert problem.where == caught.value.where == "--x.teacher"
    assert "writes text" in problem.fix


def test_a_shorter_window_is_told_and_kept(run: RunContext, tmp_path: Path) -> None:
    source = str(save_tiny(tmp_path / "short", "gpt2", n_positions=16))
    (problem,) = check_window(run, source, where="--x.teacher")
    assert problem.level == "warning"
    asking = replace(run, config=run.config.model_copy(update={"max_length": 17}))
    (problem,) = check_window(asking, source, where="--x.teacher")
    assert problem.level == "error"
    assert "--max-length 16" in problem.fix
    within = replace(run, config=run.config.model_copy(update={"max_length": 16}))
    assert check_window(within, source) == []
    frozen = load_frozen(run, source, where="--x.teacher")
    with pytest.raises(UsageError, match="16 tokens at most") as caught:
        frozen.logits(batch_of(EXAMPLES))
    assert caught.value.where == "--x.teacher"
