"""What a hook hands over and what works only later is its strategy's still."""

from __future__ import annotations

import pytest

from anima_core.errors import DataError, SetupError
from anima_core.registry.selection import select

HEAD = """
import contextlib
import anima_core

class Good:
    api = anima_core.HOOK_API
    summary = "A strategy made for a test."
    slots = SLOTS
    requires = ()
    conflicts = ()
    Options = anima_core.NoOptions

    def __init__(self, options):
        pass

    @anima_core.hookimpl
"""

READS = """
    def read_data(self, run, sources):
        yield anima_core.Record({"prompt": "a"}, "f", 1)
        BODY
"""

PATCHES = """
    def patch_model(self, run, model):
        return self.patched(model)

    @contextlib.contextmanager
    def patched(self, model):
        ENTER
        yield
        LEAVE
"""


@pytest.fixture
def records(distribute):
    def records(body):
        source = HEAD.replace("SLOTS", '("read_data",)') + READS.replace("BODY", body)
        distribute("fake-a", source, {"mine": "Good"}, version="1.2")
        return iter(select({"mine": {}}).call("read_data", run=None, sources=[]))

    return records


@pytest.fixture
def model():
    return {}


@pytest.fixture
def patch(distribute, model):
    def patch(enter="", leave=""):
        source = PATCHES.replace("ENTER", enter or "pass").replace("LEAVE", leave or "pass")
        distribute("fake-a", HEAD.replace("SLOTS", "()") + source, {"mine": "Good"}, version="1.2")
        ((provider, made),) = select({"mine": {}}).call_stack("patch_model", run=None, model=model)
        assert provider.strategy == "mine"
        return made

    return patch


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("yield {'prompt': 'b'}", "`read_data` gave {'prompt': 'b'}, where an anima_core.Record"),
        ("1 / 0", "`read_data` failed: ZeroDivisionError"),
        ("exit(3)", "`read_data` failed: SystemExit: 3"),
        ("import torch; torch.softmax = None", "`read_data` replaced torch.softmax"),
    ],
)
def test_what_a_reader_does_wrong_is_told_when_it_comes(records, body, words):
    read = records(body)
    assert next(read).fields == {"prompt": "a"}
    with pytest.raises(SetupError) as raised:
        next(read)
    assert words in raised.value.what
    assert raised.value.where == "mine (from fake-a 1.2)"
    assert "--no-plugin fake-a" in raised.value.fix


def test_what_a_reader_says_of_its_data_passes(records):
    read = records('raise anima_core.DataError("bad row", where="f:2")')
    next(read)
    with pytest.raises(DataError, match="f:2: bad row"):
        next(read)


def test_a_reader_that_prints_is_kept_off_standard_output(records, capsys):
    assert len(list(records("print('hello')"))) == 1
    assert capsys.readouterr() == ("", "hello\n")


def test_a_sound_patch_is_entered_and_left(patch, model):
    with patch("model['on'] = True", "model['on'] = False"):
        assert model == {"on": True}
    assert model == {"on": False}


@pytest.mark.parametrize(
    ("enter", "words"),
    [
        ("raise OSError('no kernel')", "`patch_model` failed: OSError: no kernel"),
        (
            "import torch; torch.nn.functional.gelu = None",
            "`patch_model` replaced torch.nn.functional.gelu",
        ),
    ],
)
def test_a_patch_that_goes_wrong_as_it_is_entered_is_named(patch, enter, words):
    from torch.nn import functional

    was = functional.gelu
    with pytest.raises(SetupError) as raised:
        patch(enter).__enter__()
    assert words in raised.value.what
    assert raised.value.where == "mine (from fake-a 1.2)"
    assert functional.gelu is was


def test_a_patch_that_goes_wrong_as_it_is_left_is_named(patch):
    with (
        pytest.raises(SetupError, match="`patch_model` failed: OSError: stuck"),
        patch(leave="raise OSError('stuck')"),
    ):
        pass


def test_a_patch_cannot_swallow_what_the_run_raises(distribute):
    source = HEAD.replace("SLOTS", "()") + (
        "    def patch_model(self, run, model):\n"
        "        return contextlib.suppress(ArithmeticError)\n"
    )
    distribute("fake-a", source, {"mine": "Good"})
    ((_, made),) = select({"mine": {}}).call_stack("patch_model", run=None, model={})
    with pytest.raises(ZeroDivisionError), made:
        _ = 1 / 0
