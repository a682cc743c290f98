"""`rope-scaling` on configs: what it sets, what it refuses, what survives a file."""

from __future__ import annotations

import copy

import pytest
import torch
from anima_longctx.rope_scaling import RopeScaling, RopeScalingOptions
from pydantic import ValidationError
from transformers import AutoConfig, AutoModelForCausalLM, Gemma3TextConfig, Phi3Config

from anima_core import UsageError
from anima_core.testing import run_context, tiny_config

KINDS = ["linear", "dynamic", "yarn", "llama3"]


def strategy(**options):
    return RopeScaling(RopeScalingOptions(**options))


def apply(config, **options):
    config = copy.deepcopy(config)
    strategy(**options).configure_model(run_context(model_config=config), config)
    return config


def problems(config, **options):
    return strategy(**options).validate(run_context(model_config=config))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_config_gives_the_same_result_each_time_and_a_scaled_one_is_refused(kind):
    config = tiny_config()
    first, second = apply(config, type=kind), apply(config, type=kind)
    assert first.to_dict() == second.to_dict()
    assert first.max_position_embeddings == 2 * config.max_position_embeddings
    with pytest.raises(UsageError, match=rf"scaled already \({kind}\)") as error:
        apply(first, type=kind)
    assert f"its window is {first.max_position_embeddings} tokens" in error.value.fix
    (problem,) = problems(first, type="linear")
    assert problem.level == "error"


@pytest.mark.parametrize("kind", KINDS)
def test_a_scaled_config_survives_a_file(kind, tmp_path):
    config = apply(tiny_config(), type=kind)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.rope_parameters == config.rope_parameters
    assert loaded.max_position_embeddings == config.max_position_embeddings
    with pytest.raises(UsageError, match="scaled already"):
        apply(loaded, type=kind)


def test_a_model_that_came_scaled_is_refused():
    theta = {"rope_theta": 10000.0, "factor": 4.0, "rope_type": "linear"}
    (problem,) = problems(tiny_config(rope_parameters=theta))
    assert problem.level == "error"
    assert "scaled already (linear)" in problem.what


def test_a_model_without_rope_is_refused():
    config = tiny_config("gpt2")
    (problem,) = problems(config)
    assert (problem.level, problem.where) == ("error", "--rope-scaling")
    assert "gpt2 model has no rotary positions" in problem.what
    with pytest.raises(UsageError, match="no rotary positions"):
        apply(config)


def test_a_model_that_takes_no_such_type_is_refused():
    config = Phi3Config(
        hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, vocab_size=64, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    (problem,) = problems(config, type="yarn")
    assert problem.where == "--rope-scaling.type"
    assert "phi3 model takes no yarn scaling" in problem.what
    assert apply(config, type="dynamic").max_position_embeddings == 128


def test_a_window_that_would_not_grow_is_refused():
    config = tiny_config(max_position_embeddings=4096)
    (problem,) = problems(config, factor=2.0, original_max_position_embeddings=2048)
    assert problem.where == "--rope-scaling.factor"
    assert "2048 x 2 is no longer than the model's window of 4096" in problem.what


def test_a_run_that_fits_says_how_the_window_grows():
    (note,) = problems(tiny_config(max_position_embeddings=512), type="llama3", factor=8.0)
    assert note.level == "note"
    assert note.what == "llama3 scaling stretches 512 positions to 4096"


@pytest.mark.parametrize("kind", KINDS)
def test_layers_with_a_sliding_window_keep_their_frequencies(kind):
    config = Gemma3TextConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=6, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, vocab_size=64, sliding_window=16,
        max_position_embeddings=128,
    )  # fmt: skip
    before = AutoModelForCausalLM.from_config(copy.deepcopy(config)).model.rotary_emb
    got = apply(config, type=kind, factor=4.0)
    after = AutoModelForCausalLM.from_config(copy.deepcopy(got)).model.rotary_emb
    local = "sliding_attention_inv_freq"
    torch.testing.assert_close(getattr(after, local), getattr(before, local), rtol=0, atol=0)
    slowest = "full_attention_inv_freq"
    assert getattr(after, slowest)[-1] < getattr(before, slowest)[-1] / 2
    assert got.max_position_embeddings == 512


def test_layers_of_unknown_kinds_are_refused():
    config = tiny_config()
    default = {"rope_type": "default", "rope_theta": 10000.0}
    config.rope_parameters = {"full_attention": default, "odd_attention": dict(default)}
    (problem,) = problems(config)
    assert "odd_attention" in problem.what


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"factor": 1.0}, "greater than 1"),
        ({"factor": float("inf")}, "finite"),
        ({"type": "longrope"}, "'linear', 'dynamic', 'yarn' or 'llama3'"),
        ({"type": "linear", "beta_fast": 8.0}, "beta_fast is an option of type yarn"),
        ({"type": "yarn", "low_freq_factor": 1.0}, "low_freq_factor is an option of type llama3"),
        ({"beta_fast": 1.0}, "beta_fast must be greater than beta_slow"),
        ({"type": "llama3", "low_freq_factor": 4.0}, "high_freq_factor must be greater"),
        ({"original_max_position_embeddings": 0}, "greater than or equal to 1"),
        ({"beta": 1.0}, "Extra inputs"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValidationError, match=said):
        RopeScalingOptions(**options)
