"""What will be wrong if nothing is done: duties that nobody has, numbers where nobody has answered for long.

Both follow from the files and the day on which they are looked at, so only `pantau check` says them. A service that
refused to start because of next Saturday would be worse than the gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from alerts.model.oncall import Rota, gaps
from monitor.config.agency.contact import ContactSettings
from monitor.config.agency.probing import MaintenanceSettings
from monitor.config.fields.window import aware
from monitor.config.files.duration import format_duration
from monitor.config.files.findings import Findings
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings
from monitor.model.said import said

#: Nobody plans work on a server for so far ahead.
_NEVER = timedelta(days=2 * 366)


def check_outlook(
    settings: Settings, agencies: Mapping[str, Agency], findings: Mapping[str, Findings], now: datetime
) -> None:
    """Note gaps of the next seven days and numbers that are not verified. *findings* by agency; "": of the settings."""
    shared = settings.shared()
    _check_gaps(shared.rotas, findings[""], now)
    day, within = now.astimezone(settings.time_zone).date(), settings.verify_within
    _check_numbers(settings.contacts, findings[""]["contacts"], day, within)
    _check_numbers(settings.noc.contacts, findings[""]["noc", "contacts"], day, within)
    _check_windows(settings.maintenance, settings.time_zone, findings[""]["maintenance"], now)
    for code, agency in agencies.items():
        _check_gaps(agency.build_rotas(shared), findings[code], now)
        _check_numbers(agency.contacts, findings[code]["contacts"], day, within)
        zone = agency.time_zone or settings.time_zone
        _check_windows(agency.maintenance, zone, findings[code]["maintenance"], now)


def _check_gaps(rotas: Mapping[str, Rota], findings: Findings, now: datetime) -> None:
    for key, rota in rotas.items():
        # Overrides are not in the files: `pantau oncall` and the metric count them.
        if found := gaps(rota, (), now):
            first, *more = found
            others = said(", and {count} more in the next 7 days", count=len(more)) if more else ""
            message = said(
                "nobody is on call from {begins} to {ends}{others}",
                begins=_at(first.begins, rota.zone),
                ends=_at(first.ends, rota.zone),
                others=others,
            )
            findings["rotas", key].error(message, "a layer for those days, or a `pantau override add` each time")


def _check_numbers(contacts: Mapping[str, ContactSettings], findings: Findings, day: date, within: timedelta) -> None:
    for key, contact in contacts.items():
        if contact.addresses is None:
            _check_number(contact.verified, findings[key], day, within)
        for number, address in enumerate(contact.addresses or ()):
            _check_number(address.verified, findings[key, "addresses", number], day, within)


def _check_number(verified: date | None, findings: Findings, day: date, within: timedelta) -> None:
    instead = said("verified: {day}, once somebody has answered there", day=day)
    if verified is None:
        findings.warning("is not verified: nobody is known to have answered there", instead)
    elif verified > day:
        findings["verified"].warning(said("{verified} is still to come", verified=verified), instead)
    elif day - verified > within:
        message = said(
            "somebody last answered there on {verified}, longer ago than verify_within ({within})",
            verified=verified,
            within=format_duration(within),
        )
        findings["verified"].warning(message, instead)


def _check_windows(windows: Sequence[MaintenanceSettings], zone: ZoneInfo, findings: Findings, now: datetime) -> None:
    for number, window in enumerate(windows):
        if window.begins is not None and aware(window.begins, zone) - now > _NEVER:
            findings[number, "from"].warning(said("begins only in {year}", year=window.begins.year), "the right year")


def _at(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    return said("{weekday} {moment}", weekday=said(f"{local:%a}"), moment=f"{local:%Y-%m-%d %H:%M}")
