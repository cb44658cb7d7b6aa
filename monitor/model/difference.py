"""Decide what a change of the configuration, or of whose agencies are whose, means for routes. Pure.

Whatever is the same before and after is not named: its runs under way, its watchers and its streaks go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.model.route import MonitoredRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is to be done about routes. Those of all three are different ones."""

    #: New ones.
    gained: tuple[MonitoredRoute, ...] = ()
    #: Those that are watched no more.
    released: tuple[MonitoredRoute, ...] = ()
    #: Those that are watched otherwise, as they are from now on.
    altered: tuple[MonitoredRoute, ...] = ()

    @property
    def agencies(self) -> frozenset[str]:
        """The agencies of all of them."""
        return frozenset(route.agency for route in (*self.gained, *self.released, *self.altered))


def difference(before: Mapping[str, MonitoredRoute], after: Mapping[str, MonitoredRoute]) -> Difference:
    """Return what makes the routes *before*, by name, those *after*."""
    return Difference(
        gained=tuple(route for name, route in after.items() if name not in before),
        released=tuple(route for name, route in before.items() if name not in after),
        altered=tuple(
            route
            for name, route in after.items()
            # Of thousands most are the very same.
            if (was := before.get(name)) is not None and was is not route and was != route
        ),
    )


def goes_elsewhere(before: MonitoredRoute, after: MonitoredRoute) -> bool:
    """Whether a route of the same name goes another way: nothing that was seen on the old one holds for it.

    A mailbox is another one as soon as its address, a server, the sign-in or the trust in its servers is. How often the
    route is probed, and when, and how it is judged, make no other way.
    """
    return (before.route, before.forwarded) != (after.route, after.forwarded)


def exchanged(before: MonitoredRoute, after: MonitoredRoute) -> frozenset[str]:
    """Return the names of the mailboxes that are others under the same name."""
    ends = {end.name: end for end in (before.route.sender, before.route.recipient)}
    return frozenset(end.name for end in (after.route.sender, after.route.recipient) if ends.get(end.name, end) != end)
