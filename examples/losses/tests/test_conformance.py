"""What every strategy that answers `loss` must keep to: Anima's conformance kit."""

import tempfile
from pathlib import Path

import pytest
from anima_example_losses.distill.strategy import Distill, DistillOptions
from anima_example_losses.focal.strategy import Focal

from anima_core.testing import save_tiny
from anima_core.testing.conformance import checks_for


@pytest.mark.parametrize("check", checks_for(Focal, "focal"), ids=str)
def test_focal(check):
    if check.skip:
        pytest.skip(check.skip)
    check()


# The checks are listed before a test runs, and only then is there a teacher.
FOLDER = tempfile.TemporaryDirectory()
TEACHER = DistillOptions(teacher=str(Path(FOLDER.name).resolve() / "teacher"))


@pytest.fixture(scope="module", autouse=True)
def teacher():
    save_tiny(Path(TEACHER.teacher), "gpt2", seed=7)


@pytest.mark.parametrize("check", checks_for(Distill, "distill", TEACHER), ids=str)
def test_distill(check):
    if check.skip:
        pytest.skip(check.skip)
    check()
