"""State of the replication of a site's data to its hub, by observations at both ends.

A site is a place from which mail is probed; its hub is the installation that decides for several sites. The hub
subscribes to the site's tables by logical replication of PostgreSQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReplicationState(StrEnum):
    """State of the replication from a site to its hub."""

    #: The site's data arrives at the hub and is complete.
    WORKS = "works"
    #: The site is configured at the hub, but the command that starts the replication was not run.
    NOT_JOINED = "not_joined"
    #: Somebody has disabled the subscription.
    STOPPED = "stopped"
    #: The hub's PostgreSQL rejects a row, and retries.
    REFUSED = "refused"
    #: The site has lost the replication slot, so it does not retain the changes that the hub has not received.
    SLOT_LOST = "slot_lost"
    #: Some data will never arrive: a standby without that data was promoted, or an older copy was restored.
    INCOMPLETE = "incomplete"
    #: The hub cannot reach the site. The site retains its changes for the hub.
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """Observations of one replication at both ends, the site and the hub."""

    #: Whether the hub has a subscription to the site, and whether it is enabled.
    is_joined: bool
    is_enabled: bool
    #: Whether the hub can reach the site.
    is_reachable: bool
    #: Whether the site retains changes for the hub in a replication slot.
    is_retained: bool
    #: Bytes that the hub has not received yet; `None`: unknown.
    lag_bytes: int | None
    #: Number of rejected rows at the hub since its statistics began.
    errors: int
    #: Whether the hub has all of the site's data; `None`: unknown.
    is_complete: bool | None
    #: Replication slots of other hubs at the site.
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
