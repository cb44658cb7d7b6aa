"""In which state an agency is: the one notion of it that the page, the API and whoever counts go by. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from monitor.model.health import Health


class AgencyStatus(StrEnum):
    """The one state of an agency by which it is counted, sorted and asked for, the worst first."""

    #: Mail is down in a direction, as enough sites say, or a person has declared so.
    DOWN = "down"
    #: A fault of the monitoring hides a direction now.
    MONITORING_FAULT = "monitoring_fault"
    #: No result yet for a direction, or perhaps nobody can sign in.
    UNKNOWN = "unknown"
    #: Mail is slow, in junk, or only on some routes, or is down as fewer sites say than it takes to tell of it.
    DEGRADED = "degraded"
    #: It is not probed now: so it was planned.
    MAINTENANCE = "maintenance"
    #: It is well, and nobody would be told if it were not.
    SILENCED = "silenced"
    #: Mail works in every direction.
    UP = "up"


def standing(
    found: Collection[Health], *, is_declared: bool, is_hidden: bool, in_maintenance: bool, is_silenced: bool
) -> AgencyStatus:
    """Return the state of an agency whose directions are as they were *found*. What is not known to be well is not well.

    *is_declared*: a person has said that mail is down, whatever is measured. *is_hidden*: a fault of ours hides a direction.
    """
    if is_declared or Health.DOWN in found:
        return AgencyStatus.DOWN
    # Of what is under maintenance nothing new is known, and that is nobody's fault.
    if not in_maintenance:
        if is_hidden:
            return AgencyStatus.MONITORING_FAULT
        if not found or set(found) - {Health.UP, Health.DEGRADED}:
            return AgencyStatus.UNKNOWN
    if Health.DEGRADED in found:
        return AgencyStatus.DEGRADED
    if in_maintenance:
        return AgencyStatus.MAINTENANCE
    return AgencyStatus.SILENCED if is_silenced else AgencyStatus.UP
