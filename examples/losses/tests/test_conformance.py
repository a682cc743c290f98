"""What every strategy that answers `loss` must keep to: Anima's conformance kit."""

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
TEACHER = DistillOptions(teacher="./teacher-of-the-checks")


@pytest.fixture(scope="module", autouse=True)
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conformance")
    save_tiny(folder / TEACHER.teacher, "gpt2", seed=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


@pytest.mark.parametrize("check", checks_for(Distill, "distill", TEACHER), ids=str)
def test_distill(check):
    if check.skip:
        pytest.skip(check.skip)
    check()
