"""Difference between two sets of routes after a change of configuration or ownership. Pure.

Unchanged routes are not included: their runs, mailbox watchers and streaks of results continue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.model.route import MonitoredRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Changed routes, in disjoint sets."""

    #: New routes.
    added: tuple[MonitoredRoute, ...] = ()
    #: Removed routes.
    removed: tuple[MonitoredRoute, ...] = ()
    #: Changed routes in their new form.
    changed: tuple[MonitoredRoute, ...] = ()

    @property
    def agencies(self) -> frozenset[str]:
        """The agencies of all these routes."""
        return frozenset(route.agency for route in (*self.added, *self.removed, *self.changed))


def difference(before: Mapping[str, MonitoredRoute], after: Mapping[str, MonitoredRoute]) -> Difference:
    """Return the difference between *before* and *after*, by name."""
    return Difference(
        added=tuple(route for name, route in after.items() if name not in before),
        removed=tuple(route for name, route in before.items() if name not in after),
        changed=tuple(
            route
            for name, route in after.items()
            # Most routes are the same object, so the identity is compared before the value.
            if (previous := before.get(name)) is not None and previous is not route and previous != route
        ),
    )


def changes_path(before: MonitoredRoute, after: MonitoredRoute) -> bool:
    """Whether a route of the same name uses other mailboxes, so that earlier results do not apply.

    A mailbox counts as another one when its address, a server, the sign-in or the trusted certificates of its servers
    change. Interval, hours and evaluation do not matter.
    """
    return (before.route, before.forwarded) != (after.route, after.forwarded)


def replaced_mailboxes(before: MonitoredRoute, after: MonitoredRoute) -> frozenset[str]:
    """Return the names of the mailboxes that have the same name and another definition."""
    old = {mailbox.name: mailbox for mailbox in (before.route.sender, before.route.recipient)}
    new = (after.route.sender, after.route.recipient)
    return frozenset(mailbox.name for mailbox in new if old.get(mailbox.name, mailbox) != mailbox)
