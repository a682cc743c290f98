"""Every exception becomes words on standard error and the exit code that was promised."""

from __future__ import annotations

import signal

import pytest

from anima_core import errors
from anima_core.cli.errors import guarded

CODES = [
    (errors.AnimaError("x"), 1),
    (errors.UsageError("x"), 2),
    (errors.DataError("x"), 3),
    (errors.SetupError("x"), 4),
    (errors.DivergedError("x"), 5),
    (errors.InterruptedRunError(signal.SIGINT, "x"), 130),
    (errors.InterruptedRunError(signal.SIGTERM, "x"), 143),
    (KeyboardInterrupt(), 130),
    (MemoryError("x"), 4),
    (ValueError("x"), 1),
]


def fail(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(("error", "code"), CODES)
def test_exit_codes(error, code, capsys):
    assert guarded(fail(error), debug=False) == code
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err
    assert "Traceback" not in seen.err


def test_what_where_and_what_to_do_are_told(capsys):
    error = errors.DataError("no field [b]", where="a.jsonl:3", fix="add it\nor drop it")
    guarded(fail(error), debug=False)
    assert capsys.readouterr().err == "error: a.jsonl:3: no field [b]\n  add it\n  or drop it\n"


def test_a_defect_says_that_it_is_ours(capsys):
    guarded(fail(ValueError("odd")), debug=False)
    seen = capsys.readouterr().err
    assert "ValueError: odd" in seen
    assert "defect of Anima" in seen
    assert "--debug" in seen


@pytest.mark.parametrize("error", [ValueError("odd"), errors.UsageError("odd")])
def test_debug_shows_the_traceback(error, capsys):
    guarded(fail(error), debug=True)
    assert "Traceback" in capsys.readouterr().err


def test_a_result_passes():
    assert guarded(lambda: 3, debug=False) == 3
