"""Status of the service in the one line that `systemctl status` shows. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.evaluation.liveness import LivenessFailure
from monitor.views.self_health import SelfHealthInputs

_AILMENTS = {
    LivenessFailure.ENGINE: "the engine stands still",
    LivenessFailure.STORE: "nothing has been written for a while",
    LivenessFailure.AUDIT: "the auditor has not looked",
    LivenessFailure.OVERDUE: "somebody who should have been told has not been",
    LivenessFailure.PROBING: "probes start late",
}


def status_line(signs: SelfHealthInputs, *, agencies: int, routes: int, open_incidents: int | None) -> str:
    """Return the line: what is monitored, what is open, and then what is wrong.

    *open_incidents*: `None`: not known yet.
    """
    return "; ".join(
        [
            f"Watching {_count(agencies, 'agency', 'agencies')} by {_count(routes, 'route', 'routes')}",
            "incidents not looked at yet"
            if open_incidents is None
            else f"{_count(open_incidents, 'incident', 'incidents')} open",
            *(["the hub tells people"] if signs.for_hub and not signs.is_unheard else []),
            *_troubles(signs),
        ]
    )


def _troubles(signs: SelfHealthInputs) -> Iterator[str]:
    if signs.monitor_only:
        yield "NOBODY IS TOLD (mode: monitor_only)"
    if signs.for_hub and signs.is_unheard:
        yield "THE HUB DOES NOT HEAR THIS SITE"
    if signs.short_of_sites_since is not None:
        yield "TOO FEW SITES ARE HEARD, NO OUTAGE IS TOLD"
    if signs.ailing_sites:
        yield f"sites not heard, or unable to judge: {', '.join(signs.ailing_sites)}"
    if signs.away is not None:
        since, why = signs.away
        yield f"STORE AWAY since {since:%Y-%m-%d %H:%M} UTC: {why}"
    for ailment, words in _AILMENTS.items():
        if ailment in signs.ailments and not (ailment is LivenessFailure.STORE and signs.away):
            yield words
    if signs.refused_at is not None:
        yield f"configuration refused at {signs.refused_at:%Y-%m-%d %H:%M} UTC, the old one is in force"
    if signs.awaiting_restart:
        yield f"a restart is needed for {', '.join(signs.awaiting_restart)}"
    if signs.deserted:
        yield f"nobody on call: {', '.join(signs.deserted)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}" if number else f"no {many}"
