"""The hooks that are called as data becomes examples."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from anima_core.errors import DataError

from .conftest import Runs, Seen


def test_load_tokenizer(strategy: Callable[..., None], seen: Seen, runs: Runs) -> None:
    """Called before data is encoded, and by `generate` with the folder that the run saved."""
    strategy(
        "own-tokenizer",
        ("load_tokenizer", "read_data"),
        """
        @hookimpl
        def load_tokenizer(self, run):
            from transformers import AutoTokenizer

            tell("load_tokenizer", run=run)
            tokenizer = AutoTokenizer.from_pretrained(run.model_dir)
            tokenizer.chat_template = "{# mine #}" + tokenizer.chat_template
            return tokenizer

        @hookimpl
        def read_data(self, run, sources):
            tell("read_data")
            for n in range(4):
                yield anima_core.Record({"prompt": "a", "completion": "b" * (n + 1)}, "made", n)
        """,
    )
    output = runs.train("own-tokenizer")

    assert seen.names() == ["load_tokenizer", "read_data"]
    run = seen.one("load_tokenizer")["run"]
    assert run.model_dir == runs.model
    assert run.run_dir == output
    saved = (output / "model" / "chat_template.jinja").read_text()
    assert saved.startswith("{# mine #}")

    runs.answer()
    assert seen.of("load_tokenizer")[1]["run"].model_dir == output / "model"


def test_read_data(strategy: Callable[..., None], seen: Seen, runs: Runs) -> None:
    """Handed one source at a time, in order; what it yields knows its place. Held-out data too."""
    strategy(
        "own-reader",
        ("read_data",),
        """
        @hookimpl
        def read_data(self, run, sources):
            tell("read_data", sources=tuple(sources), run=run)
            for source in sources:
                for line in range(1, 4):
                    wrong = source == "wrong:x" and line == 3
                    fields = {"prompt": source, "kompletion" if wrong else "completion": "b"}
                    yield anima_core.Record(fields, source, line)
        """,
    )
    prepared = runs.plan("own-reader", data=("db:b", "db:a"), eval_data=("db:held",))

    asked = [facts["sources"] for facts in seen.of("read_data")]
    assert asked == [("db:b",), ("db:a",), ("db:held",)]
    assert not prepared.plan.errors
    assert prepared.plan.data is not None
    assert prepared.plan.data.examples == 6
    assert prepared.plan.eval_data is not None
    assert prepared.plan.eval_data.examples == 3
    assert prepared.plan.data.sources == ("db:b", "db:a")

    (problem,) = runs.plan("own-reader", data=("db:a", "wrong:x")).plan.errors
    assert "wrong:x:3" in problem.where
    assert problem.exit_code == 3
    with pytest.raises(DataError, match="wrong:x:3"):
        runs.train("own-reader", data=["wrong:x"])
    assert not runs.output.exists()
