from __future__ import annotations

import re
from pathlib import Path

import pytest
from anima_qlora.lora import Lora
from anima_qlora.paged_adamw import PagedAdamW
from anima_qlora.qlora import Qlora

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `--([a-z-]+)\.([a-z0-9-]+)` \| `([^`]*)` \|", re.MULTILINE)


@pytest.mark.parametrize(
    ("word", "cls"), [("lora", Lora), ("qlora", Qlora), ("paged-adamw", PagedAdamW)]
)
def test_the_tables_name_every_option_with_its_default(word: str, cls: type) -> None:
    written = {(w, o): default for w, o, default in ROW.findall(README)}
    own = cls.Options.model_fields  # type: ignore[attr-defined]
    inherited = Lora.Options.model_fields if cls is Qlora else {}
    expected = {}
    for name, field in own.items():
        if name in inherited:
            continue
        value = field.default
        text = ",".join(value) if isinstance(value, tuple) else str(value).lower()
        expected[(word, name.replace("_", "-"))] = text
    assert {key: v for key, v in written.items() if key[0] == word} == expected
