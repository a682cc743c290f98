"""Columns under other names, and placeholders in the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerFast

from anima_core.config.core import CoreOptions
from anima_core.config.requests import core_options
from anima_core.config.run_file import read_run_file
from anima_core.contracts import Record
from anima_core.data.dataset import load_dataset
from anima_core.data.formats import Example
from anima_core.data.handling import Handling, handling_of
from anima_core.data.notes import data_notes, data_warnings, idle_problems
from anima_core.data.placeholders import Named, Placeholders
from anima_core.errors import DataError, UsageError

Make = Callable[..., PreTrainedTokenizerFast]


def load(tokenizer: PreTrainedTokenizerFast, *rows: dict[str, Any], **handling: Any) -> Any:
    return load_dataset(
        [Record(row, "x.jsonl", line) for line, row in enumerate(rows, 1)],
        tokenizer,
        kind="completion",
        limit=500,
        overlong="error",
        sources=["x.jsonl"],
        handling=Handling(**handling),
    )


MAP = {"prompt": "question", "completion": "answer"}


def test_columns_are_read_under_the_fields_names(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    row = {"question": "q", "answer": "r", "id": 3}
    mapped, summary = load(tokenizer, row, columns=MAP)
    plain, _ = load(tokenizer, {"prompt": "q", "completion": "r"})
    assert mapped[0].segments == plain[0].segments
    assert summary.unread_fields == ("id",)
    assert summary.replaced_fields == ()


def test_a_column_in_the_place_of_a_field_is_said(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    row = {"prompt": "other", "question": "q", "completion": "r"}
    mapped, summary = load(tokenizer, row, columns={"prompt": "question"})
    plain, _ = load(tokenizer, {"prompt": "q", "completion": "r"})
    assert mapped[0].segments == plain[0].segments
    assert summary.replaced_fields == ("prompt",)
    (note,) = data_notes(summary, tokenizer)
    assert "records' own prompt" in note


def test_a_column_that_no_record_has_is_an_error_with_what_there_is(make_tokenizer: Make) -> None:
    rows: list[dict[str, Any]] = [{"question": "q", "answer": "r"}, {"question": "q", "extra": 1}]
    with pytest.raises(DataError, match="no record has a column 'anser'") as caught:
        load(make_tokenizer(), *rows, columns={**MAP, "completion": "anser"})
    assert "question, answer, extra" in caught.value.what
    assert caught.value.fix == "did you mean answer?"
    assert "--columns completion=anser" in caught.value.where


def test_a_column_that_some_records_lack_is_theirs_to_answer_for(make_tokenizer: Make) -> None:
    rows: list[dict[str, Any]] = [{"instruction": "i", "output": "o"}] * 2
    rows[1] = {**rows[1], "context": "c"}
    examples, _ = load(make_tokenizer(), *rows, columns={"input": "context"})
    assert examples[0].tokens < examples[1].tokens


def test_a_field_that_no_format_reads_is_no_target(make_tokenizer: Make) -> None:
    with pytest.raises(UsageError, match="no format reads a field 'promt'") as caught:
        load(make_tokenizer(), {"question": "q"}, columns={"promt": "question"})
    assert caught.value.fix == "did you mean prompt?"


def test_a_mapping_in_a_run_file_is_that_of_the_command_line(tmp_path: Any) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model: demo\ncolumns: {prompt: question}\nfill:\n  name: A=B\n")
    handling = handling_of(core_options(read_run_file(file)))
    assert handling.columns == {"prompt": "question"}
    assert handling.fill == {"name": "A=B"}
    typed = CoreOptions.model_validate({"model": "m", "columns": ["prompt=question"]})
    assert handling_of(typed).columns == handling.columns


@pytest.mark.parametrize("value", ["prompt", "=x", ["a=b", "a=c"]])
def test_what_is_no_pair_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"name=value|twice"):
        CoreOptions.model_validate({"model": "m", "columns": value})


ROW = {"prompt": "Who is {{name}}?", "completion": "{{ name }} by {{author}}, {x}, {{1}}"}


def test_placeholders_are_found_and_filled(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    _, summary = load(tokenizer, ROW, {"prompt": "q", "completion": "{{name}}"})
    assert summary.placeholders == {"author": 1, "name": 2}
    ((text, fix),) = data_warnings(summary)
    assert "{{name}} in 2 examples, {{author}} in 1 examples" in text
    assert "--fill author=VALUE" in fix
    filled, summary = load(tokenizer, ROW, fill={"name": "Anima", "author": r"us\1"})
    meant = {"prompt": "Who is Anima?", "completion": "Anima by us\\1, {x}, {{1}}"}
    assert filled[0].segments == load(tokenizer, meant)[0][0].segments
    assert (summary.filled, summary.placeholders) == ({"author": 1, "name": 1}, {})
    assert data_warnings(summary) == []


def test_a_value_for_no_placeholder_is_an_error(make_tokenizer: Make) -> None:
    _, summary = load(make_tokenizer(), ROW, fill={"nome": "x"})
    config = CoreOptions(model="m", fill=("nome=x",))
    (problem,) = idle_problems(summary, config)
    assert (problem.where, problem.level) == ("--fill nome", "error")
    assert "There are author, name." in problem.fix


def test_every_part_of_an_example_is_filled() -> None:
    def said(role: str, content: str) -> dict[str, Any]:
        return {"role": role, "content": content}

    example = Example(
        (said("user", "{{a}}"),),
        "preference",
        (said("assistant", "b {{a}}"),),
        (said("assistant", "c {{a}}"),),
        text="{{a}}",
    )
    filled = Placeholders({"a": "A"}).fill(example, Named())
    assert filled.messages[0]["content"] == "A"
    assert filled.chosen[0]["content"] == "b A"
    assert filled.rejected[0]["content"] == "c A"
    assert filled.text == "A"
