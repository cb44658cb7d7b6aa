"""How it stands between a site and its hub, in one word, by what was seen at both ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReplicationState(StrEnum):
    """What becomes of what a site says."""

    #: It comes to the hub, and is complete.
    WORKS = "works"
    #: The site is in the settings, and has not joined.
    NOT_JOINED = "not_joined"
    #: Somebody has disabled the subscription.
    STOPPED = "stopped"
    #: The hub's PostgreSQL refuses a row, and tries it again and again.
    REFUSED = "refused"
    #: The site does not keep what the hub has not heard: its slot is lost, or gone.
    SLOT_LOST = "slot_lost"
    #: Part of it is not at the hub and will not come any more: a standby that had not heard it was promoted, or a copy put back.
    INCOMPLETE = "incomplete"
    #: The site cannot be asked. What it has for the hub it keeps.
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """What was seen at both ends."""

    is_joined: bool
    is_enabled: bool
    is_reached: bool
    #: Whether the site keeps what the hub has not heard.
    is_kept: bool
    #: Bytes that it keeps; `None`: not known.
    behind: int | None
    #: What could not be written at the hub, since its statistics began.
    errors: int
    #: Whether the hub has all that the site says; `None`: not known.
    is_whole: bool | None
    #: The slots of other hubs that read the site.
    other_hubs: tuple[str, ...] = ()

    def state(self, before: Replication | None) -> ReplicationState:
        """Say it in one word: what needs a hand most. *before*: what was seen a while ago."""
        if not self.is_joined:
            return ReplicationState.NOT_JOINED
        if not self.is_enabled:
            return ReplicationState.STOPPED
        if before is not None and self.errors > before.errors:
            return ReplicationState.REFUSED
        if not self.is_reached:
            return ReplicationState.UNREACHABLE
        if not self.is_kept:
            return ReplicationState.SLOT_LOST
        return ReplicationState.INCOMPLETE if self.is_whole is False else ReplicationState.WORKS
