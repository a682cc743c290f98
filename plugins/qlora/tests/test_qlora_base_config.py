from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from anima_qlora.base_config import FOLDER
from anima_qlora.lora import Lora
from anima_qlora.options import LoraOptions
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from anima_core.testing import run_context

IDS = torch.arange(5, 45)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        answer: torch.Tensor = model.eval()(input_ids=IDS).logits
    return answer


def test_a_changed_config_lies_beside_the_adapter_for_whoever_loads_it(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    base = folders("llama")
    config = AutoConfig.from_pretrained(base)
    config.rope_parameters = {**config.rope_parameters, "rope_type": "linear", "factor": 2.0}
    run = run_context(model_dir=base, model_config=config)
    model = AutoModelForCausalLM.from_pretrained(base, config=config)
    adapter = Lora(LoraOptions()).adapt_model(run, model)
    with torch.no_grad():
        for parameter in adapter.trainable.values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)

    adapter.save(tmp_path)

    trained = logits(adapter.model)
    changed = AutoConfig.from_pretrained(tmp_path / FOLDER)
    scaled = AutoModelForCausalLM.from_pretrained(base, config=changed)
    assert torch.allclose(logits(PeftModel.from_pretrained(scaled, tmp_path)), trained, atol=1e-5)
    # The folder is still an adapter's to transformers; on the base's own config it misfits.
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not torch.allclose(logits(plain), trained, atol=1e-2)


def test_a_models_own_config_is_not_repeated(build: Callable[..., Any], tmp_path: Path) -> None:
    build("lora").adapter.save(tmp_path)
    assert not (tmp_path / FOLDER).exists()
