"""Gateways in use: order of preference per channel, slots, and the queue for them."""

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
    """A configured gateway. `name` is unique; the order within a channel is the preference."""

    name: str
    channel: Channel
    gateway: Gateway
    #: Concurrent calls: a slow gateway delays only its own.
    slots: int = 4
    #: Contracted messages per minute; `None`: no limit. The first notification of an incident is never limited.
    per_minute: int | None = None


@dataclass(slots=True)
class _Standing:
    up: bool | None = None
    since: datetime | None = None
    #: It accepts messages, and receipts are overdue.
    doubt: OverdueReceipts | None = None
    #: Last message sent through it.
    used_at: datetime | None = None
    busy: int = 0
    #: Incidents that wait for a slot, with what of them and its priority.
    waiting: dict[int, dict[str, Priority]] = field(default_factory=dict)


class GatewayPool:
    """Gateways with health and free slots. All state may be lost in a restart."""

    #: A failed gateway is preferred again after this long: no event reports its repair.
    REST = timedelta(minutes=5)

    def __init__(self, lines: Iterable[ConfiguredGateway]) -> None:
        self._lines = {line.name: line for line in lines}
        self._standing = {name: _Standing() for name in self._lines}
        #: Called when a slot is released.
        self.on_free: Callable[[], object] = lambda: None

    def replace(self, lines: Iterable[ConfiguredGateway]) -> list[ConfiguredGateway]:
        """Replace the gateways; return the former ones. A gateway that stays keeps its health."""
        before, retired = self._lines, list(self._lines.values())
        self._lines = {line.name: line for line in lines}
        for name, line in self._lines.items():
            if name in before and line.gateway is not before[name].gateway:
                # For example with other credentials, which are unproven.
                self._standing[name].up = self._standing[name].since = None
        # Removed gateways are kept: their calls may be under way, and they may come back.
        self._standing |= {name: _Standing() for name in self._lines if name not in self._standing}
        return retired

    def __getitem__(self, name: str) -> ConfiguredGateway:
        return self._lines[name]

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def __iter__(self) -> Iterator[ConfiguredGateway]:
        return iter(self._lines.values())

    def preference(self, now: datetime, *, trying: bool = False) -> Mapping[Channel, Sequence[str]]:
        """Return the names for each channel, best first: as configured, then with overdue receipts, then failed.

        *trying*: for a repeated message, with which a gateway with overdue receipts may prove itself.
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
        """Whether a gateway with overdue receipts has not been used recently, by any engine."""
        standing = self._standing[name]
        given = [standing.used_at] if standing.used_at else []
        given += [standing.doubt.tried_at] if standing.doubt else []
        return not any(timedelta(0) <= now - at < TRY_AGAIN for at in given)

    def doubt(self, name: str, doubt: OverdueReceipts | None) -> bool:
        """Record whether receipts are overdue; return whether that is new."""
        standing = self._standing[name]
        changed = (standing.doubt is None) is not (doubt is None)
        if standing.doubt and doubt:
            # Only the latest overdue receipts are counted.
            doubt = replace(doubt, since=min(doubt.since, standing.doubt.since))
        standing.doubt = doubt
        return changed

    def doubted_since(self, name: str) -> datetime | None:
        """Return since when a gateway's receipts are overdue; `None` if they are not."""
        doubt = self._standing[name].doubt
        return None if doubt is None else doubt.since

    def note_use(self, name: str, now: datetime) -> None:
        """Record that a gateway was used, so that one with overdue receipts is not tried again at once."""
        self._standing[name].used_at = now

    def doubted_before(self, name: str) -> Sequence[str]:
        """Return the gateways that are configured before this one and used after it, because receipts are overdue."""
        lines = list(self._lines.values())
        earlier = lines[: lines.index(self._lines[name])]
        channel = self._lines[name].channel
        doubted = [e.name for e in earlier if e.channel is channel and self.doubted_since(e.name)]
        return () if self.doubted_since(name) else doubted

    def _is_resting(self, name: str, now: datetime) -> bool:
        standing = self._standing[name]
        # After the clock was set back it must not rest until the clock has caught up.
        return standing.up is False and standing.since is not None and timedelta(0) <= now - standing.since < self.REST

    def record_state(self, name: str, *, up: bool, now: datetime) -> bool:
        """Record the result of a call; return whether the gateway's health changed."""
        standing = self._standing.setdefault(name, _Standing())
        changed = standing.up is not up
        standing.up, standing.since = up, now
        return changed

    def is_up(self, name: str) -> bool | None:
        """Return whether the last call succeeded; `None` before the first."""
        return self._standing[name].up

    def hears_people(self, name: str) -> bool:
        """Whether people can reply to messages of this gateway."""
        gateway: object = self._lines[name].gateway if name in self._lines else None
        return isinstance(gateway, SupportsReplies) and gateway.hears_people

    def free_slots(self, name: str) -> int:
        """Return the number of calls that may start now; zero if a reload has reduced the slots below the calls under way."""
        return max(0, self._lines[name].slots - self._standing[name].busy)

    def take(self, name: str, *, incident_id: int, what: str, priority: Priority) -> bool:
        """Take a slot if one is free and no waiter comes first; otherwise wait for it until `forget`.

        A removed gateway has no slots. *what*: identifies the waiter within its incident.
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
        """Take a slot if two are free and nobody waits: for a drill, which has the lowest priority."""
        standing = self._standing.get(name)
        if standing is None or name not in self._lines or standing.waiting:
            return False
        if self.free_slots(name) - bool(standing.busy) < 1:
            return False
        standing.busy += 1
        return True

    def forget(self, incident_id: int) -> None:
        """Remove an incident from the queues, before each processing: its needs may have changed.

        An incident of another engine would otherwise stay for ever.
        """
        for standing in self._standing.values():
            standing.waiting.pop(incident_id, None)

    def in_turn(self) -> list[tuple[Priority, int]]:
        """Return the incidents that wait for free slots, with their priorities, in order."""
        waiters: list[tuple[Priority, int]] = []
        for name in self._lines:
            waits_here = self._standing[name].waiting
            if waits_here and (free := self.free_slots(name)):
                waiting = ((priority, i) for i, waits in waits_here.items() for priority in waits.values())
                waiters += heapq.nsmallest(free, waiting)
        return sorted(waiters)

    def give_back(self, name: str) -> None:
        """Release a slot."""
        if name in self._standing:
            self._standing[name].busy -= 1
            self.on_free()
