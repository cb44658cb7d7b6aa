"""The gateways in use: which to try first on a channel, how many calls each takes at a time, and whose turn it is."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from alerts.decide.gateway.receipt import TRY_AGAIN, OverdueReceipts
from alerts.model.channel import Channel
from alerts.model.gateway import Gateway, SupportsReplies
from alerts.model.urgency import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredGateway:
    """A configured gateway. `name` is unique; the order on a channel is the order of preference."""

    name: str
    channel: Channel
    gateway: Gateway
    #: Calls at a time: a slow gateway holds back only its own.
    slots: int = 4
    #: Messages a minute, by its contract; `None`: as many as it takes. The first notice of an incident always goes.
    per_minute: int | None = None


@dataclass(slots=True)
class _Standing:
    up: bool | None = None
    since: datetime | None = None
    #: It takes what it is given, and no receipts come.
    doubt: OverdueReceipts | None = None
    #: When it was last given something to send.
    used_at: datetime | None = None
    busy: int = 0
    #: Who waits for a slot: by incident, what of it and with which priority.
    waiting: dict[int, dict[str, Priority]] = field(default_factory=dict)


class GatewayPool:
    """Knows the lines, their health and their free slots. Holds nothing that a restart may not forget."""

    #: A line that failed is tried first again after this long: nobody tells us when it is repaired.
    REST = timedelta(minutes=5)

    def __init__(self, lines: Iterable[ConfiguredGateway]) -> None:
        self._lines = {line.name: line for line in lines}
        self._standing = {name: _Standing() for name in self._lines}
        #: Told when a slot is given back, by whomever: somebody may wait for it.
        self.on_free: Callable[[], object] = lambda: None

    def replace(self, lines: Iterable[ConfiguredGateway]) -> list[ConfiguredGateway]:
        """Use *lines* from now on; return those that were used before. The standing of a gateway that is kept is kept."""
        before, retired = self._lines, list(self._lines.values())
        self._lines = {line.name: line for line in lines}
        for name, line in self._lines.items():
            if name in before and line.gateway is not before[name].gateway:
                # With other credentials, say: whether these work is not known.
                self._standing[name].up = self._standing[name].since = None
        # Those taken out are kept too: calls of theirs may be under way, and they may be put back.
        self._standing |= {name: _Standing() for name in self._lines if name not in self._standing}
        return retired

    def __getitem__(self, name: str) -> ConfiguredGateway:
        return self._lines[name]

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def __iter__(self) -> Iterator[ConfiguredGateway]:
        return iter(self._lines.values())

    def preference(self, now: datetime, *, trying: bool = False) -> Mapping[Channel, Sequence[str]]:
        """Return the names to use on each channel, best first: as configured, then those that are doubted, then those that failed.

        *trying*: for something that is no news to anybody, by which a doubted one may prove itself when it is time.
        """

        def rank(line: ConfiguredGateway) -> tuple[bool, bool]:
            is_doubted = self.doubted_since(line.name) is not None
            return self._is_resting(line.name, now), is_doubted and not (
                trying and self._is_to_be_tried(line.name, now)
            )

        preference: dict[Channel, list[str]] = {}
        for line in sorted(self._lines.values(), key=rank):
            preference.setdefault(line.channel, []).append(line.name)
        return preference

    def _is_to_be_tried(self, name: str, now: datetime) -> bool:
        """Whether it is long enough ago that a doubted line was given anything, by us or by another engine."""
        standing = self._standing[name]
        given = [standing.used_at] if standing.used_at else []
        given += [standing.doubt.tried_at] if standing.doubt else []
        return not any(timedelta(0) <= now - at < TRY_AGAIN for at in given)

    def doubt(self, name: str, doubt: OverdueReceipts | None) -> bool:
        """Note whether a line is doubted; return whether that is news."""
        standing = self._standing[name]
        changed = (standing.doubt is None) is not (doubt is None)
        if standing.doubt and doubt:
            # Of many that are overdue only the latest are counted.
            doubt = replace(doubt, since=min(doubt.since, standing.doubt.since))
        standing.doubt = doubt
        return changed

    def doubted_since(self, name: str) -> datetime | None:
        """Return since when a line takes messages and gives no receipts as it used to; `None`: it is not doubted."""
        doubt = self._standing[name].doubt
        return None if doubt is None else doubt.since

    def note_use(self, name: str, now: datetime) -> None:
        """Note that a line was given something to send: a doubted one is not tried again at once."""
        self._standing[name].used_at = now

    def doubted_before(self, name: str) -> Sequence[str]:
        """Return the lines that stand before this one in the configuration and come after it because they are doubted."""
        lines = list(self._lines.values())
        earlier = lines[: lines.index(self._lines[name])]
        channel = self._lines[name].channel
        doubted = [e.name for e in earlier if e.channel is channel and self.doubted_since(e.name)]
        return () if self.doubted_since(name) else doubted

    def _is_resting(self, name: str, now: datetime) -> bool:
        standing = self._standing[name]
        # A clock that was set back must not let it rest until it has caught up.
        return standing.up is False and standing.since is not None and timedelta(0) <= now - standing.since < self.REST

    def judge(self, name: str, *, up: bool, now: datetime) -> bool:
        """Note how a call went; return whether the line's standing changed."""
        standing = self._standing.setdefault(name, _Standing())
        changed = standing.up is not up
        standing.up, standing.since = up, now
        return changed

    def is_up(self, name: str) -> bool | None:
        """Return whether the last call on a line went well; `None`: there has been none yet."""
        return self._standing[name].up

    def hears_people(self, name: str) -> bool:
        """Whether people can answer what this line sends."""
        gateway: object = self._lines[name].gateway if name in self._lines else None
        return isinstance(gateway, SupportsReplies) and gateway.hears_people

    def free_slots(self, name: str) -> int:
        """Return how many calls may begin now. Fewer slots than calls under way, after a reload, are none."""
        return max(0, self._lines[name].slots - self._standing[name].busy)

    def take(self, name: str, *, incident_id: int, what: str, priority: Priority) -> bool:
        """Take a slot if one is free and nobody who waits for it comes first; else wait for it, until `forget`.

        A gateway that is no longer configured has none. *what*: a name for what waits, of its own within the incident.
        """
        standing = self._standing.get(name)
        if standing is None or name not in self._lines:
            return False
        free = self.free_slots(name)
        if free > sum(other < priority for waits in standing.waiting.values() for other in waits.values()):
            standing.busy += 1
            return True
        standing.waiting.setdefault(incident_id, {})[what] = priority
        return False

    def take_spare(self, name: str) -> bool:
        """Take a slot if one is free besides one more, and nobody waits: for a drill, which gives way to everything."""
        standing = self._standing.get(name)
        if standing is None or name not in self._lines or standing.waiting:
            return False
        if self.free_slots(name) - bool(standing.busy) < 1:
            return False
        standing.busy += 1
        return True

    def forget(self, incident_id: int) -> None:
        """Take an incident out of the queues, before each look at it: it may not want any more what it waited for.

        It may not even be ours any more: then nobody here would ever take it out.
        """
        for standing in self._standing.values():
            standing.waiting.pop(incident_id, None)

    def in_turn(self) -> list[tuple[Priority, int]]:
        """Return the incidents that wait for slots which are free, with their priorities, the first to go first."""
        waiters: list[tuple[Priority, int]] = []
        for name in self._lines:
            waits_here = self._standing[name].waiting
            if waits_here and (free := self.free_slots(name)):
                waiting = ((priority, i) for i, waits in waits_here.items() for priority in waits.values())
                waiters += heapq.nsmallest(free, waiting)
        return sorted(waiters)

    def give_back(self, name: str) -> None:
        """Return a slot."""
        if name in self._standing:
            self._standing[name].busy -= 1
            self.on_free()
