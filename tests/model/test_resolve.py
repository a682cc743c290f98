"""A MODEL that is not what it seems is refused in words that say what to name instead."""

from __future__ import annotations

import pytest

from anima_core.errors import SetupError, UsageError
from anima_core.model.folder import model_folder
from anima_core.model.resolve import resolve_model


def test_an_adapters_folder_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")

    with pytest.raises(UsageError, match="holds an adapter") as raised:
        resolve_model(str(tmp_path))
    assert "run directory" in raised.value.fix


def test_a_misspelt_path_is_no_missing_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()

    with pytest.raises(UsageError, match="no folder models/misspelt"):
        model_folder(resolve_model("models/misspelt"), weights=False)
    with pytest.raises(SetupError, match="hub cannot be reached"):
        model_folder(resolve_model("owner/not-in-the-cache"), weights=False)
