"""The documentation's tests import their helpers from this folder, and what makes the pages."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parents[1] / "docs" / "hooks")]
