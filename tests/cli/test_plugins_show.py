"""One strategy, told in full: sound or broken, for people and for machines."""

from __future__ import annotations

import json

import pytest

from anima_core.cli.main import main
from anima_core.config.text import literals
from anima_core.registry.load import implemented, load_strategy
from anima_core.registry.offers import offers


@pytest.fixture
def shown(capsys, warm_children):
    def shown(*words):
        assert main(["plugins", "show", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return shown


OURS = [offer for offer in offers() if offer.distribution.startswith("anima-adapt")]


@pytest.mark.parametrize("offer", OURS, ids=lambda offer: offer.name)
def test_ours_are_shown_as_their_classes_are(shown, offer):
    cls = load_strategy(offer)
    said = shown(offer.name)

    assert (said["strategy"], said["distribution"]) == (offer.name, offer.distribution)
    assert (said["version"], said["state"], said["api"]) == (offer.version, "ok", 1)
    assert (said["summary"], said["slots"]) == (cls.summary, list(cls.slots))
    assert set(said["hooks"]) == implemented(cls)
    assert said["hardware"] == getattr(cls, "hardware", "")
    assert said["learning_rate"] == getattr(cls, "learning_rate", None)
    assert said["learning_rate_scale"] == getattr(cls, "learning_rate_scale", None)
    assert said["example"] == f"anima train MODEL DATA --{offer.name}"
    fields = cls.Options.model_fields
    assert [option["name"] for option in said["options"]] == list(fields)
    for option in said["options"]:
        field = fields[option["name"]]
        assert option["flag"].startswith(f"--{offer.name}.")
        assert option["description"] == field.description
        assert option["choices"] == [str(word) for word in literals(field.annotation)]


def test_it_is_found_by_any_of_its_names(shown):
    for name in ("paged-adamw", "paged_adamw", "anima-adapt-qlora:paged-adamw"):
        assert shown(name)["strategy"] == "paged-adamw"


def test_the_page_for_people(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["plugins", "show", "qlora"]) == 0
    out = capsys.readouterr().out
    for part in (
        "qlora  from anima-adapt-qlora 0.1.0  ok\n",
        "  slots      load_model, adapt_model\n",
        "  rate       10 times the loss's own peak learning rate\n",
        "  hardware   ",
        "  --qlora.bits 4|8  [default: 4]\n      Bits a base weight is stored in",
        "  --qlora.double-quant  [default: on; off with --qlora.no-double-quant]\n",
        "  --qlora.dora  [default: off]\n",
        "  --qlora.targets TEXT  [default: all-linear]\n",
        "example: anima train MODEL DATA --qlora\n",
    ):
        assert part in out
    rows = [row for row in out.splitlines() if not row.startswith("  --")]
    assert max(map(len, rows)) <= 80


def test_a_loss_is_shown_with_its_learning_rate(capsys):
    assert main(["plugins", "show", "dpo"]) == 0
    assert "  rate       peak learning rate 5e-07, times the" in capsys.readouterr().out


NEEDY = """
class Needy(Good):
    requires = ("xentropy",)
    hardware = "a CUDA device, else it falls back"

    class Options(anima_core.Options):
        teacher: str = Field(description="The model to learn from.")
        mode: Literal["fast", "slow"] = Field(description="How.")
        names: tuple[str, ...] = Field(default=("a", "b"), description="Names.")
"""


def test_what_it_needs_stands_in_the_example(distribute, good_strategy, shown, capsys):
    distribute("fake-a", good_strategy + NEEDY, {"needy": "Needy"})

    said = shown("needy")
    assert said["state"] == "ok"
    assert said["hardware"] == "a CUDA device, else it falls back"
    assert said["requires"] == ["xentropy"]
    assert said["notes"] == ["its hooks were not tried: its option `teacher` has no default"]
    needed = "--needy.teacher TEXT --needy.mode fast"
    assert said["example"] == f"anima train MODEL DATA --xentropy --needy {needed}"

    assert main(["plugins", "show", "needy"]) == 0
    out = capsys.readouterr().out
    assert "--needy.teacher TEXT  [required]\n      The model to learn from." in out
    assert "--needy.names TEXT  [default: a b]" in out


def test_a_broken_one_is_shown_with_its_reason(distribute, good_strategy, shown, capsys):
    distribute("fake-a", "import no_such_module", {"broken": "Good"}, version="1.1")
    distribute("fake-b", good_strategy, {"steps": "Good", "Loud": "Good"})
    failing = good_strategy.replace("return Total(run, self.options)", "return 1 / 0")
    distribute("fake-c", failing, {"failing": "Good"})

    for name, words in (("broken", "no_such_module"), ("steps", "--steps"), ("Loud", "'Loud'")):
        said = shown(name)
        assert (said["state"], said["api"], said["example"]) == ("broken", None, "")
        assert words in said["reason"]
        assert "--no-plugin fake-" in said["reason"]
    said = shown("failing")
    assert said["state"] == "broken"
    assert "`loss` failed: ZeroDivisionError" in said["reason"]
    assert [option["name"] for option in said["options"]] == ["beta", "bits", "slow", "names"]

    assert main(["plugins", "show", "broken"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("broken  from fake-a 1.1  broken\n  does not import: ModuleNotFound")


def test_one_that_is_left_out_is_not_imported(distribute, shown):
    distribute("fake-a", "1 / 0", {"good": "Good"})
    assert shown("good", "--no-plugin", "fake-a")["state"] == "blocked"


def test_two_of_one_name(distribute, good_strategy, shown, capsys):
    distribute("fake-a", good_strategy, {"twice": "Good"}, version="1.1")
    distribute("fake-b", good_strategy, {"twice": "Good"}, version="2.2")

    assert main(["plugins", "show", "twice"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    for part in ("fake-a 1.1", "fake-b 2.2", "fake-a:twice or fake-b:twice"):
        assert part in said
    assert shown("fake-b:twice")["version"] == "2.2"
    assert shown("fake-b:twice")["example"] == "anima train MODEL DATA --fake-b:twice"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("qlroa", "did you mean"),
        ("fake-x:sft", "fake-x does not offer sft; anima-adapt 0."),
        ("zzz", "no installed distribution offers this strategy"),
    ],
)
def test_one_that_is_not_there(capsys, name, words):
    assert main(["plugins", "show", name]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
