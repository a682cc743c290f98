"""Whole audits of small data: what is found, where, and that it does not depend on the cut."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest

from anima_core.contracts import Record
from anima_core.data.audit import run
from anima_core.data.audit.findings import percent, together
from anima_core.data.audit.kinds import kind_of
from anima_core.data.audit.look import Asked
from anima_core.data.audit.others import Others
from anima_core.data.audit.report import Setting
from anima_core.data.audit.roundtrip import RoundTrip, end_pattern
from anima_core.data.dataset import load_dataset, with_mismatched
from anima_core.data.handling import Handling
from anima_core.errors import DataError
from anima_core.testing.tokenizer import tiny_tokenizer

OPEN = "{% for m in messages %}{{ m['content'] + '\\n' }}{% endfor %}"


def records(*fields, file="d.jsonl"):
    return [Record(f, file, line) for line, f in enumerate(fields, 1)]


def ask(prompt, completion):
    return {"prompt": prompt, "completion": completion}


def audited(*sources, kind="completion", tokenizer=None, handling=None, **options):
    asked = {k: options.pop(k) for k in ("show", "records") if k in options}
    setting = Setting(
        "tiny", "own", kind, "the records", "sft" if kind == "completion" else "", ("d.jsonl",),
        limit=400, prompt_limit=None, answer_limit=None, overlong="error", train_on="assistant",
        batch_size=4, micro_tokens=256, batching="shuffled", max_examples=None, mix=(), seed=0,
        skip_bad_records=False,
    )  # fmt: skip
    setting = replace(setting, **options)
    handling = handling or Handling(train_on=setting.train_on)
    return run.audit(
        sources,
        tokenizer or tiny_tokenizer(),
        kind=kind,
        handling=handling,
        asked=Asked(setting.overlong, setting.train_on, handling.min_length, **asked),
        setting=setting,
    )


def codes(report):
    return {finding.code: finding for finding in report.findings}


def test_good_data_has_no_finding_and_every_figure():
    report = audited(records(*(ask(f"Question {n}?", f"Answer {n}.") for n in range(9))))
    assert report.findings == ()
    assert (report.records, report.examples, report.trained_on) == (9, 9, 9)
    assert (report.ends.answers, report.ends.by_token) == (9, {"<|im_end|>": 9})
    assert (report.round_trip.checked, report.round_trip.exact) == (9, 9)
    assert report.targets == 9 * len("Answer 0.<|im_end|>".replace("<|im_end|>", "e"))
    assert report.lengths.count == 9
    assert [s.file for s in report.sources] == ["d.jsonl"]
    json.dumps(report.to_dict())


def test_what_is_most_likely_not_meant_is_found_with_its_places():
    same = "I cannot help with that."
    fields = [ask(f"Do {n}", same) for n in range(6)]
    fields += [ask("Do 0", "Here it is."), ask("Do 1", same)]
    fields += [ask("Say", "It ends <|im_end|> here"), ask("Me", "I am {{name}}.\ufffd")]
    found = codes(audited(records(*fields)))
    assert found["duplicates"].places == ("d.jsonl:2 = 8",)
    assert found["same-answer"].what.startswith("70% of the examples have one answer to 6 diff")
    assert "'I cannot help with that.'" in found["same-answer"].what
    assert found["other-answers"].places == ("d.jsonl:1 / 7",)
    assert found["special-text"].places == ("d.jsonl:9",)
    assert found["replacement-character"].places == ("d.jsonl:10",)
    assert "--fill name=VALUE" in found["placeholders"].fix
    levels = [f.level for f in audited(records(*fields)).findings]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)


def test_bad_records_are_told_of_and_the_rest_is_audited():
    fields = [ask("a", "b"), {"prompt": 3, "completion": "x"}, {"prompt": "c", "completion": ""}]
    report = audited(records(*fields))
    assert (report.examples, report.bad["count"]) == (1, 2)
    bad = codes(report)["bad-records"]
    assert bad.level == "error"
    assert "d.jsonl:2" in bad.what
    assert "--skip-bad-records" in bad.fix
    skipped = audited(records(*fields), skip_bad_records=True)
    assert codes(skipped)["bad-records"].level == "warning"


def test_data_of_which_nothing_can_be_used_is_an_error_and_no_failure():
    report = audited(records({"foo": 1}))
    assert (report.examples, report.lengths, report.packing) == (0, None, None)
    assert [f.level for f in report.findings] == ["error"]


def test_a_source_that_cannot_be_read_at_all_is_raised_and_one_that_breaks_off_is_told_of():
    def broken(first):
        yield from records(*first)
        raise DataError("gone", where="d.jsonl")

    with pytest.raises(DataError, match="gone"):
        audited(broken([]))
    report = audited(broken([ask("a", "b")]))
    assert (report.examples, report.bad["count"]) == (1, 1)


def test_examples_without_a_target_say_why():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]
    report = audited(records({"messages": turns}, ask("a", "b")))
    assert report.idle["every answer says train: false, or weight: 0"].places == ("d.jsonl:1",)
    equal = {"prompt": "a", "chosen": "b", "rejected": "b"}
    pairs = audited(records(equal, {**equal, "chosen": "c"}), kind="preference")
    assert pairs.idle["the two answers are equal"].count == 1
    assert (pairs.examples, sum(count.count for count in pairs.idle.values())) == (1, 1)


def test_pairs_are_compared():
    fields = [{"prompt": f"p{n}", "chosen": "long answer", "rejected": "short"} for n in range(3)]
    fields.append({"prompt": "p0", "chosen": "short", "rejected": "long answer"})
    report = audited(records(*fields), kind="preference")
    assert (report.pairs.chosen_longer, report.pairs.prompts) == (0.75, 3)
    assert report.pairs.chosen == (3 * 12 + 6) / 4
    found = codes(report)
    assert found["contradictions"].places == ("d.jsonl:1 / 4",)
    assert found["other-answers"].places == ("d.jsonl:1 / 4",)
    assert "1 prompt with more than one pair" in found["other-answers"].what
    assert "length-bias" not in found, "three pairs of four are chance"
    assert found["no-loss"].level == "note"


def test_dialogues_that_begin_alike_do_not_share_a_prompt():
    def talk(then, answer):
        asked = [("user", "hi"), ("assistant", "hello"), ("user", then), ("assistant", answer)]
        return [{"role": role, "content": content} for role, content in asked]

    fields = [{"chosen": talk(then, "a"), "rejected": talk(then, "b")} for then in ("why?", "who?")]
    report = audited(records(*fields), kind="preference")
    assert (report.pairs.prompts, report.prompts.groups) == (2, 0)
    again = audited(records(*fields, {**fields[0], "chosen": talk("why?", "c")}), kind="preference")
    assert (again.pairs.prompts, again.prompts.groups) == (2, 1)


def test_a_length_that_decides_many_pairs_is_told_of():
    fields = [{"prompt": f"p{n}", "chosen": "long answer", "rejected": "short"} for n in range(45)]
    fields += [{"prompt": f"q{n}", "chosen": "a", "rejected": "another"} for n in range(15)]
    found = codes(audited(records(*fields), kind="preference"))
    assert "75% of the pairs the better answer is the longer" in found["length-bias"].what
    assert "--dpo.length-normalised" in found["length-bias"].fix


def test_dialogues_that_part_early_are_listed():
    def talk(first, answer):
        turns = ("user", "hello"), ("assistant", first), ("user", "and?"), ("assistant", answer)
        return [{"role": role, "content": text} for role, text in turns]

    early = {"chosen": talk("x", "good"), "rejected": talk("y", "bad")}
    late = {"chosen": talk("x", "good"), "rejected": talk("x", "bad")}
    found = codes(audited(records(late, early, late), kind="preference"))["remark"]
    assert found.places == ("d.jsonl:2",)
    assert "1 record: the two dialogues part before their last questions" in found.what


def test_labels_are_counted():
    fields = [{**ask(f"p{n}", "a"), "label": n > 0} for n in range(20)]
    report = audited(records(*fields), kind="unpaired")
    assert report.labels == {"good": 19, "bad": 1}
    assert "95% of the labels are good" in codes(report)["one-sided"].what


def test_other_prompts_answers_are_counted_as_a_run_has_them():
    fields = [{**ask("p" * n, "a" * (n % 7 + 2)), "label": n % 2 == 0} for n in range(1, 21)]
    fields += [{**ask("p" * 50, "a"), "label": True}, {**ask("p" * 60, "aa"), "label": True}]
    wide = audited(records(*fields), kind="unpaired")
    assert wide.others is None
    limit = audited(records(fields[-2]), kind="unpaired").lengths.longest  # no other's fits there
    for options in ({"limit": 400}, {"limit": limit, "overlong": "drop"}):
        report = audited(records(*fields), kind="unpaired", mismatched=True, **options)
        examples, summary = load_dataset(
            records(*fields), tiny_tokenizer(), kind="unpaired", sources=("d.jsonl",),
            **{"overlong": "error", **options},
        )  # fmt: skip
        both, found = with_mismatched(examples, summary)
        without = int(options["limit"] == limit)
        assert both.without == without
        assert report.trained_on == len(both) == 22 - without
        assert report.others == Others(len(both) - without, found.tokens - summary.tokens)
        assert report.packing.filled > wide.packing.filled
        assert report.tokens == wide.tokens


def test_answers_that_are_never_ended_are_found():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = OPEN
    turns = [
        {"role": role, "content": text}
        for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    ]
    report = audited(records({"messages": turns}), tokenizer=tokenizer)
    assert (report.ends.answers, report.ends.ended) == (2, 1)
    assert codes(report)["ends"].places == ("d.jsonl:1",)


def test_over_the_limit_is_an_error_unless_a_mode_is_chosen():
    fields = [ask("x" * 40, "a" * 5), ask("y", "b")]
    report = audited(records(*fields), limit=60)
    assert (report.overlong.examples, report.trained_on) == (1, 1)
    assert codes(report)["overlong"].places == ("d.jsonl:1",)
    assert f"--max-length {report.lengths.longest}" in codes(report)["overlong"].fix
    cut = audited(records(*fields), limit=60, overlong="truncate")
    assert (cut.trained_on, cut.overlong.truncate["targets"]) == (2, 0)
    assert "overlong" not in codes(cut)
    dropped = audited(records(*fields), limit=60, overlong="drop")
    assert dropped.trained_on == 1
    assert "drop loses 6 targets" in codes(dropped)["overlong"].what


def test_long_plain_text_is_split():
    report = audited(records({"text": "z" * 100}), limit=30, overlong="split")
    assert report.overlong.plain == 1
    assert report.trained_on == -(-100 // 29)
    assert report.findings == ()


def test_short_examples_and_those_not_drawn_are_left_out():
    fields = [ask("a", "b" * n) for n in (1, 2, 30, 40)]
    shortest = audited(records(*fields), handling=Handling(min_length=50))
    assert (shortest.examples, shortest.short) == (2, 2)
    assert audited(records(*fields), max_examples=3).trained_on == 3


def test_a_mixture_takes_the_shares_that_it_says():
    sources = [records(*[ask(f"{f}{n}", "x") for n in range(6)], file=f) for f in ("a", "b")]
    report = audited(*sources, sources=("a", "b"), mix=("a=2", "b=1"))
    assert (report.examples, report.trained_on) == (12, 9)


def test_it_makes_no_difference_how_the_data_is_cut_up(monkeypatch):
    def one_by_one(records_, work, _note):
        # Between processes, everything is copied.
        work = pickle.loads(pickle.dumps(work))
        return (pickle.loads(pickle.dumps(work([record]))) for record in records_)

    fields = [ask(f"q{n % 7}", f"answer {n % 3} <|im_end|>" if n % 5 else "") for n in range(40)]
    whole = audited(records(*fields), show=3)
    monkeypatch.setattr(run, "work_on_all", one_by_one)
    assert audited(records(*fields), show=3).to_dict() == whole.to_dict()


def test_examples_are_drawn_by_the_seed_and_shown_when_asked_for():
    source = records(*(ask(f"q{n}", f"a{n}") for n in range(30)))
    report = audited(source, show=2, records=("d.jsonl:7", "99"))
    assert len(report.shown) == 3
    assert report.shown[0].place == "d.jsonl:7"
    assert codes(report)["no-such-example"].what.startswith("--record 99")


@pytest.mark.parametrize(
    ("decoded", "text", "result"),
    [
        ("a<e>", "a<e>", "exact"),
        ("a<e>", "a<e>\n<e>", "exact"),
        ("a<e>", "a\n", "exact"),
        ("a", "a b", "different"),
        ("a b<e>", "a", "different"),
        ("x", "y", "different"),
        (" a  b<e>", "a b<e>", "spaced"),
    ],
)
def test_a_round_trip(decoded, text, result):
    trip = RoundTrip()
    trip.take(decoded, text, end_pattern(["<e>"]), "a:1")
    assert {name: getattr(trip, name) for name in ("exact", "spaced", "different")} == {
        "exact": 0, "spaced": 0, "different": 0, result: 1,
    }  # fmt: skip


def test_tokens_that_lose_characters_are_found(make_tokenizer):
    tokenizer = make_tokenizer("chatml", "bytes")
    normal = tokenizer.backend_tokenizer.normalizer
    from tokenizers import normalizers

    try:
        tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
        found = codes(audited(records(ask("a", "Big")), tokenizer=tokenizer))
    finally:
        tokenizer.backend_tokenizer.normalizer = normal or normalizers.Sequence([])
    assert "d.jsonl:1" in found["round-trip"].what


def test_the_kind_is_that_of_most_records():
    pair, ask_ = {"prompt": "a", "chosen": "b", "rejected": "c"}, ask("a", "b")
    label = {**ask_, "label": True}
    for fields, kind in (([pair, pair, ask_], "preference"), ([label], "unpaired")):
        told, stream = kind_of(records(*fields), {}, None)
        assert (told, len(list(stream))) == (kind, len(fields))
    assert kind_of(records({"x": 1}), {}, None)[0] == "completion"
    assert kind_of(records({"q": "a", "chosen": "b", "rejected": "c"}), {"prompt": "q"}, None)[
        0
    ] == ("preference")
    assert kind_of([], {}, "hh-rlhf")[0] == "preference"


def test_words():
    assert together(["a.json:1 (record number)", "a.json:5 (record number)"], " = ") == (
        "a.json:1 = 5 (record number)"
    )
    assert together(["a:1", "b:2"], " = ") == "a:1 = b:2"
    assert [percent(s) for s in (0, 0.0004, 0.014, 0.5, 0.995, 0.9999, 1)] == [
        "0%", "under 0.1%", "1.4%", "50%", "99.5%", "over 99.9%", "100%",
    ]  # fmt: skip
