"""Settings of third-party libraries, made before they are imported."""

from __future__ import annotations

import os
import sys
import warnings


def settle_libraries(*, debug: bool) -> None:
    """No telemetry; no third-party warnings that a user can do nothing about, unless `debug`.

    What a user has set (environment, ``python -W``) stays as it is.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not debug:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
