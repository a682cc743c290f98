from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest
from anima_qlora.lora import Lora
from anima_qlora.paged_adamw import PagedAdamW
from anima_qlora.qlora import Qlora

from anima_core.testing import check_import_budget, check_strategy

CLASSES = {"lora": Lora, "qlora": Qlora, "paged-adamw": PagedAdamW}


@pytest.mark.parametrize("word", CLASSES)
def test_the_class_is_what_the_registry_relies_on(word: str) -> None:
    check_strategy(CLASSES[word])


@pytest.mark.parametrize("word", CLASSES)
def test_the_entry_point_leads_to_the_class(word: str) -> None:
    (found,) = entry_points(group="anima.strategies", name=word)
    assert found.load() is CLASSES[word]


@pytest.mark.parametrize("module", ["lora", "qlora", "paged_adamw"])
def test_an_entry_point_imports_nothing_heavy(module: str) -> None:
    check_import_budget(f"anima_qlora.{module}")


def test_no_folder_around_the_package_is_a_package() -> None:
    # An editable install may put the repository's root on the path, and a second copy of the
    # module with it.
    folder = Path(__file__).parent.parent
    assert not [
        d for d in (folder.parent, folder, folder / "tests") if (d / "__init__.py").exists()
    ]


def test_lora_and_qlora_want_ten_times_the_learning_rate_and_leave_the_base_alone() -> None:
    for cls in (Lora, Qlora):
        assert cls.learning_rate_scale == 10.0
        assert cls.trains_base is False
    assert Qlora.loads_quantized is True
    assert not getattr(Lora, "loads_quantized", False)
