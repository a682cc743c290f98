"""Options that are wrong, contradict each other or would do nothing are refused, with a way out."""

from __future__ import annotations

import pytest
from anima_dpo.checks import problems
from anima_dpo.dpo import Dpo
from anima_dpo.options import DpoOptions
from pydantic import ValidationError

from anima_core import DataSummary, Problem, UsageError
from anima_core.testing import check_options, run_context

FINE = [
    {},
    {"loss": "robust", "label_smoothing": 0.1},
    {"loss": "exo_pair", "label_smoothing": 1e-3},
    {"loss": ["sigmoid", "sft"], "weights": [1, 0.2], "beta": 0.3},
    {"loss": "sigmoid,bco_pair", "bco_shift": False},
    {"loss": "discopop", "discopop_tau": 0.1, "f_divergence": "js_divergence"},
    {"loss": "ipo,sft", "reference": "demo"},
    {"loss": "hinge,sft", "f_divergence": "forward_kl", "ld_alpha": 0.5},
    {"loss": "aot", "label_smoothing": 0.1, "length_normalised": True, "beta": 5.0},
    {"f_divergence": "alpha_divergence", "f_alpha": 0.7, "rpo_alpha": 1.0, "wpo": True},
    {"loss": "sft", "beta": 0.1, "rpo_alpha": 1.0},
]

REFUSED = [
    ({"loss": "hinge", "label_smoothing": 0.1}, "label-smoothing", "robust"),
    ({"loss": "exo_pair"}, "label-smoothing", "0.001"),
    ({"loss": "sft", "beta": 0.2}, "beta", "sigmoid"),
    ({"loss": "ipo", "length_normalised": True}, "length-normalised", "sigmoid"),
    ({"loss": "sft", "ld_alpha": 0.5}, "ld-alpha", "sigmoid"),
    ({"loss": "sft", "reference": "demo"}, "reference", "sigmoid"),
    ({"loss": "sft", "wpo": True}, "wpo", "sigmoid"),
    ({"loss": "aot,sigmoid", "wpo": True}, "wpo", "sigmoid"),
    ({"loss": "sft", "f_divergence": "forward_kl"}, "f-divergence", "sigmoid"),
    ({"loss": "sigmoid,apo_zero", "f_divergence": "forward_kl"}, "f-divergence", "reverse_kl"),
    ({"loss": "sigmoid,ipo", "f_divergence": "js_divergence"}, "f-divergence", "such as sigmoid"),
    (
        {"length_normalised": True, "f_divergence": "alpha_divergence"},
        "f-divergence",
        "leave out --dpo.length-normalised",
    ),
    ({"f_alpha": 0.3}, "f-alpha", "alpha_divergence"),
    ({"discopop_tau": 0.1}, "discopop-tau", "discopop"),
    ({"bco_shift": False}, "bco-shift", "bco_pair"),
]


@pytest.mark.parametrize("options", FINE, ids=str)
def test_what_makes_sense_is_taken(options):
    assert Dpo(DpoOptions(**options)).validate(run_context(batch_size=8)) == []


@pytest.mark.parametrize(("options", "where", "fix"), REFUSED, ids=str)
def test_what_makes_no_sense_is_refused_with_a_way_out(options, where, fix):
    (problem,) = (p for p in problems(DpoOptions(**options)) if p.level == "error")
    assert problem.where == f"--dpo.{where}"
    assert problem.what
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("options", "where", "fix"),
    [
        ({"length_normalised": True}, "beta", "--dpo.beta 5"),
        ({"loss": "sppo_hard,hinge", "length_normalised": True, "beta": 0.5}, "beta", "Tülu 3"),
        ({"loss": "robust"}, "loss", "--dpo.label-smoothing 0.1"),
    ],
    ids=str,
)
def test_what_does_much_less_than_it_seems_to_is_warned_of(options, where, fix):
    (problem,) = problems(DpoOptions(**options))
    assert (problem.where, problem.level) == (f"--dpo.{where}", "warning")
    assert fix in problem.fix


@pytest.mark.parametrize(
    "options",
    [
        {"length_normalised": True, "beta": 1.0},
        {"loss": "sppo_hard", "length_normalised": True, "beta": 0.001},
        {"loss": "robust", "label_smoothing": 0.01},
    ],
    ids=str,
)
def test_what_does_as_it_seems_to_is_not(options):
    assert not list(problems(DpoOptions(**options)))


def test_a_last_step_of_few_pairs_is_warned_of_where_they_are_sorted():
    def told(name: str, **run: object) -> list[Problem]:
        data = DataSummary(("a.jsonl",), "preference", 100, 9, 9, 9, 9)
        return list(Dpo(DpoOptions(loss=name)).loss(run_context(**run)).data_problems(data))

    (problem,) = told("sigmoid,aot", batch_size=32)
    assert (problem.where, problem.level) == ("--batch-size", "warning")
    assert "holds 4 examples of 32, and aot sorts" in problem.what
    assert not told("aot", batch_size=25)
    assert not told("aot", batch_size=32, steps=2)
    assert not told("sigmoid", batch_size=32)
    assert not told("bco_pair", batch_size=32), "its shift is of the steps before"


def test_every_fault_is_told_of_at_once():
    options = DpoOptions(loss="sft", beta=1.0, wpo=True, discopop_tau=1.0)
    assert len(list(problems(options))) == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"loss": "sigmoyd"},
        {"loss": ()},
        {"loss": "sigmoid,sigmoid"},
        {"loss": "sigmoid", "weights": "1,2"},
        {"loss": "sigmoid,sft", "weights": 1},
        {"loss": "sigmoid,sft", "weights": "1,0"},
        {"loss": "sigmoid,sft", "weights": "1,-1"},
        {"weights": "inf"},
        {"reference": ""},
        {"reference": 3},
        {"ld_alpha": 1.0},
        {"ld_alpha": -0.1},
        {"rpo_alpha": 0},
        {"f_alpha": 0},
        {"f_alpha": 1},
        {"f_divergence": "chi2"},
        {"discopop_tau": 0},
    ],
    ids=str,
)
def test_senseless_values_are_refused(bad):
    with pytest.raises(ValidationError):
        DpoOptions(**bad)


def test_the_words_for_weights_that_do_not_match():
    with pytest.raises(ValidationError, match=r"2 for 1 of --dpo.loss \(hinge\); give one for"):
        DpoOptions(loss="hinge", weights="1,2")


@pytest.mark.parametrize(
    "spelt", ["sigmoid, sft", ["sigmoid", "sft"], ["sigmoid,sft"], ("sigmoid", "sft")], ids=str
)
def test_several_losses_however_they_are_spelt(spelt):
    assert DpoOptions(loss=spelt, weights="1, 0.5").terms == {"sigmoid": 1.0, "sft": 0.5}


def test_options_can_be_typed():
    check_options(Dpo, "dpo", DpoOptions(loss="robust", weights=2, ld_alpha=0.5))


def test_sorting_one_pair_a_step_is_refused():
    strategy = Dpo(DpoOptions(loss="aot"))
    (problem,) = strategy.validate(run_context(batch_size=1))
    assert problem.where == "--batch-size"
    assert strategy.validate(run_context(batch_size=2)) == []


def test_a_misspelt_loss_is_named_with_what_there_is():
    from anima_core.registry.options import build_options

    with pytest.raises(UsageError, match=r"--dpo\.loss.*sppo_hard"):
        build_options("dpo", DpoOptions, {"loss": "sigmoyd"})


def test_a_reference_that_exists_is_kept_whole(tmp_path, monkeypatch):
    (tmp_path / "runs" / "sft").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert DpoOptions(reference="runs/sft").reference == str(tmp_path / "runs" / "sft")
    assert DpoOptions(reference=tmp_path / "runs").reference == str(tmp_path / "runs")
    (tmp_path / "demo").mkdir()
    for name in ("demo", "owner/name", "./nowhere", "~nobody-of-that-name/x", "x" * 5000):
        assert DpoOptions(reference=name).reference == name
    (tmp_path / "demo" / "manifest.json").touch()
    assert DpoOptions(reference="demo").reference == str(tmp_path / "demo")


def test_the_loss_names_its_reference_where_it_has_one():
    for options, named in (({}, None), ({"reference": "demo"}, "demo")):
        assert Dpo(DpoOptions(**options)).loss(run_context()).reference_model == named
    alone = DpoOptions(loss="sft", reference="demo")
    assert Dpo(alone).loss(run_context()).reference_model is None
