"""Durations as text: "30s", "5m", "1h30m"."""

from __future__ import annotations

import re
from datetime import timedelta

from monitor.model.translatable import translatable

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)

#: Ten years. If the present time plus a duration were beyond the last valid date, the due time of an escalation step
#: could not be computed, and no notification would be sent.
MAX_DURATION = timedelta(days=3660)


class InvalidDurationError(ValueError):
    """The text is not a duration. The message says why."""


def parse_duration(text: str) -> timedelta:
    """Parse "1h30m", "5m", "30s" or "2d". Raise `InvalidDurationError`, also for a number without a unit."""
    stripped = text.strip()
    if stripped.isdigit():
        raise InvalidDurationError(translatable("'{compact}' has no unit", compact=stripped))
    match = _DURATION.fullmatch(stripped)
    if not stripped or match is None:
        raise InvalidDurationError("is no span of time")
    seconds = sum(int(n or 0) * unit for n, unit in zip(match.groups(), _UNITS.values(), strict=True))
    if seconds > MAX_DURATION.total_seconds():
        raise InvalidDurationError("is too long a span of time")
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """Return *span* in the format of `parse_duration`, in whole seconds."""
    seconds = int(span.total_seconds())
    text = ""
    for unit, size in _UNITS.items():
        number, seconds = divmod(seconds, size)
        text += f"{number}{unit}" if number else ""
    return text or "0s"
