"""What was encoded once is encoded again when what it depends on has changed, and only then."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from anima_core.data import token_cache
from anima_core.data.dataset import load_sources
from anima_core.data.encoder import Encoder
from anima_core.data.handling import Handling
from anima_core.data.intake import Source
from anima_core.data.read import files_of, read_sources
from anima_core.data.store import Examples
from anima_core.errors import DataError
from anima_core.runs.plan import DataSummary

Make = Callable[..., PreTrainedTokenizerFast]

LINE = '{{"prompt": "question {}", "completion": "so {}"}}\n'
GOOD = "".join(LINE.format(n, "very " * (n % 5)) for n in range(40))
BAD = GOOD + '{"prompt": 3, "completion": "b"}\n'


class Counted:
    """Loads data, and counts the records that an encoder was given."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, monkeypatch: Any) -> None:
        self.tokenizer = tokenizer
        self.records = 0
        self.notes: list[str] = []
        encode = Encoder.encode

        def counted(encoder: Encoder, records: Any) -> Any:
            self.records += len(records)
            return encode(encoder, records)

        monkeypatch.setattr(Encoder, "encode", counted)

    def __call__(self, *names: Path | str, **options: Any) -> tuple[Examples, DataSummary]:
        self.records, self.notes = 0, []
        settings: dict[str, Any] = {"kind": "completion", "limit": 90, "overlong": "error"}
        settings |= {name: options.pop(name) for name in list(options) if name in settings}
        cache = options.pop("cache", True)
        return load_sources(
            [source(str(name)) for name in names],
            options.pop("tokenizer", self.tokenizer),
            handling=Handling(**options),
            cache=cache,
            note=self.notes.append,
            progress=lambda _: None,
            **settings,
        )


def source(name: str) -> Source:
    found = files_of(name)
    assert found
    return Source(name, lambda: read_sources([name]), tuple(found.files))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANIMA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data.jsonl").write_text(GOOD)
    return tmp_path


@pytest.fixture
def load(make_tokenizer: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    tokenizer = make_tokenizer()
    template = tokenizer.chat_template
    yield Counted(tokenizer, monkeypatch)
    tokenizer.chat_template = template


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "tokens").iterdir())


REBUILT: dict[str, dict[str, Any]] = {
    "--max-length": {"limit": 91},
    "--overlong": {"overlong": "truncate"},
    "--max-prompt-length": {"max_prompt_length": 80},
    "--max-answer-length": {"max_answer_length": 80},
    "--min-length": {"min_length": 5},
    "--format": {"format": "prompt-completion"},
    "--columns": {"columns": {"system": "completion"}},
    "--fill": {"fill": {"name": "x"}},
    "--train-on": {"train_on": "last"},
    "--skip-bad-records": {"skip_bad_records": True},
}


@pytest.mark.parametrize("options", REBUILT.values(), ids=REBUILT)
def test_an_option_that_matters_makes_other_tokens(
    load: Counted, folder: Path, options: dict[str, Any]
) -> None:
    load(folder / "data.jsonl")
    if options.get("columns"):
        with pytest.raises(DataError):
            load(folder / "data.jsonl", **options)
    else:
        load(folder / "data.jsonl", **options)
    assert load.records == 40
    load(folder / "data.jsonl")
    assert load.records == 0


@pytest.mark.parametrize("options", [{}, {"max_examples": 5}, {"seed": 7}], ids=str)
def test_one_that_does_not_matter_takes_the_tokens_from_the_cache(
    load: Counted, folder: Path, options: dict[str, Any]
) -> None:
    made, told = load(folder / "data.jsonl", skip_bad_records=True)
    assert (load.records, load.notes) == (40, [])
    read, again = load(folder / "data.jsonl", skip_bad_records=True, **options)
    assert (load.records, load.notes) == (0, ["tokens read from the cache"])
    if not options:
        assert list(read) == list(made)
        assert again == told
    assert {e.line for e in read} <= {e.line for e in made}


def test_other_bytes_or_another_template_make_other_tokens(load: Counted, folder: Path) -> None:
    file = folder / "data.jsonl"
    before, _ = load(file)
    file.write_text(GOOD.replace("question 7", "question 8"))
    after, _ = load(file)
    assert load.records == 40
    assert after.fingerprint() != before.fingerprint()
    load.tokenizer.chat_template += "{{ '' }}"
    load(file)
    assert load.records == 40
    load.tokenizer.chat_template += "{% set today = strftime_now('%Y') %}"
    load(file)
    key = token_cache.facts(load.tokenizer, "completion", Handling(), 9, "error")
    assert key["today"]
    load(file)
    assert load.records == 0


def test_other_code_makes_other_tokens(
    load: Counted, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(folder / "data.jsonl")
    monkeypatch.setattr(token_cache, "_code", lambda: "other")
    load(folder / "data.jsonl")
    assert load.records == 40


def test_another_tokenizer_or_kind_of_file_makes_other_tokens(
    load: Counted, folder: Path, make_tokenizer: Make
) -> None:
    load(folder / "data.jsonl")
    load(folder / "data.jsonl", tokenizer=make_tokenizer("chatml", "trimmed"))
    assert load.records == 40
    (folder / "data.jsonl").rename(folder / "data.ndjson")
    load(folder / "data.ndjson")
    assert load.records == 40


def test_the_same_bytes_elsewhere_have_their_present_places(load: Counted, folder: Path) -> None:
    file = folder / "data.jsonl"
    file.write_text(BAD + LINE.format("x", "long " * 80))
    options: dict[str, Any] = {"overlong": "drop", "skip_bad_records": True}
    made, told = load(file, **options)
    (folder / "moved").mkdir()
    other = file.rename(folder / "moved" / "b.jsonl")
    os.utime(other, (5, 5))
    read, again = load(other, **options)
    assert load.records == 0
    assert [e.file for e in made] == [str(file)] * 40
    assert [e.file for e in read] == [str(other)] * 40
    assert told.bad == again.bad == 1
    assert str(file) in "".join(told.bad_records)
    assert "".join(told.bad_records).replace(str(file), str(other)) == "".join(again.bad_records)
    assert again.dropped == 1
    read, _ = load(folder / "moved", **options)
    assert load.records == 0
    assert read[3].file == str(folder / "moved" / "b.jsonl")


def test_each_source_has_an_entry_and_counts_of_its_own(load: Counted, folder: Path) -> None:
    more = folder / "more.jsonl"
    more.write_text(LINE.format("one", "more"))
    load(folder / "data.jsonl")
    both, told = load(more, folder / "data.jsonl", max_examples=30)
    assert load.records == 1
    assert load.notes == [f"tokens of {folder / 'data.jsonl'} read from the cache"]
    first, second = told.per_source
    assert (first.source, first.records, first.examples) == (str(more), 1, 1)
    assert (second.records, second.examples) == (40, 40)
    assert first.taken + second.taken == 30 == len(both)
    assert first.tokens > 0
    both, told = load(more, folder / "data.jsonl")
    assert (load.records, load.notes) == (0, ["tokens read from the cache"])
    assert [e.line for e in both] == [1, *range(1, 41)]
    assert both.columns.source.tolist() == [0] + [1] * 40
    load(more, folder / "data.jsonl", mix=(f"{more}=1", f"{folder / 'data.jsonl'}=3"))
    assert load.records == 0


def test_a_source_that_is_named_twice_is_encoded_once(load: Counted, folder: Path) -> None:
    twice, _ = load(folder / "data.jsonl", folder / "data.jsonl")
    assert (load.records, load.notes) == (40, [])
    assert twice.columns.source.tolist() == [0] * 40 + [1] * 40


def test_faults_of_all_sources_are_told_of_together_and_not_kept(
    load: Counted, folder: Path
) -> None:
    more = folder / "more.jsonl"
    for file in (folder / "data.jsonl", more):
        file.write_text(BAD)
    for _ in range(2):
        with pytest.raises(DataError, match="2 of 82 records") as caught:
            load(folder / "data.jsonl", more)
        assert load.records == 82
        assert f"{more}:41" in caught.value.what
    assert entries(folder) == []


def test_a_refusal_is_not_kept_and_comes_again(load: Counted, folder: Path) -> None:
    for _ in range(2):
        with pytest.raises(DataError, match="40 of 40 examples are longer"):
            load(folder / "data.jsonl", limit=8)
    assert entries(folder) == []


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def other_counts(file: Path) -> None:
    file.write_text(file.read_text().replace('"records": 40', '"records": "40"'))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (token_cache.ROWS, cut),
        (token_cache.ROWS, flip),
        (token_cache.ROWS, Path.unlink),
        (token_cache.HEADER, cut),
        (token_cache.HEADER, other_counts),
        (token_cache.HEADER, Path.unlink),
    ],
)
def test_a_damaged_entry_is_made_again(
    load: Counted, folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    made, _ = load(folder / "data.jsonl")
    (entry,) = entries(folder)
    whole = list(made)
    damage(entry / name)
    again, _ = load(folder / "data.jsonl")
    assert load.records == 40
    (note,) = load.notes
    assert note.startswith("a damaged entry of the cache was dropped")
    assert list(again) == whole
    load(folder / "data.jsonl")
    assert load.records == 0


def test_without_a_cache_nothing_is_kept(load: Counted, folder: Path) -> None:
    for _ in range(2):
        examples, _ = load(folder / "data.jsonl", cache=False)
        assert load.records == 40
    assert len(examples) == 40
    assert not (folder / "cache").exists()


def test_a_cache_that_cannot_be_written_is_done_without(load: Counted, folder: Path) -> None:
    (folder / "cache").write_text("no folder")
    examples, _ = load(folder / "data.jsonl")
    assert len(examples) == 40
    (note,) = load.notes
    assert note.startswith("tokens cannot be kept in the cache")


def test_entries_that_nobody_used_for_long_go_when_another_comes(
    load: Counted, folder: Path
) -> None:
    load(folder / "data.jsonl")
    load(folder / "data.jsonl", limit=91)
    old, used = entries(folder)
    past = time.time() - (token_cache.UNUSED_DAYS + 1) * 86400
    for entry in (old, used):
        for path in (entry / token_cache.HEADER, entry):
            os.utime(path, (past, past))
    key = token_cache.facts(load.tokenizer, "completion", Handling(), 90, "error")
    if token_cache.key_of(key, [str(folder / "data.jsonl")]) != used.name:
        old, used = used, old
    load(folder / "data.jsonl")
    assert load.records == 0
    assert entries(folder) == sorted([old, used])
    load(folder / "data.jsonl", limit=92)
    assert used in entries(folder)
    assert old not in entries(folder)


def test_two_that_want_the_same_make_it_once(load: Counted, folder: Path) -> None:
    counted: list[int] = []
    encode = Encoder.encode

    def slow(encoder: Encoder, records: Any) -> Any:
        counted.append(len(records))
        time.sleep(0.2)
        return encode(encoder, records)

    load_alone = threading.Thread(target=lambda: load(folder / "data.jsonl"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "encode", slow)
        load_alone.start()
        load(folder / "data.jsonl")
        load_alone.join()
    assert counted == [40]
    assert load.notes == []
    (entry,) = entries(folder)
    assert {path.name for path in entry.iterdir()} == {token_cache.HEADER, token_cache.ROWS}


def test_a_file_that_changes_while_it_is_read_is_refused(
    load: Counted, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "data.jsonl"
    encode = Encoder.encode

    def meanwhile(encoder: Encoder, records: Any) -> Any:
        file.write_text(GOOD + GOOD)
        return encode(encoder, records)

    monkeypatch.setattr(Encoder, "encode", meanwhile)
    with pytest.raises(DataError, match="changed while it was read") as caught:
        load(file)
    assert caught.value.where == str(file)
    assert entries(folder) == []
