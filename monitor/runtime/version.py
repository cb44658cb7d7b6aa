"""The installed version of Pantau."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def installed_version() -> str:
    """Return the version. Cached: reading the metadata takes a millisecond."""
    return version("pantau")
