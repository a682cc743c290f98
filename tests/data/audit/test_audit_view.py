"""Examples token by token: whole characters, boundaries that stay, and text that cannot act."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anima_core.batch import EncodedExample, Role, TokenSegment
from anima_core.cli.data.tokens import body
from anima_core.cli.data.visible import visible
from anima_core.data.audit.look import special_tokens
from anima_core.data.audit.view import Piece, Viewer, shortened
from anima_core.testing.tokenizer import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
SPECIAL = special_tokens(TOKENIZER)


def pieces_of(text, mask=None, tokenizer=TOKENIZER):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    viewer = Viewer(tokenizer, special_tokens(tokenizer))
    return list(viewer.pieces(ids, mask or [True] * len(ids)))


def test_tokens_that_are_one_character_together_are_one_piece():
    pieces = pieces_of("a你é🙂<|im_end|>b")
    assert [p.text for p in pieces] == ["a", "你", "é", "🙂", "<|im_end|>", "b"]
    assert [len(p.ids) for p in pieces] == [1, 3, 2, 4, 1, 1]
    assert [p.special for p in pieces] == [False] * 4 + [True, False]


def test_a_character_is_not_grouped_across_a_boundary():
    ids = TOKENIZER("你", add_special_tokens=False)["input_ids"]
    pieces = list(Viewer(TOKENIZER, SPECIAL).pieces(ids, [False, True, True]))
    assert [len(p.ids) for p in pieces if not p.supervised] == [1]
    assert [i for p in pieces for i in p.ids] == ids


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_pieces_are_all_of_the_tokens_and_say_all_of_the_text(text):
    pieces = pieces_of(text)
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert [i for p in pieces for i in p.ids] == ids
    assert "".join(p.text for p in pieces) == text


@pytest.mark.parametrize("kind", ["bytes", "metaspace"])
def test_spaces_at_a_tokens_begin_are_seen(make_tokenizer, kind):
    pieces = pieces_of("how are you today", tokenizer=make_tokenizer("chatml", kind))
    said = "".join(p.text for p in pieces)  # metaspace begins a text with a space of its own
    assert said.removeprefix(" ") == "how are you today"


def piece(number, supervised):
    return Piece(str(number), (number,), supervised)


def test_the_middle_of_a_long_run_is_left_out_and_its_ends_stay():
    pieces = [piece(n, 300 <= n < 700) for n in range(1000)]
    short = list(shortened(pieces, 90))
    left = [p for p in short if not p.skipped]
    skipped = [p for p in short if p.skipped]
    assert {0, 299, 300, 699, 700, 999} <= {p.ids[0] for p in left}
    assert [p.supervised for p in skipped] == [False, True, False]
    assert len(left) + sum(p.skipped for p in skipped) == 1000
    assert len(short) < 120


def test_every_boundary_of_many_turns_stays():
    pieces = [piece(n, n // 50 % 2 == 1) for n in range(2000)]
    short = list(shortened(pieces, 100))
    edges = {n for n in range(2000) if n % 50 in (0, 49)}
    assert edges <= {p.ids[0] for p in short if not p.skipped}


def test_short_examples_are_whole():
    pieces = [piece(n, n > 5) for n in range(40)]
    assert list(shortened(pieces, 480)) == pieces


def test_segments_of_a_pair_stand_apart():
    example = EncodedExample(
        (
            TokenSegment((70, 71), (False, False), Role.PROMPT),
            TokenSegment((72, 2), (True, True), Role.CHOSEN, 0),
            TokenSegment((73, 2), (True, True), Role.REJECTED, 0),
        )
    )
    view = Viewer(TOKENIZER, SPECIAL).view(example, "a.jsonl:1")
    assert [s.role for s in view.segments] == ["prompt", "chosen", "rejected"]
    assert [(s.tokens, s.targets) for s in view.segments] == [(2, 0), (2, 2), (2, 2)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a↵\nb"),
        ("\t", "→"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\r", "\\r"),
        ("a\u202eb", "a\\u202eb"),
        ("\u200b", "\\u200b"),
        ("\u00a0", "\\u00a0"),
        ("你 好", "你 好"),
    ],
)
def test_nothing_is_hidden_and_nothing_acts(text, shown):
    assert visible(text) == shown


def test_without_colour_targets_stand_in_brackets():
    pieces = [piece(1, False), piece(2, True), Piece("", (), True, skipped=812), piece(3, False)]
    assert body(pieces, coloured=False).plain == "1⟦2 … 812 tokens … ⟧3"


def test_in_colour_neighbouring_tokens_differ_and_special_ones_stand_out():
    pieces = [piece(1, True), piece(2, True), Piece("</s>", (3,), True, special=True)]
    styles = [str(span.style) for span in body(pieces, coloured=True).spans]
    assert len(set(styles)) == 3
    assert "magenta" in styles[2]
