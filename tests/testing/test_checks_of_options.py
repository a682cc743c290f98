"""The check of names and options, by the command line that they would be typed on."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from anima_core import Options, hookimpl
from anima_core.testing import check_options


class Pace(Enum):
    SLOW = "slow"


class Sound(Options):
    rate: float = Field(default=0.5, gt=0, description="A rate.")
    slow: bool = Field(default=False, description="Slowly.")
    eager: bool = Field(default=True, description="Eagerly.")
    bits: Literal[4, 8] = Field(default=4, description="Bits.")
    names: tuple[str, ...] = Field(default=("a b", "-c"), description="Names.")
    place: Path | None = Field(default=None, description="A place.")
    steps_ahead: int | None = Field(default=3, ge=1, description="Steps.")
    made: tuple[int, ...] = Field(default_factory=lambda: (1, 2), description="Made.")
    table: dict[str, float] = Field(default={"a": 1.0}, description="A table.")
    pace: Pace = Field(default=Pace.SLOW, description="A pace.")


def strategy(options: Any) -> Any:
    class Mine:
        api = 1
        summary = "A strategy of a test."
        slots = requires = conflicts = ()
        Options = options

        def __init__(self, options):
            self.options = options

        @hookimpl
        def validate(self, run):
            return []

    return Mine


class Needed(Options):
    path: str = Field(description="A path.")
    rate: float = Field(default=0.5, description="A rate.")


def test_sound_ones_pass():
    check_options(strategy(Sound), "mine")
    check_options(strategy(Options), "mine")
    check_options(strategy(Needed), "mine")
    check_options(strategy(Needed), "mine", Needed(path="--odd --path", rate=2))


class Nested(Options):
    class Inner(BaseModel):
        beta: float = 0.5

    inner: Inner = Field(default=Inner(), description="Nested options.")


class Undescribed(Options):
    rate: float = 0.5


class BadDefault(Options):
    rate: float = Field(default=-1.0, gt=0, description="A rate.")


class Clash(Options):
    dora: bool = Field(default=False, description="Dora.")
    no_dora: bool = Field(default=False, description="No dora.")


class AnythingGoes(Options):
    extra: Any = Field(default=None, description="Anything.")


def crash(value: Any) -> Any:
    return value.strip()


class Crashes(Options):
    word: Annotated[str, BeforeValidator(crash)] = Field(default="a", description="A word.")


def half(value: Any) -> Any:
    return float(value) / 2 if isinstance(value, str) else value


class Halves(Options):
    """Means another thing by text than by a number."""

    rate: Annotated[float, BeforeValidator(half)] = Field(default=0.5, description="A rate.")


class Aliased(Options):
    rate: float = Field(default=0.5, alias="speed", description="A rate.")


class Exclusive(Options):
    one: int = Field(default=1, description="One.")
    two: int = Field(default=1, description="Two.")

    @model_validator(mode="after")
    def _check(self) -> Exclusive:
        if self.one == self.two:
            raise ValueError("one and two must differ")
        return self


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Nested, r"--mine\.inner cannot be typed"),
        (Undescribed, r"--mine\.rate has no description"),
        (BadDefault, r"defaults are refused: --mine\.rate"),
        (Clash, r"--mine\.no-dora is the flag of two options"),
        (AnythingGoes, r"--mine\.extra takes a value of any type"),
        (Crashes, r"--mine\.word .* raises AttributeError"),
        (Halves, r"--mine\.rate: '--.*mine\.rate=0\.5' arrives as 0\.25, not 0\.5"),
        (Aliased, r"--mine\.rate has an alias"),
        (Exclusive, "defaults are refused: .*one and two must differ"),
    ],
)
def test_the_defect_is_named(options, said):
    with pytest.raises(AssertionError, match=said):
        check_options(strategy(options), "mine")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Mine", "not lower-case words"),
        ("my_own", "not lower-case words"),
        ("batch-size", "belongs to the core's option --batch-size"),
        ("no-resume", "belongs to the core's option"),
        ("lora", r"anima-adapt-qlora \S+ offers a strategy of this name too"),
    ],
)
def test_a_name_that_cannot_be_used_is_said(name, said):
    with pytest.raises(AssertionError, match=said):
        check_options(strategy(Sound), name)


def test_all_defects_are_named_together():
    class Two(Undescribed):
        extra: Any = Field(default=None, description="Anything.")

    with pytest.raises(AssertionError) as caught:
        check_options(strategy(Two), "mine")
    assert [word in str(caught.value) for word in ("rate", "extra")] == [True, True]


def test_an_installed_strategy_is_no_other(distribute, good_strategy):
    from anima_core.registry.offers import offers

    distribute("fake-a", good_strategy, {"good": "Good"})
    (offer,) = [o for o in offers() if o.name == "good"]
    check_options(offer.entry_point.load(), "good")
