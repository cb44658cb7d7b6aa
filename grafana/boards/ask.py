"""What several panels ask. All of it is gone with the first scrape that fails: nothing here makes a number of nothing."""

from __future__ import annotations

from typing import Final

#: What every Pantau exports that can be read.
LIVES: Final = "max(pantau_build_info)"

#: Agencies, by the worst that holds of each; what is not measured may be declared. "" is no agency.
DOWN: Final = 'min by (agency) (pantau_mail_up{agency!=""}) == 0 or max by (agency) (pantau_outage_declared) == 1'
DEGRADED: Final = f'max by (agency) (pantau_mail_degraded{{agency!=""}}) == 1 unless on (agency) ({DOWN})'
#: It may fail for a while, or is not probed at this hour.
PLANNED: Final = "max by (agency) (pantau_maintenance) == 1 or max by (agency) (pantau_off_hours) == 1"
#: As the alert PantauMailUnproven has it: runs end, and prove nothing.
UNPROVEN: Final = (
    'max by (agency) (max by (agency, route) (pantau_probe_last_run_timestamp_seconds{agency!=""}) > time() - 1800'
    " unless on (agency, route)"
    " max by (agency, route) (pantau_probe_last_success_timestamp_seconds) > time() - 1800)"
    f" unless on (agency) ({DOWN} or max by (agency) (pantau_mail_degraded) == 1 or {PLANNED})"
)
#: As PantauProbingStopped has it: a route has not been run for as long, or none ever.
SILENT: Final = (
    '(max by (agency) (max by (agency, route) (pantau_probe_last_run_timestamp_seconds{agency!=""}) < time() - 1800)'
    ' or max by (agency) (pantau_incidents_open{agency!=""})'
    " unless on (agency) max by (agency) (pantau_probe_last_run_timestamp_seconds))"
    f" unless on (agency) ({PLANNED})"
)

#: Something that is due is probed, and nothing has been heard of any mail for half an hour.
_DEAF: Final = (
    f'(max by (agency) (pantau_incidents_open{{agency!=""}}) unless on (agency) ({PLANNED}))'
    " unless on () (max(pantau_probe_last_success_timestamp_seconds) > time() - 1800"
    " or min(pantau_mail_up) == 0 or max(pantau_mail_degraded) == 1)"
)
#: 0 while a Pantau tells of mail, and hears it arrive.
NOBODY: Final = f"0 * count(pantau_mail_up) unless on () ({_DEAF})"


def number_of(agencies: str) -> str:
    """Return the expression of how many *agencies* there are: 0 is said only by a Pantau that hears mail arrive."""
    return f"count({agencies}) or {NOBODY}"


def at_least_zero(expr: str) -> str:
    """Return *expr*, or 0 while there is a Pantau to say so."""
    return f"{expr} or 0 * {LIVES}"


def or_none(expr: str, label: str) -> str:
    """Return *expr*, or a 0 that is called none while there is a Pantau to say that it found nothing."""
    return f'{expr} or on () label_replace(0 * {LIVES}, "{label}", "none · tiada", "", "")'


def first(expr: str) -> str:
    """Return the ten greatest of *expr* above 0, or none; what belongs to no agency is the operations centre's."""
    return or_none(f'label_replace(topk(10, {expr} > 0), "agency", "NOC", "agency", "")', "agency")
