"""State of the replication of a site's data to its hub, by observations at both ends.

A site is a place with probers; its hub is the installation that decides for several sites. The replication is logical
replication of PostgreSQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReplicationState(StrEnum):
    """State of the replication from a site to its hub."""

    #: The site's data arrives at the hub and is complete.
    WORKS = "works"
    #: The site is configured and has not joined.
    NOT_JOINED = "not_joined"
    #: Somebody disabled the subscription.
    STOPPED = "stopped"
    #: The hub's PostgreSQL refuses a row and retries.
    REFUSED = "refused"
    #: The site does not keep what the hub has not received: its replication slot is lost.
    SLOT_LOST = "slot_lost"
    #: Some data will never arrive: a standby without it was promoted, or a copy was restored.
    INCOMPLETE = "incomplete"
    #: The site cannot be reached. It keeps its data for the hub.
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """Observations at both ends."""

    is_joined: bool
    is_enabled: bool
    is_reachable: bool
    #: Whether the site keeps data for the hub.
    is_retained: bool
    #: Bytes of lag; `None`: unknown.
    lag_bytes: int | None
    #: Rejected rows at the hub, since its statistics began.
    errors: int
    #: Whether the hub has all of the site's data; `None`: unknown.
    is_complete: bool | None
    #: Replication slots of other hubs.
    other_hubs: tuple[str, ...] = ()

    def state(self, before: Replication | None) -> ReplicationState:
        """Return the most severe state. *before*: an earlier observation, to detect new errors."""
        if not self.is_joined:
            return ReplicationState.NOT_JOINED
        if not self.is_enabled:
            return ReplicationState.STOPPED
        if before is not None and self.errors > before.errors:
            return ReplicationState.REFUSED
        if not self.is_reachable:
            return ReplicationState.UNREACHABLE
        if not self.is_retained:
            return ReplicationState.SLOT_LOST
        return ReplicationState.INCOMPLETE if self.is_complete is False else ReplicationState.WORKS
