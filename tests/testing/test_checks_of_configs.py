"""The check of config changes passes one that is a function of the config alone."""

from __future__ import annotations

import pytest

from anima_core.testing import check_configure, tiny_config


class Widen:
    def configure_model(self, run, config):
        config.max_position_embeddings *= 2


def test_a_sound_one_passes():
    check_configure(Widen().configure_model)
    check_configure(Widen().configure_model, family="mistral")
    check_configure(Widen().configure_model, tiny_config("qwen3"))


class Counts(Widen):
    calls = 0

    def configure_model(self, config):
        self.calls += 1
        config.max_position_embeddings *= 1 + self.calls


class ChangesTheRun(Widen):
    def configure_model(self, run, config):
        run.model_config.max_position_embeddings *= 2


class Returns(Widen):
    def configure_model(self, run, config):
        return config


class Breaks(Widen):
    def configure_model(self, run, config):
        config.num_key_value_heads = 3


class ReadsTheRun(Widen):
    """Takes what was changed already for the original."""

    def configure_model(self, run, config):
        run.model_config.rms_norm_eps *= 10
        config.rms_norm_eps = run.model_config.rms_norm_eps


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (Counts, "came out unequal: max_position_embeddings"),
        (ChangesTheRun, r"changed run\.model_config \(max_position_embeddings\)"),
        (Returns, "returned LlamaConfig"),
        (Breaks, "does not compute"),
        (ReadsTheRun, r"changed run\.model_config \(rms_norm_eps\)"),
    ],
)
def test_the_defect_is_named(strategy, said):
    with pytest.raises(AssertionError, match=said):
        check_configure(strategy().configure_model)
