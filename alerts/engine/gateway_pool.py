"""Gateways in use: their order of preference per channel, their slots, and the incidents that wait for slots."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from alerts.decide.gateway.receipt import RETRY_INTERVAL, OverdueReceipts
from alerts.model.channel import Channel
from alerts.model.gateway import Gateway, SupportsReplies
from alerts.model.urgency import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredGateway:
    """A configured gateway. Within a channel, the order of configuration is the order of preference."""

    #: Unique.
    name: str
    channel: Channel
    gateway: Gateway
    #: Maximum number of concurrent calls. Each gateway has slots of its own, so that a slow gateway delays no other.
    slots: int = 4
    #: Maximum messages per minute by contract; `None`: no limit. The first notification of an incident is never
    #: limited.
    per_minute: int | None = None


@dataclass(slots=True)
class _GatewayState:
    """Health, slots and queue of a gateway."""

    #: Whether the last call or verification succeeded; `None`: none yet.
    up: bool | None = None
    #: Time of the last call or verification.
    checked_at: datetime | None = None
    #: Overdue delivery receipts: the gateway accepts messages, but perhaps does not deliver them. `None`: not overdue.
    overdue_receipts: OverdueReceipts | None = None
    #: When this process last decided to send a message by the gateway.
    used_at: datetime | None = None
    #: Number of taken slots.
    busy: int = 0
    #: Priorities of the calls that wait for a slot, by id of the incident and *call_key* of `take_slot`.
    waiting: dict[int, dict[str, Priority]] = field(default_factory=dict)


class GatewayPool:
    """Gateways with their health and slots. A slot is the right to one concurrent call.

    The state is kept in memory only.
    """

    #: How long other gateways are preferred to a failed gateway, which is then tried again, because no event reports
    #: that it works.
    PENALTY = timedelta(minutes=5)

    def __init__(self, gateways: Iterable[ConfiguredGateway]) -> None:
        self._gateways = {configured.name: configured for configured in gateways}
        self._states = {name: _GatewayState() for name in self._gateways}
        #: Called when a slot is released.
        self.on_free: Callable[[], object] = lambda: None

    def replace(self, gateways: Iterable[ConfiguredGateway]) -> list[ConfiguredGateway]:
        """Replace the gateways; return the former ones. An unchanged gateway keeps its health."""
        former = self._gateways
        self._gateways = {configured.name: configured for configured in gateways}
        for name, configured in self._gateways.items():
            if name in former and configured.gateway is not former[name].gateway:
                # The gateway was rebuilt, for example with other credentials, so that its health is unknown.
                self._states[name].up = self._states[name].checked_at = None
        # Keep the states of removed gateways, which may have running calls or be configured again.
        self._states |= {name: _GatewayState() for name in self._gateways if name not in self._states}
        return list(former.values())

    def __getitem__(self, name: str) -> ConfiguredGateway:
        return self._gateways[name]

    def __contains__(self, name: str) -> bool:
        return name in self._gateways

    def __iter__(self) -> Iterator[ConfiguredGateway]:
        return iter(self._gateways.values())

    def preference(self, now: datetime, *, is_retry: bool = False) -> Mapping[Channel, Sequence[str]]:
        """Return the names of the gateways by channel, the best first.

        The order is the configured one, but gateways with overdue receipts follow the others, and failed gateways come
        last. *is_retry*: for a repeated message, which may test a gateway with overdue receipts from time to time.
        """

        def rank(configured: ConfiguredGateway) -> tuple[bool, bool]:
            has_overdue_receipts = self.receipts_overdue_since(configured.name) is not None
            is_tested = is_retry and self._is_test_due(configured.name, now)
            return self._has_failed(configured.name, now), has_overdue_receipts and not is_tested

        preference: dict[Channel, list[str]] = {}
        for configured in sorted(self._gateways.values(), key=rank):
            preference.setdefault(configured.channel, []).append(configured.name)
        return preference

    def _is_test_due(self, name: str, now: datetime) -> bool:
        """Whether no engine has used a gateway with overdue receipts recently."""
        state = self._states[name]
        # `used_at` is of this process; `last_accepted_at` was read from the database, which all engines share.
        uses = [state.used_at] if state.used_at else []
        uses += [state.overdue_receipts.last_accepted_at] if state.overdue_receipts else []
        return not any(timedelta(0) <= now - at < RETRY_INTERVAL for at in uses)

    def set_overdue_receipts(self, name: str, overdue: OverdueReceipts | None) -> bool:
        """Record overdue receipts of a gateway, or `None` for none. Return whether they have begun or ended."""
        state = self._states[name]
        has_changed = (state.overdue_receipts is None) is not (overdue is None)
        if state.overdue_receipts and overdue:
            # As only the latest receipts are examined, the start that they show may be later than the recorded one.
            overdue = replace(overdue, since=min(overdue.since, state.overdue_receipts.since))
        state.overdue_receipts = overdue
        return has_changed

    def receipts_overdue_since(self, name: str) -> datetime | None:
        """Return since when a gateway's receipts are overdue; `None` if they are not."""
        overdue = self._states[name].overdue_receipts
        return None if overdue is None else overdue.since

    def record_use(self, name: str, now: datetime) -> None:
        """Record that a gateway was used, so that a gateway with overdue receipts is not tested again at once."""
        self._states[name].used_at = now

    def skipped_gateways(self, name: str) -> Sequence[str]:
        """Return the gateways that were passed over for this one: preferred, but their receipts are overdue.

        Return none if this gateway's own receipts are overdue.
        """
        gateways = list(self._gateways.values())
        preferred = gateways[: gateways.index(self._gateways[name])]
        channel = self._gateways[name].channel
        skipped = [
            each.name for each in preferred if each.channel is channel and self.receipts_overdue_since(each.name)
        ]
        return () if self.receipts_overdue_since(name) else skipped

    def _has_failed(self, name: str, now: datetime) -> bool:
        state = self._states[name]
        if state.up is not False or state.checked_at is None:
            return False
        # After the clock was set back, `checked_at` is in the future: then the gateway counts as usable.
        return timedelta(0) <= now - state.checked_at < self.PENALTY

    def record_state(self, name: str, *, up: bool, now: datetime) -> bool:
        """Record the result of a call; return whether the gateway's health changed."""
        state = self._states.setdefault(name, _GatewayState())
        has_changed = state.up is not up
        state.up, state.checked_at = up, now
        return has_changed

    def is_up(self, name: str) -> bool | None:
        """Whether the last call or verification succeeded; `None` before the first."""
        return self._states[name].up

    def receives_replies(self, name: str) -> bool:
        """Whether people can reply to messages of this gateway."""
        gateway: object = self._gateways[name].gateway if name in self._gateways else None
        return isinstance(gateway, SupportsReplies) and gateway.receives_replies

    def free_slots(self, name: str) -> int:
        """Return the number of calls that may start now. It is zero if a reload left fewer slots than running calls."""
        return max(0, self._gateways[name].slots - self._states[name].busy)

    def take_slot(self, name: str, *, incident_id: int, call_key: str, priority: Priority) -> bool:
        """Take a slot if more slots are free than calls with a higher priority wait. Return whether it was taken.

        Otherwise the call waits until `remove_waiter` is called for its incident. *call_key* distinguishes the waiting
        calls of an incident. A removed gateway has no slots.
        """
        state = self._states.get(name)
        if state is None or name not in self._gateways:
            return False
        calls_ahead = sum(other < priority for priorities in state.waiting.values() for other in priorities.values())
        if self.free_slots(name) > calls_ahead:
            state.busy += 1
            return True
        state.waiting.setdefault(incident_id, {})[call_key] = priority
        return False

    def take_spare_slot(self, name: str) -> bool:
        """Take a slot for a drill (a test notification), which has the lowest priority. Return whether it was taken.

        A drill gets no slot while another call waits, nor the last free slot of a gateway with running calls.
        """
        state = self._states.get(name)
        if state is None or name not in self._gateways or state.waiting:
            return False
        if self.free_slots(name) - bool(state.busy) < 1:
            return False
        state.busy += 1
        return True

    def remove_waiter(self, incident_id: int) -> None:
        """Remove an incident from the queues of all gateways. Call this before processing, which may queue it again.

        Otherwise an incident that another engine has taken over would stay in the queues.
        """
        for state in self._states.values():
            state.waiting.pop(incident_id, None)

    def next_waiters(self) -> list[tuple[Priority, int]]:
        """Return the incidents that can get a free slot now, with their priorities, the most urgent first."""
        waiters: list[tuple[Priority, int]] = []
        for name in self._gateways:
            waiting = self._states[name].waiting
            if waiting and (free := self.free_slots(name)):
                queue = ((priority, i) for i, priorities in waiting.items() for priority in priorities.values())
                waiters += heapq.nsmallest(free, queue)
        return sorted(waiters)

    def release_slot(self, name: str) -> None:
        """Release a slot."""
        if name in self._states:
            self._states[name].busy -= 1
            self.on_free()
