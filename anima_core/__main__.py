"""`python -m anima_core` is `anima`."""

from __future__ import annotations

from anima_core.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
