"""Frequencies of real models under RoPE scaling, against the papers' formulas."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from anima_longctx.rope_scaling import RopeScaling, RopeScalingOptions
from transformers import AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from anima_core.attention.sdpa import segment_sdpa
from anima_core.attention.segments import register_segment_attention, segment_arguments
from anima_core.testing import batch_of, random_examples, run_context, tiny_config

THETA, DIM, WINDOW = 10000.0, 64, 512


def llama(**overrides):
    return tiny_config(head_dim=DIM, max_position_embeddings=WINDOW, rope_theta=THETA, **overrides)


def scaled(config=None, **options):
    """A deep copy of a config, scaled."""
    config = copy.deepcopy(config or llama())
    strategy = RopeScaling(RopeScalingOptions(**options))
    strategy.configure_model(run_context(model_config=config), config)
    return config


def rotary(config):
    """The rotary embedding of a model built from a config."""
    return AutoModelForCausalLM.from_config(copy.deepcopy(config)).model.rotary_emb


def plain(theta=THETA):
    return [theta ** (-2 * i / DIM) for i in range(DIM // 2)]


def assert_frequencies(config, want, attention=1.0):
    built = rotary(config)
    torch.testing.assert_close(built.inv_freq, torch.tensor(want), rtol=1e-5, atol=0)
    assert built.attention_scaling == pytest.approx(attention)


@pytest.mark.parametrize("factor", [2.0, 8.0])
def test_linear_is_position_interpolation(factor):
    """Chen et al. 2023: positions, and so frequencies, are divided by the factor."""
    config = scaled(type="linear", factor=factor)
    assert_frequencies(config, [f / factor for f in plain()])
    assert config.max_position_embeddings == WINDOW * factor


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_dynamic_is_ntk_at_the_target_window(factor):
    """The base grows as NTK-aware scaling says for a length of the whole target window."""
    config = scaled(type="dynamic", factor=factor)
    theta = THETA * (factor * (factor * WINDOW) / WINDOW - (factor - 1)) ** (DIM / (DIM - 2))
    assert_frequencies(config, plain(theta))
    assert config.max_position_embeddings == WINDOW * factor
    unscaled = llama(
        rope_parameters={"rope_type": "dynamic", "factor": factor, "rope_theta": THETA}
    )
    theirs, _ = ROPE_INIT_FUNCTIONS["dynamic"](unscaled, None, seq_len=int(factor * WINDOW))
    torch.testing.assert_close(rotary(config).inv_freq, theirs)


@pytest.mark.parametrize(
    ("factor", "options", "attention"),
    [
        (4.0, {}, 0.1 * math.log(4.0) + 1),
        (8.0, {"beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.25}, 1.25),
    ],
)
def test_yarn_is_ntk_by_parts_with_temperature(factor, options, attention):
    """Peng et al. 2023, §3.2 (r = L / wavelength, blended between two values) and §3.4.

    The ramp is linear in the dimension's number, between the (rounded) numbers at which
    r is beta_fast and beta_slow, as in the authors' code.
    """
    fast, slow = options.get("beta_fast", 32.0), options.get("beta_slow", 1.0)

    def dimension(turns):
        return DIM * math.log(WINDOW / (turns * 2 * math.pi)) / (2 * math.log(THETA))

    low, high = max(math.floor(dimension(fast)), 0), min(math.ceil(dimension(slow)), DIM - 1)
    want = []
    for i, frequency in enumerate(plain()):
        ramp = min(max((i - low) / (high - low), 0.0), 1.0)
        want.append(ramp * frequency / factor + (1 - ramp) * frequency)
    assert_frequencies(scaled(type="yarn", factor=factor, **options), want, attention)
    assert want[0] == plain()[0]
    assert want[-1] == pytest.approx(plain()[-1] / factor)


@pytest.mark.parametrize("options", [{}, {"low_freq_factor": 2.0, "high_freq_factor": 8.0}])
def test_llama3_is_meta_s_rule(options):
    """Llama 3.1's `apply_scaling`: kept, divided, or blended between two wavelengths."""
    factor = 8.0
    low, high = options.get("low_freq_factor", 1.0), options.get("high_freq_factor", 4.0)
    want, kinds = [], set()
    for frequency in plain():
        wavelength = 2 * math.pi / frequency
        if wavelength < WINDOW / high:
            kinds.add("kept")
            want.append(frequency)
        elif wavelength > WINDOW / low:
            kinds.add("divided")
            want.append(frequency / factor)
        else:
            kinds.add("blended")
            smooth = (WINDOW / wavelength - low) / (high - low)
            want.append((1 - smooth) * frequency / factor + smooth * frequency)
    assert kinds == {"kept", "divided", "blended"}
    assert_frequencies(scaled(type="llama3", factor=factor, **options), want)


def test_the_original_window_may_be_given():
    config = scaled(type="yarn", factor=4.0, original_max_position_embeddings=256)
    assert config.rope_parameters["original_max_position_embeddings"] == 256
    assert config.max_position_embeddings == 1024


def test_part_of_a_head_may_rotate():
    config = tiny_config(head_dim=DIM, max_position_embeddings=WINDOW)
    config.rope_parameters["partial_rotary_factor"] = 0.5
    theta = scaled(config, type="dynamic", factor=2.0).rope_parameters["rope_theta"]
    half = DIM // 2
    assert theta == pytest.approx(config.rope_parameters["rope_theta"] * 3 ** (half / (half - 2)))


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "llama3"])
def test_a_short_segment_is_the_same_alone_and_beside_a_long_one(kind):
    """Transformers' own `dynamic` takes its frequencies from the longest segment in flight."""
    name = "test_rope_segments"
    register_segment_attention(name, segment_sdpa)
    config = scaled(tiny_config(max_position_embeddings=16), type=kind, factor=4.0)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=name).eval()
    examples = random_examples("completion", 12, seed=3, vocab=320)
    short, long = (pick(examples, key=lambda e: e.longest) for pick in (min, max))
    assert short.longest <= 16 < long.longest <= 64

    def states(*chosen):
        arguments = segment_arguments(batch_of(chosen))
        with torch.no_grad():
            return model.model(**arguments).last_hidden_state[0, : short.tokens]

    before = states(short)
    torch.testing.assert_close(states(short, long), before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(states(short), before, rtol=0, atol=0)
