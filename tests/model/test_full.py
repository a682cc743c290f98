"""Full fine-tuning saves the whole model, and keeps what the run was configured with apart."""

from __future__ import annotations

from anima_core import Attention
from anima_core.model.full import Full
from anima_core.model.load import Safetensors
from anima_core.strategy import NoOptions
from anima_core.testing import run_context


def loaded(tiny_dir):
    from transformers import AutoConfig

    run = run_context(model_dir=tiny_dir, model_config=AutoConfig.from_pretrained(tiny_dir))
    before = run.model_config.to_dict()
    strategy = Safetensors(NoOptions())
    model = strategy.load_model(run, run.model_config, Attention(name="sdpa"))
    return run, before, model


def test_loading_leaves_the_runs_config_as_it_was(tiny_dir):
    run, before, model = loaded(tiny_dir)

    model.config.use_cache = False

    assert run.model_config.to_dict() == before


def test_saving_draws_nothing_on_the_screen(tiny_dir, tmp_path, capfd):
    run, _, model = loaded(tiny_dir)
    adapter = Full(NoOptions()).adapt_model(run, model)
    capfd.readouterr()

    adapter.save(tmp_path)

    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "model.safetensors").is_file()
