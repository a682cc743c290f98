"""Numbers as people read them."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes, in binary units: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds as ``0:42``, ``12:03`` or ``3:12:03``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}"


def number(value: float) -> str:
    """A metric, with four significant digits."""
    return f"{value:.4g}"
