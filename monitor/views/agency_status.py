"""Status of an agency: one definition for pages, API and counts. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from monitor.model.health import Health


class AgencyStatus(StrEnum):
    """Status of an agency by which pages and the API count, sort and filter, the worst first."""

    #: Mail is down in a direction, as probes detect, a quorum (the required number of sites) reports, or a person has
    #: declared.
    DOWN = "down"
    #: A direction cannot be evaluated because of a monitoring fault (a fault of Pantau).
    MONITORING_FAULT = "monitoring_fault"
    #: A direction has no conclusive result yet, or sign-ins are refused.
    UNKNOWN = "unknown"
    #: Mail is slow, lands in the junk folder, works on some routes only, or is down at too few sites for the quorum.
    DEGRADED = "degraded"
    #: A maintenance window is active, in which the agency is not probed.
    MAINTENANCE = "maintenance"
    #: Mail works, and a silence is active: if mail failed, nobody would be notified.
    SILENCED = "silenced"
    #: Every direction works.
    UP = "up"


def agency_status(
    healths: Collection[Health],
    *,
    is_reported_down: bool,
    has_monitoring_fault: bool,
    in_maintenance: bool,
    is_silenced: bool,
) -> AgencyStatus:
    """Return the status of an agency.

    *healths*: the health of each probed direction (internal, outbound, inbound); all must be UP for the status UP.
    *is_reported_down*: whether a person has declared an outage, or a quorum of sites agrees on one.
    *has_monitoring_fault*: whether a direction cannot be evaluated because of a monitoring fault.
    """
    if is_reported_down or Health.DOWN in healths:
        return AgencyStatus.DOWN
    # During maintenance nothing is probed, so an unknown direction is no problem.
    if not in_maintenance:
        if has_monitoring_fault:
            return AgencyStatus.MONITORING_FAULT
        if not healths or set(healths) - {Health.UP, Health.DEGRADED}:
            return AgencyStatus.UNKNOWN
    if Health.DEGRADED in healths:
        return AgencyStatus.DEGRADED
    if in_maintenance:
        return AgencyStatus.MAINTENANCE
    return AgencyStatus.SILENCED if is_silenced else AgencyStatus.UP
