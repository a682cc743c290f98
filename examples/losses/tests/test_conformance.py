"""What every strategy that answers `loss` must keep to: Anima's conformance kit."""

import pytest
from anima_example_losses.distill.strategy import Distill
from anima_example_losses.focal.strategy import Focal

from anima_core.testing.conformance import checks_for

CHECKS = [*checks_for(Focal, "focal"), *checks_for(Distill, "distill")]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_conformance(check):
    if check.skip:
        pytest.skip(check.skip)  # distill needs a teacher; test_distill.py has one
    check()
