"""Each loss against its paper's formula: scalars in float64, pair by pair, token by token.

A pair is written out as four lists of log-probs (the model's and the reference's of the chosen
and of the rejected answer), and a formula sees numbers only. No code under test is used in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from anima_dpo.facts import FACTS, NAMES
from anima_dpo.loss import make_loss
from anima_dpo.options import DpoOptions

from anima_core import AnimaError, EncodedExample, Role, TokenSegment
from anima_core.testing import batch_of

E = 0.1
BETA = 0.4
LENGTHS = [(3, 2), (1, 4), (2, 2), (5, 1), (4, 6)]


@dataclass
class Answers:
    """One pair: log-probs by token, and its weight."""

    w: list[torch.Tensor]
    l: list[torch.Tensor]  # noqa: E741 - the papers' letter
    ref_w: list[torch.Tensor]
    ref_l: list[torch.Tensor]
    weight: float


def ratio(pair: Answers) -> tuple[torch.Tensor, torch.Tensor]:
    """log pi/pi_ref of both answers."""
    return sum(pair.w) - sum(pair.ref_w), sum(pair.l) - sum(pair.ref_l)


def sigma(x):
    return 1 / (1 + torch.exp(-x))


def log(x):
    return torch.log(torch.as_tensor(x, dtype=torch.float64))


def bernoulli(d, e=E):
    return -(1 - e) * log(sigma(d)) - e * log(1 - sigma(d))


def sigmoid(p):
    w, l = ratio(p)  # noqa: E741
    return bernoulli(BETA * (w - l))


def hinge(p):
    w, l = ratio(p)  # noqa: E741
    slack = 1 - BETA * (w - l)
    return slack if slack > 0 else 0 * slack


def ipo(p):
    w, l = ratio(p)  # noqa: E741
    return (w / len(p.w) - l / len(p.l) - 1 / (2 * BETA)) ** 2


def robust(p):
    w, l = ratio(p)  # noqa: E741
    d = BETA * (w - l)
    return ((1 - E) * -log(sigma(d)) - E * -log(sigma(-d))) / (1 - 2 * E)


def exo_pair(p):
    """KL(p_theta || p_rh) over the two answers."""
    w, l = ratio(p)  # noqa: E741
    unnormalised = [torch.exp(BETA * w), torch.exp(BETA * l)]
    model = [u / sum(unnormalised) for u in unnormalised]
    return sum(q * log(q / h) for q, h in zip(model, (1 - E, E), strict=True))


def nca_pair(p):
    """Each of K = 2 answers: -sum over i of [label_i log s(r_i) + 1/K log s(-r_i)]."""
    rewards = [BETA * r for r in ratio(p)]
    return -sum(
        label * log(sigma(r)) + log(sigma(-r)) / 2 for label, r in zip((1, 0), rewards, strict=True)
    )


def bco_pair(p, delta=0.0):
    w, l = ratio(p)  # noqa: E741
    return -log(sigma(BETA * w - delta)) - log(sigma(-(BETA * l - delta)))


def sppo_hard(p):
    """(log-ratio - eta (P - 1/2))^2 with eta = 1 / beta and P = 1 and 0."""
    return sum((r - (wins - 0.5) / BETA) ** 2 for r, wins in zip(ratio(p), (1, 0), strict=True))


def apo_zero(p):
    w, l = ratio(p)  # noqa: E741
    return -sigma(BETA * w) + sigma(BETA * l) + 1


def apo_down(p):
    w, l = ratio(p)  # noqa: E741
    return sigma(BETA * w) - sigma(BETA * w - BETA * l) + 1


def discopop(p):
    w, l = ratio(p)  # noqa: E741
    rho = BETA * (w - l)
    mix = sigma(rho / 0.05)
    return log(1 + torch.exp(-rho)) * (1 - mix) + torch.exp(-rho) * mix


def pairwise(formula):
    """The mean over pairs by weight."""

    def mean(pairs):
        total = sum(p.weight for p in pairs)
        return sum(p.weight * formula(p) for p in pairs) / total

    return mean


def counted(pairs):
    """A weight of n is n pairs."""
    return [p for p in pairs for _ in range(round(p.weight))]


def aot(pairs):
    pairs = counted(pairs)
    policy = sorted(sum(p.w) - sum(p.l) for p in pairs)
    reference = sorted(sum(p.ref_w) - sum(p.ref_l) for p in pairs)
    return sum(bernoulli(BETA * (u - v)) for u, v in zip(policy, reference, strict=True)) / len(
        pairs
    )


def aot_unpaired(pairs):
    pairs = counted(pairs)
    chosen, rejected = (sorted(ratio(p)[i] for p in pairs) for i in (0, 1))
    return sum(bernoulli(BETA * (u - v)) for u, v in zip(chosen, rejected, strict=True)) / len(
        pairs
    )


def sft(pairs):
    return -sum(p.weight * sum(p.w) for p in pairs) / sum(p.weight * len(p.w) for p in pairs)


BY_PAIR = (
    sigmoid, hinge, ipo, robust, exo_pair, nca_pair, bco_pair, sppo_hard, apo_zero, apo_down,
    discopop,
)  # fmt: skip
TEXTBOOK = {f.__name__: pairwise(f) for f in BY_PAIR}
TEXTBOOK |= {"aot": aot, "aot_unpaired": aot_unpaired, "sft": sft}


def data(seed=0, weights=(1.0, 3.0, 1.0, 2.0, 2.0)):
    """A batch and the log-probs of its targets: the model's, the reference's."""
    examples = [
        EncodedExample(
            (
                TokenSegment((3, 4), (False, False), Role.PROMPT),
                TokenSegment((1,) * w, (True,) * w, Role.CHOSEN, parent=0),
                TokenSegment((2,) * l, (True,) * l, Role.REJECTED, parent=0),
            ),
            weight=weight,
        )
        for (w, l), weight in zip(LENGTHS, weights, strict=True)  # noqa: E741
    ]
    generator = torch.Generator().manual_seed(seed)
    count = sum(map(sum, LENGTHS))
    logps, reference = (
        -2 * torch.rand(count, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return batch_of(examples), logps.requires_grad_(), reference


def written_out(batch, logps, reference):
    """The same log-probs as lists, pair by pair."""
    pairs, at = [], 0
    for (w, l), weight in zip(LENGTHS, batch.weights.tolist(), strict=True):  # noqa: E741
        spans = [
            list(v[at + a : at + b]) for v in (logps, reference) for a, b in ((0, w), (w, w + l))
        ]
        pairs.append(Answers(spans[0], spans[1], spans[2], spans[3], weight))
        at += w + l
    return pairs


def same(options, expected, seed=0, collision=None):
    """Ours and the textbook's mean loss agree, and their gradients."""
    batch, logps, reference = data(seed)
    loss = make_loss(DpoOptions(**options))
    out = loss(batch, logps, reference, collision)
    below = loss.denominators(batch)
    assert out.totals.keys() == below.keys()
    ours = sum(total / below[name] for name, total in out.totals.items())
    theirs = expected(written_out(batch, logps, reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    mine, written = (torch.autograd.grad(v, logps, retain_graph=True)[0] for v in (ours, theirs))
    torch.testing.assert_close(mine, written, rtol=1e-9, atol=1e-12)
    assert mine.abs().sum() > 0
    return out


def plain(name):
    """The options under which a loss is written out above."""
    return {"loss": name, "beta": BETA} | ({"label_smoothing": E} if FACTS[name].smoothing else {})


def test_every_loss_is_written_out():
    assert set(TEXTBOOK) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_its_papers(name):
    same(plain(name), TEXTBOOK[name], seed=NAMES.index(name))


def test_several_are_added_up_by_their_weights():
    options = {"loss": "robust,sft,aot", "weights": "0.5,2,0.25", "beta": BETA}
    same(
        {**options, "label_smoothing": E},
        lambda pairs: 0.5 * TEXTBOOK["robust"](pairs) + 2 * sft(pairs) + 0.25 * aot(pairs),
    )


@pytest.mark.parametrize("name", [n for n in NAMES if FACTS[n].compares and n != "ipo"])
def test_length_normalised_is_every_token_by_its_answers_length(name):
    def shorter(pairs):
        def mean(values):
            return [v / len(values) for v in values]

        return TEXTBOOK[name](
            [Answers(mean(p.w), mean(p.l), mean(p.ref_w), mean(p.ref_l), p.weight) for p in pairs]
        )

    same(plain(name) | {"length_normalised": True}, shorter)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("name", ["sigmoid", "sppo_hard", "aot", "ipo"])
def test_ld_counts_less_what_goes_past_the_shorter_answer(name, alpha):
    def desensitised(pairs):
        def cut(values, common):
            return [v if i < common else alpha * v for i, v in enumerate(values)]

        return TEXTBOOK[name](
            [
                Answers(
                    *(cut(v, min(len(p.w), len(p.l))) for v in (p.w, p.l, p.ref_w, p.ref_l)),
                    p.weight,
                )
                for p in pairs
            ]
        )

    same(plain(name) | {"ld_alpha": alpha}, desensitised)


def test_rpo_adds_the_chosen_answers_mean_likelihood():
    def term(pairs):
        total = sum(p.weight for p in pairs)
        return sum(p.weight * -sum(p.w) / len(p.w) for p in pairs) / total

    same(
        {"beta": BETA, "rpo_alpha": 0.7, "label_smoothing": E},
        lambda pairs: TEXTBOOK["sigmoid"](pairs) + 0.7 * term(pairs),
    )
    same({"loss": "sft", "rpo_alpha": 0.7}, lambda pairs: sft(pairs) + 0.7 * term(pairs))


def squares():
    """At each target's place a sum over the vocabulary of pi^2, ``[S]``."""
    generator = torch.Generator().manual_seed(9)
    logits = 2 * torch.randn(sum(map(sum, LENGTHS)), 30, generator=generator, dtype=torch.float64)
    return (torch.softmax(logits, dim=1) ** 2).sum(dim=1)


def aligned(pairs):
    """WPO's weight of each pair: products of pi / (sum of pi^2), their geometric means."""
    at, found = 0, []
    for p in pairs:
        weight = 1.0
        for answer in (p.w, p.l):
            beside = squares()[at : at + len(answer)]
            odds = [math.exp(v.item()) / s.item() for v, s in zip(answer, beside, strict=True)]
            weight *= math.prod(odds) ** (1 / len(odds))
            at += len(answer)
        found.append(weight)
    return found


@pytest.mark.parametrize("name", ["sigmoid", "apo_down", "bco_pair", "ipo"])
def test_wpo_weighs_a_pair_by_its_likelihood(name):
    formula = {f.__name__: f for f in BY_PAIR}[name]

    def weighed(pairs):
        total = sum(p.weight for p in pairs)
        parts = zip(aligned(pairs), pairs, strict=True)
        return sum(weight * p.weight * formula(p) for weight, p in parts) / total

    out = same(plain(name) | {"wpo": True}, weighed, collision=squares().log())
    likely = aligned(written_out(*data()))
    assert max(likely) > 1, "nothing is cut at 1"
    mean = [float(part) for part in out.metrics["wpo_weight"]]
    assert mean == pytest.approx([sum(likely), len(likely)], rel=1e-12)


def test_wpo_weighs_every_loss_that_is_added_up():
    def expected(pairs):
        weights = [w * p.weight for w, p in zip(aligned(pairs), pairs, strict=True)]
        total, tokens = sum(p.weight for p in pairs), sum(p.weight * len(p.w) for p in pairs)
        found = 0
        for weight, p in zip(weights, pairs, strict=True):
            found += weight * (sigmoid(p) - 0.7 * sum(p.w) / len(p.w)) / total
            found -= weight * 2 * sum(p.w) / tokens
        return found

    options = {"loss": "sigmoid,sft", "weights": "1,2", "beta": BETA, "label_smoothing": E}
    same(options | {"rpo_alpha": 0.7, "wpo": True}, expected, collision=squares().log())


def test_wpo_asks_for_what_it_weighs_by():
    assert make_loss(DpoOptions(wpo=True)).collision is True
    assert make_loss(DpoOptions()).collision is False
    with pytest.raises(AnimaError, match="collision probabilities"):
        make_loss(DpoOptions(wpo=True))(*data())


DIVERGENCES = {
    "forward_kl": lambda u: -1 / u,
    "js_divergence": lambda u: torch.log(2 * u / (1 + u)),
    # f-DPO's table 1 has (1 - u^-a) / a; here a is 1 less what is given
    "alpha_divergence": lambda u: (1 - u ** -(1 - 0.3)) / (1 - 0.3),
}


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("name", ["sigmoid", "hinge", "robust", "exo_pair", "discopop"])
def test_divergence_is_its_derivative_in_place_of_the_log_ratio(name, divergence):
    def other(pairs):
        scores = [[DIVERGENCES[divergence](torch.exp(r)) for r in ratio(p)] for p in pairs]
        zero = [torch.zeros((), dtype=torch.float64)]
        return TEXTBOOK[name](
            [
                Answers([w], [l], zero, zero, p.weight)
                for (w, l), p in zip(scores, pairs, strict=True)  # noqa: E741
            ]
        )

    alpha = {"f_alpha": 0.3} if divergence == "alpha_divergence" else {}
    same(plain(name) | {"f_divergence": divergence} | alpha, other)


@pytest.mark.parametrize("alpha", [1e-5, 1 - 1e-5])
def test_alpha_lies_between_the_two_kls(alpha):
    batch, logps, reference = data()
    end = "forward_kl" if alpha < 0.5 else "reverse_kl"
    near = DpoOptions(f_divergence="alpha_divergence", f_alpha=alpha)
    values = [
        make_loss(options)(batch, logps, reference).totals["dpo"]
        for options in (near, DpoOptions(f_divergence=end))
    ]
    torch.testing.assert_close(*values, rtol=1e-4, atol=0)


@pytest.mark.parametrize("divergence", ["forward_kl", "js_divergence", "alpha_divergence"])
def test_far_from_the_reference_a_divergence_stays_finite(divergence):
    batch, logps, reference = data()
    far = (300 * logps.detach()).float().requires_grad_()
    out = make_loss(DpoOptions(f_divergence=divergence))(batch, far, reference.float())
    (gradient,) = torch.autograd.grad(out.totals["dpo"], far)
    assert out.totals["dpo"].isfinite()
    assert gradient.isfinite().all()
