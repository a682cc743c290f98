"""The distribution as the core sees it: sound classes, cheap imports, true entry points."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import torch
from anima_longctx.chunked_logps import ChunkedLogps

from anima_core.testing import check_import_budget, check_strategy, check_token_logps

ROOT = Path(__file__).parents[1]
ENTRIES = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][
    "anima.strategies"
]


@pytest.mark.parametrize("name", ENTRIES)
def test_a_strategy_is_sound_and_its_module_imports_nothing_heavy(name):
    module, _, attribute = ENTRIES[name].partition(":")
    check_strategy(getattr(import_module(module), attribute))
    check_import_budget(module)


@pytest.mark.parametrize("kernel", [ChunkedLogps(), ChunkedLogps(16, 32), ChunkedLogps(1, 1000)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_passes_the_core_s_check(kernel, dtype):
    check_token_logps(kernel, dtype=dtype)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_readme_s_table_holds_every_option_with_its_default(name):
    module, _, attribute = ENTRIES[name].partition(":")
    options = getattr(import_module(module), attribute).Options
    section = (ROOT / "README.md").read_text("utf-8").split(f"## `{name}`")[1].split("\n## ")[0]
    rows = dict(re.findall(rf"^\| `--{name}\.([a-z0-9-]+)` \| ([^|]*) \|", section, re.MULTILINE))
    assert rows.keys() == {field.replace("_", "-") for field in options.model_fields}
    for field, info in options.model_fields.items():
        if info.default is not None:
            default = f"{info.default:g}" if isinstance(info.default, float) else info.default
            assert rows[field.replace("_", "-")].strip("` ") == str(default)
