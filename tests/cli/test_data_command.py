"""`anima data` on a tiny model: the report alone on standard output, and its exit codes."""

from __future__ import annotations

import json
import re

import pytest

from anima_core.cli.main import main


@pytest.fixture
def data(tiny_dir, capsys):
    def data(*words):
        code = main(["data", str(tiny_dir), *map(str, words)])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return data


@pytest.fixture
def write(tmp_path):
    def write(*records, name="d.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
        return path

    return write


def ask(prompt, completion):
    return {"prompt": prompt, "completion": completion}


PAIR = {"prompt": "p", "chosen": "good", "rejected": "bad"}


def test_a_report_for_people(data, write):
    file = write(*(ask(f"q{n}", f"a{n}") for n in range(5)))
    code, out, err = data(file, "--show", 1)
    assert code == 0
    flat = re.sub(r" +", " ", out)
    assert f"data{file}" in re.sub(r"\s", "", out)  # a long path is folded
    for words in (
        "records 5 prompt-completion",
        "read as completion, for sft (told by the records)",
        "5 of 5 answers end with a target <|im_end|>",
        "5 of 5 token sequences decode to the template's text",
        "<|im_start|>assistant↵\n⟦a",
        "<|im_end|>⟧",
    ):
        assert words in flat
    assert "encoding" in err
    assert "\x1b" not in out


def test_what_kto_computes_beside_each_answer_is_told(data, write):
    pytest.importorskip("anima_dpo")
    file = write(*({**ask(f"q{n}", "a" * (n + 1)), "label": n % 2 == 0} for n in range(4)))
    out = data(file, "--kto")[1]
    assert "others' answers" in out
    assert "more tokens: --kto computes another's answer beside 4 of 4 examples" in " ".join(
        out.split()
    )
    assert "others' answers" not in data(file, "--kto", "--kto.loss", "apo_zero_unpaired")[1]
    assert "others' answers" not in data(file)[1]


def test_a_report_for_machines_is_one_object_and_nothing_else(data, write):
    code, out, _ = data(write(ask("q", "a"), ask("q", "a")), "--json", "--show", 1)
    told = json.loads(out)
    assert (code, told["schema"], told["examples"], told["duplicates"]["extra"]) == (0, 1, 2, 1)
    assert told["findings"][0]["code"] == "duplicates"
    segment = told["shown"][0]["segments"][0]
    taught = [piece for piece in segment["pieces"] if piece["supervised"]]
    assert [piece["text"] for piece in taught] == ["a", "<|im_end|>"]
    assert [len(piece["ids"]) for piece in taught] == [1, 1]


def test_a_page_holds_everything_escaped_and_fetches_nothing(data, write, tmp_path):
    evil = "<script>alert(1)</script> \"'& <b>"
    page = tmp_path / "audit.html"
    code, _, err = data(write(ask(evil, evil)), "--html", page, "--show", 1)
    text = page.read_text(encoding="utf-8")
    assert code == 0
    assert str(page) in err
    assert "<script" not in text
    assert "<b>" not in text.partition("<h2>Examples")[2]
    assert "&lt;" in text
    assert not re.search(r"""(?:src|href)=|@import|url\(""", text)
    assert "prefers-color-scheme:dark" in text
    assert 'class="t s" title="taught · 2 · &#39;&lt;|im_end|&gt;&#39;"' in text


def test_a_page_that_cannot_be_written_exits_2(data, write, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = data(write(ask("q", "a")), "--html", tmp_path / "file" / "a.html")
    assert code == 2
    assert "--html" in err


def test_bad_records_exit_3_behind_the_whole_report(data, write):
    file = write(ask("q", "a"), {"prompt": "q"}, ask("r", "b"))
    code, out, _ = data(file, "--show", 0)
    assert code == 3
    assert f"{file}:2" in out
    assert "2 of 2 answers" in out
    code, out, _ = data(file, "--show", 0, "--skip-bad-records")
    assert code == 0
    assert f"{file}:2" in out


def test_data_of_no_known_format_exits_3_and_names_what_would_read_it(data, write):
    code, out, _ = data(write({"CONVERSATION": "USER: a \n ASSISTANT: b"}))
    assert code == 3
    assert "--columns text=CONVERSATION" in out


def test_data_that_is_not_there_exits_3_and_a_model_2(data, tmp_path, capsys):
    assert data(tmp_path / "none.jsonl")[0] == 3
    assert main(["data", str(tmp_path / "none"), "x.jsonl"]) == 2
    capsys.readouterr()


def test_the_loss_decides_the_kind_and_else_the_records(data, write):
    file = write(PAIR, {**PAIR, "prompt": "r"})
    code, out, _ = data(file, "--json")
    told = json.loads(out)
    assert (code, told["setting"]["kind"], told["setting"]["loss"]) == (0, "preference", "")
    assert [finding["code"] for finding in told["findings"]] == ["no-loss"]
    code, out, _ = data(file, "--dpo", "--json")
    assert json.loads(out)["setting"]["kind_from"] == "--dpo"
    code, out, _ = data(write(ask("q", "a")), "--dpo")
    assert code == 3
    assert "the loss learns from preferences" in out


def test_options_of_the_data_are_those_of_training(data, write):
    file = write({"q": "Who is {{who}}?", "a": "It is {{who}}."})
    options = ["--columns", "prompt=q", "--columns", "completion=a", "--fill", "who=Ann"]
    code, out, _ = data(file, *options, "--epochs", 3, "--lora", "--output", "nowhere")
    assert code == 0
    assert "⟦It is Ann.<|im_end|>⟧" in out
    assert "placeholders were filled" in out


def test_a_run_file_says_the_data(data, write, tmp_path, tiny_dir, capsys):
    write(ask("q", "a"))
    run = tmp_path / "run.yaml"
    run.write_text(f"model: {tiny_dir}\ndata: [d.jsonl]\nmax_length: 7\n", encoding="utf-8")
    assert main(["data", "--config", str(run)]) == 3
    assert "over the limit of 7 tokens" in capsys.readouterr().out


def test_a_record_is_shown_when_asked_for(data, write):
    file = write(*(ask(f"q{n}", f"a{n}") for n in range(9)))
    _, out, _ = data(file, "--show", 0, "--record", f"{file}:4")
    assert f"{file}:4\n" in out
    assert "⟦a3<|im_end|>⟧" in out


def test_other_commands_refuse_its_options(capsys, tiny_dir):
    assert main(["plan", str(tiny_dir), "x.jsonl", "--html", "a.html"]) == 2
    assert "--html" in capsys.readouterr().err


def test_it_fits_narrow_windows(data, write, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    file = write(*(ask("long question " * n, "answer " * n) for n in range(1, 12)), name="d.jsonl")
    _, out, _ = data(file, "--show", 1)
    figures = re.split(r"\n(?:warning|note|Examples)", out.partition("read as")[2])[0]
    lines = figures.splitlines()
    assert len(lines) > 12
    assert max(map(len, lines)) <= 60
