"""PromQL expressions that several panels share.

None returns a value without series: after a failed scrape every panel shows no data.
"""

from __future__ import annotations

from typing import Final

#: Exported by every Pantau process that can be scraped.
LIVES: Final = "max(pantau_build_info)"

_SEEN_DOWN: Final = 'min by (agency) (pantau_mail_up{agency!=""}) == 0'
#: Agencies that are down as measured: by the quorum of the sites where a hub combines several, else by any site.
MEASURED_DOWN: Final = (
    f"{_SEEN_DOWN} unless on (agency) max by (agency) (pantau_quorum_outage) == 0"
    " or max by (agency) (pantau_quorum_outage) == 1"
)
#: Agencies that are down, measured or declared by a person. The label `agency` is "" for metrics of no agency.
DOWN: Final = f"{MEASURED_DOWN} or max by (agency) (pantau_outage_declared) == 1"
#: Degraded agencies, including those that fewer sites than the quorum measure as down.
DEGRADED: Final = (
    f'(max by (agency) (pantau_mail_degraded{{agency!=""}}) == 1 or {_SEEN_DOWN}) unless on (agency) ({DOWN})'
)
#: Agencies in maintenance or outside their probing hours.
PLANNED: Final = "max by (agency) (pantau_maintenance) == 1 or max by (agency) (pantau_off_hours) == 1"
#: Agencies with a route whose run should have ended by now.
_OVERDUE: Final = 'max by (agency) (pantau_probe_overdue_timestamp_seconds{agency!=""}) < time()'
#: Agencies that are not probed, as in the alert PantauProbingStopped: a run is overdue, or there has been none.
SILENT: Final = (
    f'({_OVERDUE} or count by (agency) (pantau_incidents_open{{agency!=""}})'
    " unless on (agency) max by (agency) (pantau_probe_overdue_timestamp_seconds))"
    f" unless on (agency) ({PLANNED})"
)
#: Agencies without a result yet, or without one in a direction in which runs have ended.
_NEVER_PROVEN: Final = (
    'count by (agency) (pantau_incidents_open{agency!=""}) unless on (agency) pantau_mail_up'
    " or count by (agency) (label_replace("
    'pantau_probe_run_timestamp_seconds{agency!=""}, "direction", "$1", "route", "[^/]+/([^/]+).*")'
    " unless on (agency, direction) pantau_mail_up)"
)
#: Runs end and prove nothing, as the alert PantauMailUnknown has it; or nothing has been proven yet, which it waits
#: for.
UNPROVEN: Final = (
    f'(max by (agency) (pantau_probe_success_overdue_timestamp_seconds{{agency!=""}}) < time() or {_NEVER_PROVEN})'
    f" unless on (agency) ({_OVERDUE} or {DOWN} or max by (agency) (pantau_mail_degraded) == 1 or {PLANNED})"
)

_DUE: Final = f'count by (agency) (pantau_incidents_open{{agency!=""}}) unless on (agency) ({PLANNED})'
#: True if a result is overdue, and no message of any agency has arrived for ten minutes, or none since the start.
_DEAF: Final = (
    f"({UNPROVEN} or {SILENT}) unless on () max(pantau_probe_success_timestamp_seconds) > time() - 600"
    f" or {_DUE} unless on () (max(pantau_probe_success_timestamp_seconds) or min(pantau_mail_up) == 0)"
)
#: 0 while a Pantau tells of mail, and hears it arrive; and every one can be read: of whom only another tells, nobody
#: knows.
NOBODY: Final = f'0 * count(pantau_mail_up) unless on () ({_DEAF}) unless on () min(up{{job="pantau"}}) == 0'


def number_of(agencies: str) -> str:
    """Return the expression of how many *agencies* there are: 0 is said only by a Pantau that hears mail arrive."""
    return f"count({agencies}) or {NOBODY}"


def number_of_ours(faults: str) -> str:
    """Return the expression of how many *faults* of ours there are, which only runs find: 0 as for agencies."""
    return f"{faults} > 0 or {NOBODY}"


def none_counted(expr: str) -> str:
    """Return *expr* of who is on call, or 0 once that was counted: before, while the store is away, nobody knows."""
    return f"{expr} or 0 * max(pantau_contact_numbers_unverified)"


def at_least_zero(expr: str) -> str:
    """Return *expr*, or 0 while there is a Pantau to say so."""
    return f"{expr} or 0 * {LIVES}"


def nobody_is_told(by: str = "") -> str:
    """Return 1 while nobody is told of what is found out: people want it so, or it cannot be written."""
    return f"clamp_max(max {by}(pantau_monitor_only) + 1 - max {by}(pantau_store_up), 1)"


def none_if_written(expr: str) -> str:
    """Return *expr*; it is 0 only while that is written down: what comes while the store is away is not known to anybody."""
    return f"{expr} > 0 or {expr} unless on () max(pantau_store_up) == 0"


def or_none(expr: str, label: str) -> str:
    """Return *expr*, or a 0 that is called none while there is a Pantau to say that it found nothing."""
    return f'{expr} or on () label_replace(0 * {LIVES}, "{label}", "none · tiada", "", "")'


def first(expr: str) -> str:
    """Return the ten greatest of *expr* above 0, or none; what belongs to no agency is the operations centre's."""
    return or_none(f'label_replace(topk(10, {expr} > 0), "agency", "NOC", "agency", "")', "agency")
