"""The distillation loss, against its definition and on tiny models."""

from types import SimpleNamespace

import pytest
import torch
from anima_example_losses.distill.loss import DistillLoss, outcomes
from anima_example_losses.distill.strategy import Distill, DistillOptions
from pydantic import ValidationError
from torch.nn.functional import kl_div, log_softmax

from anima_core.testing import (
    batch_of,
    check_gradient,
    check_loss,
    random_examples,
    run_context,
    save_tiny,
    tiny_config,
    tiny_model,
)

VOCAB = 320
EXAMPLES = random_examples(
    "completion", 6, seed=1, vocab=VOCAB, weighted=True, weighted_tokens=True
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A student's folder, and a teacher's of another family."""
    root = tmp_path_factory.mktemp("models")
    return save_tiny(root / "student"), save_tiny(root / "teacher", "gpt2", seed=7)


@pytest.fixture
def run(folders):
    return run_context(model_dir=folders[0], model_config=tiny_config())


def strategy(folders, **options):
    return Distill(DistillOptions(teacher=str(folders[1]), **options))


def textbook(model):
    """Log-probs of all tokens at every target's place, from each example run alone."""
    rows = []
    for example in EXAMPLES:
        (segment,) = example.segments
        logits = model(input_ids=torch.tensor([segment.ids]), use_cache=False).logits[0]
        rows.append(log_softmax(logits[:-1].double(), -1)[torch.tensor(segment.supervised[1:])])
    return torch.cat(rows)


def per_token(weights, values):
    return float((weights * values).sum() / weights.sum())


def means(output):
    return {name: float(total) / float(count) for name, (total, count) in output.metrics.items()}


def test_it_wants_the_target_and_then_the_teachers_likeliest(folders, run):
    loss, batch = strategy(folders, k=5).loss(run), batch_of(EXAMPLES)
    wanted = loss.wanted(batch)
    assert wanted.dtype == torch.int64
    assert torch.equal(wanted[:, 0], batch.targets)
    with torch.no_grad():
        known = textbook(tiny_model("gpt2", seed=7))
    assert torch.equal(wanted[:, 1:], known.topk(5).indices)


@pytest.mark.parametrize("k", [1, 4, 64, VOCAB, VOCAB + 9])
def test_it_is_the_divergence_over_k_tokens_and_the_rest(folders, run, k):
    loss, batch = strategy(folders, k=k, alpha=0.3, chunk_tokens=5).loss(run), batch_of(EXAMPLES)
    with torch.no_grad():
        teacher, student = textbook(tiny_model("gpt2", seed=7)), textbook(tiny_model())
    wanted = loss.wanted(batch)
    output = loss(batch, student.gather(1, wanted).float())
    weights = batch.target_weights.double()
    t, p = (logps.gather(1, wanted[:, 1:]).exp() for logps in (teacher, student))
    kl = (t * (t / p).log()).sum(1)
    if k < VOCAB:
        t_rest, p_rest = 1 - t.sum(1), 1 - p.sum(1)
        kl = kl + t_rest * (t_rest / p_rest).log()
    nll = -student.gather(1, batch.targets[:, None])[:, 0]
    down = loss.denominators(batch)
    assert float(output.totals["kl"]) / down["kl"] == pytest.approx(
        0.3 * per_token(weights, kl), rel=1e-4
    )
    assert float(output.totals["nll"]) / down["nll"] == pytest.approx(
        0.7 * per_token(weights, nll), rel=1e-4
    )
    seen = means(output)
    assert seen["kl"] == pytest.approx(float(kl.mean()), rel=1e-4)
    assert seen["nll"] == pytest.approx(float(nll.mean()), rel=1e-4)
    assert seen["teacher_topk"] == pytest.approx(float(t.sum(1).mean()), rel=1e-4)
    whole = kl_div(student, teacher, log_target=True, reduction="none").sum(1)
    assert bool((kl <= whole + 1e-9).all())
    if k >= VOCAB:
        torch.testing.assert_close(kl, whole)


def test_agreement_counts_where_the_first_tokens_are_the_same(run, folders):
    loss, batch = strategy(folders, k=3).loss(run), batch_of(EXAMPLES)
    ids = loss.wanted(batch)
    logps = torch.full(ids.shape, -3.0)
    logps[:, 2] = -1.0
    assert means(loss(batch, logps))["agreement"] == 0
    logps[: len(ids) // 2, 1] = -0.5
    assert means(loss(batch, logps))["agreement"] == pytest.approx((len(ids) // 2) / len(ids))


class Same:
    """A teacher that says what it is told to."""

    def __init__(self, logps):
        self.logps = logps

    def topk(self, batch):
        return torch.zeros(self.logps.shape, dtype=torch.int64), self.logps


@pytest.mark.parametrize("mass", [0.0, 0.3, 1 - 1e-4, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_never_negative_and_nothing_where_they_agree(mass, dtype):
    """However little the teacher, or the model, leaves for the other tokens."""
    batch = batch_of(EXAMPLES)
    draw = torch.Generator().manual_seed(2)
    size = (len(batch.targets), 6)
    share = torch.softmax(torch.randn(size, generator=draw, dtype=torch.float64), 1)
    logps = (max(mass, 1e-30) * share).log().to(dtype)
    other = log_softmax(torch.randn((*size[:1], 7), generator=draw, dtype=torch.float64), 1)[:, 1:]
    for teacher, model in ((logps, logps), (logps, other), (other, logps)):
        known, column = teacher.to(dtype), torch.full((size[0], 1), -1.0, dtype=dtype)
        given = torch.cat([column, model.to(dtype)], 1).requires_grad_()
        output = DistillLoss(Same(known), 1.0)(batch, given)
        kl = output.totals["kl"].item()
        assert kl == pytest.approx(0, abs=1e-5) if teacher is model else kl > 0
        (gradient,) = torch.autograd.grad(output.totals["kl"], given)
        assert bool(gradient.isfinite().all())
    ones = outcomes(logps).exp().sum(1)
    torch.testing.assert_close(ones, torch.ones_like(ones))


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_its_gradient_is_exact_and_micro_batches_change_nothing(folders, run, alpha):
    loss = strategy(folders, k=3, alpha=alpha).loss(run)
    batch = batch_of(EXAMPLES[:2])
    # A distribution: log-probs that add up to more than 1 lie beyond the floor.
    draw = torch.Generator().manual_seed(3)
    size = (len(batch.targets), 9)
    logps = log_softmax(torch.randn(size, generator=draw, dtype=torch.float64), 1)[:, :4]
    check_gradient(loss, batch, logps=logps)
    check_loss(loss)


def test_the_teacher_reads_a_batch_once(folders, run):
    loss, batch = strategy(folders, k=3).loss(run), batch_of(EXAMPLES)
    wanted = loss.wanted(batch)
    calls = []
    loss.teacher._model = SimpleNamespace(vocab=VOCAB, topk=lambda *a: calls.append(a))
    loss(batch, torch.full(wanted.shape, -1.0))
    assert calls == []
    loss.teacher.topk(batch_of(EXAMPLES))
    assert len(calls) == 1


@pytest.mark.parametrize(("k", "left"), [(8, 0.6), (VOCAB, 0.1)])
def test_a_few_steps_bring_a_model_nearer_to_its_teacher(folders, run, k, left):
    loss, batch = strategy(folders, k=k, alpha=1.0).loss(run), batch_of(EXAMPLES)
    model = tiny_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with torch.no_grad():
        teacher = textbook(tiny_model("gpt2", seed=7))
    wanted, coarse, whole = loss.wanted(batch), [], []
    for _ in range(30):
        student = textbook(model)
        whole.append(kl_div(student, teacher, log_target=True, reduction="sum").item())
        total = loss(batch, student.gather(1, wanted)).totals["kl"]
        coarse.append(total.item())
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert coarse[-1] < 0.1 * coarse[0]
    assert whole[-1] < left * whole[0]


def test_a_plan_reads_no_weight_and_counts_the_teachers(folders, run, tmp_path):
    teacher = save_tiny(tmp_path / "teacher", "gpt2")
    for file in teacher.glob("*.safetensors"):
        file.unlink()
    made = Distill(DistillOptions(teacher=str(teacher), chunk_tokens=10))
    assert list(made.validate(run)) == []
    assert made.loss(run).needs == "topk"
    weights = 4 * sum(p.numel() for p in tiny_model("gpt2").parameters())
    shape = SimpleNamespace(micro_tokens=100, vocab=VOCAB)
    assert made.estimate_memory(run, shape) == {"teacher": weights + 10 * VOCAB * 4}


def test_a_teacher_that_is_not_there_is_a_problem_of_the_option(run, tmp_path):
    (problem,) = Distill(DistillOptions(teacher=str(tmp_path / "none"))).validate(run)
    assert problem.where == "--distill.teacher"
    assert problem.level == "error"


def test_a_teachers_path_is_kept_whole(folders, monkeypatch):
    monkeypatch.chdir(folders[1].parent)
    assert DistillOptions(teacher="teacher").teacher == str(folders[1])
    assert DistillOptions(teacher="demo").teacher == "demo"
    assert DistillOptions(teacher="owner/name").teacher == "owner/name"


@pytest.mark.parametrize("options", [{}, {"teacher": ""}, {"teacher": "x", "k": 0},
                                     {"teacher": "x", "alpha": 1.1}])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        DistillOptions(**options)
