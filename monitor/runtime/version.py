"""Which Pantau this is, as its installation says."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def own_version() -> str:
    """Return our version. It is read once: a process is of one, and to look for it takes a millisecond."""
    return version("pantau")
