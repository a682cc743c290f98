from __future__ import annotations

import importlib
import logging
import sys
import types

import anima_qlora.backend as backend
import pytest
from anima_qlora.lora import Lora
from anima_qlora.options import LoraOptions, QloraOptions
from anima_qlora.paged_adamw import PagedAdamW, PagedAdamWOptions
from anima_qlora.qlora import Qlora

from anima_core import SetupError
from anima_core.testing import run_context


def test_no_kernel_is_fetched_while_bitsandbytes_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = types.ModuleType("kernels")
    monkeypatch.setitem(sys.modules, "kernels", there)
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level = logger.level
    with backend.no_downloaded_kernels():
        with pytest.raises(ImportError):
            importlib.import_module("kernels")
        assert not logger.isEnabledFor(logging.WARNING)
    assert sys.modules["kernels"] is there
    assert logger.level == level
    monkeypatch.delitem(sys.modules, "kernels")
    with backend.no_downloaded_kernels():
        pass
    assert "kernels" not in sys.modules


def test_the_doctor_is_told_versions_and_devices() -> None:
    (peft,) = Lora(LoraOptions()).diagnose()
    assert peft.level == "ok"
    assert peft.what.startswith("peft ")
    for strategy in (Qlora(QloraOptions()), PagedAdamW(PagedAdamWOptions())):
        version, devices = strategy.diagnose()
        assert version.level == devices.level == "ok"
        assert version.what.startswith("bitsandbytes ")
        assert "cpu" in devices.what


def missing(name: str) -> object:
    raise SetupError(f"{name} does not import: no such module", fix=f"Run: pip install {name}")


def test_a_missing_package_is_an_error_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_imported", missing)
    strategies = {
        "--lora": Lora(LoraOptions()),
        "--qlora": Qlora(QloraOptions()),
        "--paged-adamw": PagedAdamW(PagedAdamWOptions()),
    }
    for flag, strategy in strategies.items():
        (finding,) = strategy.diagnose()
        assert finding.level == "error"
        assert "pip install" in finding.fix
        (problem,) = strategy.validate(run_context())
        assert (problem.where, problem.level) == (flag, "error")


def test_an_import_that_fails_is_a_setup_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        raise OSError("libcudart.so is missing")

    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    monkeypatch.setattr(backend, "import_module", broken)
    with pytest.raises(SetupError, match="libcudart"):
        backend.bitsandbytes()
