"""Status of the service in one line, which `systemctl status` shows. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.evaluation.liveness import LivenessFailure
from monitor.views.self_health import SelfHealthInputs

#: Text for each failure that suppresses the heartbeat.
_FAILURE_TEXTS = {
    LivenessFailure.ENGINE: "the engine has stopped",
    LivenessFailure.STORE: "nothing has been written for a while",
    LivenessFailure.AUDIT: "the auditor has stopped",
    LivenessFailure.OVERDUE: "a notification is overdue",
    LivenessFailure.PROBING: "probes start late",
}


def status_line(inputs: SelfHealthInputs, *, agencies: int, routes: int, open_incidents: int | None) -> str:
    """Return the line: what is monitored, how many incidents are open, and what is wrong with Pantau itself.

    *open_incidents*: number of open incidents; `None`: not read from the database yet.
    """
    return "; ".join(
        [
            f"Monitoring {_count(agencies, 'agency', 'agencies')} by {_count(routes, 'route', 'routes')}",
            "incidents not read yet"
            if open_incidents is None
            else f"{_count(open_incidents, 'incident', 'incidents')} open",
            *(["the hub notifies staff"] if inputs.for_hub and not inputs.is_hub_disconnected else []),
            *_problems(inputs),
        ]
    )


def _problems(inputs: SelfHealthInputs) -> Iterator[str]:
    if inputs.monitor_only:
        yield "NOBODY IS NOTIFIED (mode: monitor_only)"
    if inputs.for_hub and inputs.is_hub_disconnected:
        yield "THE HUB DOES NOT READ THIS SITE"
    if inputs.quorum_lost_since is not None:
        yield "TOO FEW SITES ARE CONNECTED, NO OUTAGE IS REPORTED"
    if inputs.failing_sites:
        yield f"sites silent, or unable to evaluate: {', '.join(inputs.failing_sites)}"
    if inputs.store_outage is not None:
        since, reason = inputs.store_outage
        yield f"DATABASE UNAVAILABLE since {since:%Y-%m-%d %H:%M} UTC: {reason}"
    for failure, text in _FAILURE_TEXTS.items():
        # The text about a database outage already implies that nothing is written.
        if failure in inputs.liveness_failures and not (failure is LivenessFailure.STORE and inputs.store_outage):
            yield text
    if inputs.config_rejected_at is not None:
        yield f"configuration rejected at {inputs.config_rejected_at:%Y-%m-%d %H:%M} UTC, the previous one is in force"
    if inputs.awaiting_restart:
        yield f"a restart is needed for {', '.join(inputs.awaiting_restart)}"
    if inputs.empty_rotas:
        yield f"nobody on call: {', '.join(inputs.empty_rotas)}"


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}" if number else f"no {plural}"
