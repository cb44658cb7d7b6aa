"""Future problems: gaps in rotas, and numbers without a confirmed drill for too long.

Both follow from the files, the stored overrides and drill results, and the date. Therefore only `pantau check` reports
them, as warnings: a service that refuses to start because of next Saturday would do more harm than the gap.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache, partial
from zoneinfo import ZoneInfo

from alerts.model.oncall import Rota, gaps
from monitor.config.agency.contact import ContactSettings
from monitor.config.agency.probing import MaintenanceSettings
from monitor.config.fields.window import aware
from monitor.config.files.duration import format_duration
from monitor.config.files.findings import Findings
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings
from monitor.config.validation.reachability import rotas_with_fallback
from monitor.model.lazy_text import said
from monitor.store.admin.duty import DutyRecords

#: No maintenance of a server is planned this far ahead.
_NEVER = timedelta(days=2 * 366)


def check_outlook(
    settings: Settings,
    agencies: Mapping[str, Agency],
    findings: Mapping[str, Findings],
    now: datetime,
    records: Callable[[Settings], DutyRecords],
) -> None:
    """Record gaps in the next seven days and unverified numbers.

    *findings* by agency; "": of the settings. *records* returns the stored overrides and drill results; it is called
    only if needed.
    """
    shared = settings.shared()
    look = _Outlook(settings, rotas_with_fallback(settings, agencies), now, records)
    look.at_rotas(shared.rotas, findings[""]["rotas"])
    look.at_numbers(settings.contacts, findings[""]["contacts"])
    look.at_numbers(settings.noc.contacts, findings[""]["noc", "contacts"])
    _check_windows(settings.maintenance, settings.time_zone, findings[""]["maintenance"], now)
    for code, agency in agencies.items():
        look.at_rotas(agency.build_rotas(shared), findings[code]["rotas"])
        look.at_numbers(agency.contacts, findings[code]["contacts"])
        zone = agency.time_zone or settings.time_zone
        _check_windows(agency.maintenance, zone, findings[code]["maintenance"], now)


class _Outlook:
    """Evaluation of rotas and numbers as in the running service: with overrides, fallbacks and drill results."""

    def __init__(
        self, settings: Settings, covered: Collection[str], now: datetime, records: Callable[[Settings], DutyRecords]
    ) -> None:
        self._zone = settings.time_zone
        self._day = now.astimezone(settings.time_zone).date()
        self._within = settings.reverify_after
        #: Names of rotas with a fallback, which is notified if nobody is on call.
        self._covered = covered
        self._now = now
        self._records = cache(partial(records, settings))

    def at_rotas(self, rotas: Mapping[str, Rota], findings: Findings) -> None:
        """Record times at which nobody is on call and no fallback is notified."""
        for key, rota in rotas.items():
            if rota.name not in self._covered and gaps(rota, (), self._now):
                self._note_gap(rota, findings[key])

    def _note_gap(self, rota: Rota, findings: Findings) -> None:
        records = self._records()
        if not (found := gaps(rota, records.overrides, self._now)):
            return
        first, *more = found
        message = said(
            "nobody is on call from {begins} to {ends}{others}{unread}",
            begins=_at(first.starts_at, rota.zone),
            ends=_at(first.ends_at, rota.zone),
            others=said(", and {count} more in the next 7 days", count=len(more)) if more else "",
            unread=said("; overrides are not counted: {why}", why=records.unread) if records.unread else "",
        )
        findings.warning(message, "a layer for those days, or a `pantau override add` each time")

    def at_numbers(self, contacts: Mapping[str, ContactSettings], findings: Findings) -> None:
        """Record numbers without a confirmation that they reach their owner."""
        for key, contact in contacts.items():
            if contact.addresses is None:
                self._at_number(contact.verified, contact.numbers, findings[key])
            for number, address in enumerate(contact.addresses or ()):
                self._at_number(address.verified, address.numbers, findings[key, "addresses", number])

    def _at_number(self, written: date | None, numbers: Collection[str], findings: Findings) -> None:
        if written is not None and written <= self._day <= written + self._within:
            return
        instead = said("verified: {day}, once somebody has answered there", day=self._day)
        if written is not None and written > self._day:
            findings["verified"].warning(said("{verified} is still to come", verified=written), instead)
            return
        verified = max((day for day in (written, self._drilled(numbers)) if day), default=None)
        if verified is None:
            findings.warning("is not verified: nobody is known to have answered there", instead)
        elif self._day - verified > self._within:
            message = said(
                "somebody last answered there on {verified}, longer ago than reverify_after ({within})",
                verified=verified,
                within=format_duration(self._within),
            )
            findings["verified"].warning(message, instead)

    def _drilled(self, numbers: Collection[str]) -> date | None:
        """Return the date of the oldest drill confirmation among *numbers*; `None` if one of them has none."""
        answered = self._records().answered
        days = [answered[number].astimezone(self._zone).date() for number in numbers if number in answered]
        return min(days) if days and len(days) == len(numbers) else None


def _check_windows(windows: Sequence[MaintenanceSettings], zone: ZoneInfo, findings: Findings, now: datetime) -> None:
    for number, window in enumerate(windows):
        if window.begins is not None and aware(window.begins, zone) - now > _NEVER:
            findings[number, "from"].warning(said("begins only in {year}", year=window.begins.year), "the right year")


def _at(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    return said("{weekday} {moment}", weekday=said(f"{local:%a}"), moment=f"{local:%Y-%m-%d %H:%M}")
