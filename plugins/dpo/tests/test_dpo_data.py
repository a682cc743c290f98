"""What dpo says of its data, and of options, before a run starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from anima_dpo.checks import problems
from anima_dpo.loss import DpoLoss
from anima_dpo.options import DpoOptions

from anima_core.cli.main import main
from anima_core.testing import save_tiny


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose weights cannot be read: they are not to be asked for."""
    folder = save_tiny(tmp_path_factory.mktemp("model") / "tiny")
    (folder / "model.safetensors").write_bytes(b"no weights")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path / "cache"))


LONG, SHORT = "a good answer that goes on and on", "no"


def write(folder: Path, chosen: str, rejected: str, count: int = 24) -> Path:
    rows = [
        {"prompt": f"Pick {n}", "chosen": f"{chosen} {n}", "rejected": f"{rejected} {n}"}
        for n in range(count)
    ]
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def warned(capsys: pytest.CaptureFixture[str], *words: object, strategy: str = "--dpo") -> str:
    assert main(["plan", *map(str, words), strategy, "--dtype", "float32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["problems"]
    return " ".join(p["what"] + p["fix"] for p in found if p["level"] == "warning")


def test_pairs_that_differ_in_length_are_warned_of_in_the_plan(tiny_dir, tmp_path, capsys):
    told = warned(capsys, tiny_dir, write(tmp_path, LONG, SHORT))
    assert "in 24 of 24 pairs the better answer is the longer one" in told
    assert "--dpo.length-normalised" in told
    assert "--dpo.ld-alpha" in told
    assert "shorter one" in warned(capsys, tiny_dir, write(tmp_path, SHORT, LONG))


@pytest.mark.parametrize(
    "options", [["--dpo.length-normalised"], ["--dpo.ld-alpha", "0.5"], ["--dpo.loss", "ipo"]]
)
def test_nothing_is_said_where_something_is_done_about_it(tiny_dir, tmp_path, capsys, options):
    assert "longer" not in warned(capsys, tiny_dir, write(tmp_path, LONG, SHORT), *options)


@pytest.mark.parametrize("loss", ["sigmoid", "hinge"])
def test_cpo_compares_sums_too_and_has_remedies_of_its_own(tiny_dir, tmp_path, capsys, loss):
    words = (tiny_dir, write(tmp_path, LONG, SHORT), "--cpo.loss", loss)
    told = warned(capsys, *words, strategy="--cpo")
    assert "in 24 of 24 pairs the better answer is the longer one" in told
    assert "--cpo.loss ipo" in told
    assert "--simpo" in told
    assert "--dpo" not in told


def test_a_reward_model_may_learn_the_length_too(tiny_dir, tmp_path, capsys):
    told = warned(capsys, tiny_dir, write(tmp_path, LONG, SHORT), strategy="--reward")
    assert "in 24 of 24 pairs the better answer is the longer one" in told
    assert "Balance the pairs." in told


@pytest.mark.parametrize(
    ("strategy", "options"), [("--cpo", ["--cpo.loss", "ipo"]), ("--simpo", []), ("--orpo", [])]
)
def test_means_over_tokens_are_not_biased(tiny_dir, tmp_path, capsys, strategy, options):
    words = (tiny_dir, write(tmp_path, LONG, SHORT), *options)
    assert "longer" not in warned(capsys, *words, strategy=strategy)


def test_a_few_pairs_are_chance(tiny_dir, tmp_path, capsys):
    assert "longer" not in warned(capsys, tiny_dir, write(tmp_path, LONG, SHORT, count=6))


def test_a_divergence_that_does_not_fit_is_one_problem():
    (problem,) = problems(DpoOptions(loss="nca_pair", f_divergence="forward_kl"))
    assert "does not cancel" in problem.what
    (idle,) = problems(DpoOptions(loss="sft", f_divergence="forward_kl"))
    assert "would do nothing" in idle.what


BAD = [
    (["--dpo.beta", "0"], 2, "--dpo.beta", "greater than 0"),
    (["--dpo.beta", "-1"], 2, "--dpo.beta", "greater than 0"),
    (["--dpo.beta", "nan"], 2, "--dpo.beta", "finite"),
    (["--dpo.loss", "sigmoid,sft", "--dpo.weights", "1"], 2, "--dpo.weights", "give one for each"),
    (["--dpo.weights", "1,0.5"], 2, "--dpo.weights", "give one for each"),
    (["--dpo.loss", "sft", "--dpo.beta", "0.3"], 2, "--dpo.beta", "Leave it out"),
    (["--dpo.loss", "exo_pair"], 2, "--dpo.label-smoothing", "0.001"),
    (["--dpo.loss", "aot", "--batch-size", "1"], 2, "--batch-size", "Raise --batch-size"),
    (["--max-length", "60"], 3, "--max-length", "(the chosen answer)"),
    (["--max-answer-length", "20"], 3, "--max-answer-length", "(the chosen answer)"),
]


@pytest.mark.parametrize(("options", "code", "where", "fix"), BAD)
def test_bad_input_is_refused_before_weights_with_what_to_change(
    tiny_dir, tmp_path, capsys, options, code, where, fix
):
    file = write(tmp_path, LONG, SHORT)
    output = tmp_path / "run"
    words = ["train", tiny_dir, file, "--dpo", "--dtype", "float32", "-o", output, *options]
    assert main([str(word) for word in words]) == code
    told = capsys.readouterr().err
    assert where in told
    assert fix in told
    assert not output.exists()


def test_the_loss_asks_nothing_of_data_without_pairs():
    class Data:
        pairs = None

    assert DpoLoss().data_problems(Data()) == []
