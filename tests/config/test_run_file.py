"""A run file is read strictly, and what is written reads back to the same run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from anima_core.config.core import NOT_IN_RUN_FILE, CoreOptions
from anima_core.config.dump import dump_run_file
from anima_core.config.paths import absolute, home_expanded
from anima_core.config.requests import core_options
from anima_core.config.run_file import read_run_file
from anima_core.errors import UsageError
from anima_core.registry.options import build_options
from anima_core.strategy import NoOptions, Options


class Sample(Options):
    rate: float = Field(default=0.5, description="A number.")
    limit: int | None = Field(default=3, description="A number whose default is one.")
    name: str | None = Field(default="a", description="A word whose default is one.")
    size: int | None = Field(default=None, description="A number whose default is none.")
    words: tuple[str, ...] = Field(default=(), description="Words.")
    table: dict[str, float] = Field(default_factory=dict, description="Numbers by name.")
    on: bool = Field(default=True, description="On.")
    path: Path | None = Field(default=None, description="A file.")


@pytest.fixture
def write(tmp_path):
    def write(text, name="run.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_core_options_and_strategies_are_read(write):
    file = write(
        "model: org/name\ndata: [org/set]\nbatch_size: 4\nsteps: null\n"
        "strategies:\n  paged_adamw:\n  flash-attention-2: {fallback: error}\n"
        "  dpo: {label-smoothing: 0.1, beta: null}\n"
    )

    request = read_run_file(file)

    assert request.core == {"model": "org/name", "data": ["org/set"], "batch_size": 4}
    assert request.strategies == {
        "paged-adamw": {},
        "flash-attention-2": {"fallback": "error"},
        "dpo": {"label_smoothing": 0.1},
    }
    assert list(request.strategies) == ["paged-adamw", "flash-attention-2", "dpo"]


def test_strategies_may_be_a_list_of_names(write):
    assert read_run_file(write("strategies: [lora, dpo]\n")).strategies == {"lora": {}, "dpo": {}}


def test_a_distribution_may_be_named(write):
    request = read_run_file(write("strategies:\n  Fake_Dist:my_loss: {beta: 1}\n"))
    assert request.strategies == {"fake-dist:my-loss": {"beta": 1}}


REFUSED = {
    "batchsize: 3\n": (":1", "unknown key `batchsize`", "batch_size"),
    "steps: 3\n\nbatch-size: 3\n": (":3", "unknown key `batch-size`", "batch_size"),
    "steps: 3\nsteps: 4\n": (":2", "`steps` stands here twice", ""),
    "strategies:\n  dpo: {}\n  dpo: {}\n": (":3", "`dpo` stands here twice", ""),
    "strategies:\n  a_b: {}\n  a-b: {}\n": (":3", "`a-b` stands here twice", ""),
    "strategies:\n  dpo:\n    beta: 1\n    beta: 2\n": (":4", "`beta` stands here twice", ""),
    "strategies:\n  dpo: 3\n": (":2", "holds 3; its options were expected", ""),
    "strategies: 3\n": (":1", "`strategies` holds", ""),
    "model: a\x00b\n": ("", "no YAML", ""),
    "- a\n": (":1", "holds options by name", ""),
    "steps: [1\n": (":2", "no YAML", ""),
    "model: !!python/object:os.system {}\n": (":1", "no YAML", ""),
    "model: 2020-13-45\n": ("", "no YAML", ""),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_wrong_is_told_with_its_line(write, text):
    file = write(text)
    line, what, fix = REFUSED[text]

    with pytest.raises(UsageError) as raised:
        read_run_file(file)
    assert raised.value.where == f"{file}{line}"
    assert what in raised.value.what
    assert fix in raised.value.fix


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_run_file(tmp_path / "none.yaml")


def test_an_empty_file_asks_for_nothing(write):
    assert read_run_file(write("")).core == {}


def test_relative_paths_are_meant_from_the_files_folder(write, tmp_path, monkeypatch):
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "prompts.txt").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file = write(
        "model: models/tiny\ndata: [rows.jsonl, ./missing.csv, org/set]\noutput: out\n"
        "eval_data: later.parquet\nsample_prompts: [prompts.txt, './run?', 'Who?']\n"
        "strategies: {a: {file: ../up.bin, word: up.bin}}\n"
    )

    request = read_run_file(file)

    assert request.core == {
        "model": str(tmp_path / "models/tiny"),
        "data": [str(tmp_path / "rows.jsonl"), str(tmp_path / "missing.csv"), "org/set"],
        "output": str(tmp_path / "out"),
        "eval_data": str(tmp_path / "later.parquet"),
        "sample_prompts": [str(tmp_path / "prompts.txt"), "./run?", "Who?"],
    }
    up = str(tmp_path.parent / "up.bin")
    assert request.strategies == {"a": {"file": up, "word": "up.bin"}}


def test_demo_is_the_demo_model_even_beside_a_folder_of_that_name(write, tmp_path):
    (tmp_path / "demo").mkdir()
    file = write("model: demo\n")
    assert read_run_file(file).core["model"] == "demo"
    (tmp_path / "demo" / "manifest.json").touch()
    assert read_run_file(file).core["model"] == str(tmp_path / "demo")


def test_what_exists_is_written_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").touch()
    Path("tiny").mkdir()
    shares = {"./rows.jsonl": 0.5, "org/set": 2}
    config = CoreOptions(
        model="tiny", data=("rows.jsonl", "org/set"), mix=shares, output=Path("out")
    )

    text = dump_run_file(config, {"paged-adamw": NoOptions()})

    assert f"model: {tmp_path}/tiny" in text
    assert f"- {tmp_path}/rows.jsonl\n" in text
    assert f"- {tmp_path}/rows.jsonl=0.5\n- org/set=2\n" in text
    assert "paged_adamw: {}" in text
    assert not any(f"{name}:" in text.splitlines() for name in NOT_IN_RUN_FILE)
    assert "output" not in text


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
floats = st.floats(allow_nan=False)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    core=st.fixed_dictionaries(
        {"model": st.just("org/name")},
        optional={
            "sample_prompts": st.lists(texts).map(tuple),
            "learning_rate": st.floats(min_value=1e-12, max_value=1e3),
            "warmup": st.floats(min_value=0, max_value=1e6),
            "steps": st.integers(1, 10**12),
            "report_to": st.lists(st.sampled_from(["off", "no", "1e-5", "null", "~"])).map(tuple),
            "overlong": st.sampled_from(["error", "drop", "truncate"]),
            "gradient_checkpointing": st.booleans(),
        },
    ),
    options=st.fixed_dictionaries(
        {},
        optional={
            "rate": floats,
            "limit": st.none() | st.integers(),
            "name": st.none() | texts.filter(lambda t: t.lower() != "none" and t[:1] != "."),
            "size": st.none() | st.integers(),
            "words": st.lists(texts.filter(lambda t: t[:1] != ".")).map(tuple),
            "table": st.dictionaries(texts, floats),
            "on": st.booleans(),
            "path": st.just(Path("/tmp/somewhere/file")),
        },
    ),
)
def test_what_is_written_reads_back_exactly(tmp_path, core, options):
    config, sample = CoreOptions(**core), Sample(**options)
    file = tmp_path / "run.yaml"
    file.write_text(dump_run_file(config, {"my-sample": sample}), encoding="utf-8")

    request = read_run_file(file)

    assert core_options(request) == config
    assert build_options("my-sample", Sample, request.strategies["my-sample"]) == sample


def test_a_tilde_that_is_nobodys_home_is_text():
    assert absolute("sample_prompts", ("~0",)) == ["~0"]
    assert home_expanded("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
