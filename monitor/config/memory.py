"""What was made of the configuration before, so that what has not changed is not made anew when it is read again."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.config.trust import Trust
from monitor.registry import Registry


@dataclass(slots=True, kw_only=True)
class Memory:
    """What outlives one reading of the configuration."""

    trust: Trust = field(default_factory=Trust)
    #: The agencies at work: a mailbox that has not changed stays the one that is in use, with its access token.
    in_force: Registry | None = None
