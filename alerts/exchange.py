"""The gateways in use: which to try first on a channel, and how many calls each takes at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.channel import Channel
from alerts.gateway import Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A configured gateway. `name` is unique; the order on a channel is the order of preference."""

    name: str
    channel: Channel
    gateway: Gateway
    #: Calls at a time: a slow gateway holds back only its own.
    slots: int = 4


@dataclass(slots=True)
class _Standing:
    up: bool | None = None
    since: datetime | None = None
    busy: int = 0


class Exchange:
    """Knows the lines, their health and their free slots. Holds nothing that a restart may not forget."""

    #: A line that failed is tried first again after this long: nobody tells us when it is repaired.
    REST = timedelta(minutes=5)

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = {line.name: line for line in lines}
        self._standing = {name: _Standing() for name in self._lines}

    def replace(self, lines: Iterable[Line]) -> list[Line]:
        """Use *lines* from now on; return those that are no longer used. Standings of the same name are kept."""
        retired = list(self._lines.values())
        self._lines = {line.name: line for line in lines}
        # Those taken out are kept too: calls of theirs may be under way, and they may be put back.
        self._standing |= {name: _Standing() for name in self._lines if name not in self._standing}
        return retired

    def __getitem__(self, name: str) -> Line:
        return self._lines[name]

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def preference(self, now: datetime) -> Mapping[Channel, Sequence[str]]:
        """Return the names to use on each channel, best first: as configured, those that just failed last."""
        preference: dict[Channel, list[str]] = {}
        for line in sorted(self._lines.values(), key=lambda line: self._is_resting(line.name, now)):
            preference.setdefault(line.channel, []).append(line.name)
        return preference

    def _is_resting(self, name: str, now: datetime) -> bool:
        standing = self._standing[name]
        return standing.up is False and standing.since is not None and now - standing.since < self.REST

    def judge(self, name: str, *, up: bool, now: datetime) -> bool:
        """Note how a call went; return whether the line's standing changed."""
        standing = self._standing.setdefault(name, _Standing())
        changed = standing.up is not up
        standing.up, standing.since = up, now
        return changed

    def take(self, name: str) -> bool:
        """Take a slot if one is free; one that is no longer configured has none."""
        standing = self._standing.get(name)
        if standing is None or name not in self._lines or standing.busy >= self._lines[name].slots:
            return False
        standing.busy += 1
        return True

    def give_back(self, name: str) -> None:
        """Return a slot."""
        if name in self._standing:
            self._standing[name].busy -= 1
