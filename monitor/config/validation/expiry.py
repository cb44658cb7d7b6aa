"""Checks for problems that come with time: gaps in rotas, and telephone numbers whose verification is too old.

A *rota* is an on-call schedule, in which an *override* replaces a person for a time. A *drill* is a test notification
of staff. The problems depend on the date, on stored overrides and on drill results, not on the files alone. Therefore
only `pantau check` reports them, as warnings: a service that does not start because of a gap next Saturday would do
more harm than the gap.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache, partial
from zoneinfo import ZoneInfo

from alerts.model.oncall import Rota, gaps
from monitor.config.agency.contact import ContactSettings
from monitor.config.agency.probing import MaintenanceSettings
from monitor.config.fields.window import to_utc
from monitor.config.files.duration import format_duration
from monitor.config.files.findings import Findings
from monitor.config.model.registry import Agency
from monitor.config.model.settings import Settings
from monitor.config.validation.reachability import rotas_with_fallback
from monitor.model.translatable import translatable
from monitor.store.admin.duty import DutyRecords

#: Two years. A maintenance window that begins later probably has a wrong year.
_MAX_LEAD_TIME = timedelta(days=2 * 366)


def check_future_problems(
    settings: Settings,
    agencies: Mapping[str, Agency],
    findings: Mapping[str, Findings],
    now: datetime,
    read_duty_records: Callable[[Settings], DutyRecords],
) -> None:
    """Record gaps of rotas in the next seven days, unverified numbers, and maintenance in the distant future.

    *findings*: those of each agency's file by its code, and of the settings file by "". *read_duty_records* returns the
    stored overrides and drill results; it is called only if needed.
    """
    shared = settings.build_shared()
    expiry_check = _ExpiryCheck(settings, rotas_with_fallback(settings, agencies), now, read_duty_records)
    expiry_check.check_rotas(shared.rotas, findings[""]["rotas"])
    expiry_check.check_numbers(settings.contacts, findings[""]["contacts"])
    expiry_check.check_numbers(settings.noc.contacts, findings[""]["noc", "contacts"])
    _check_maintenance_starts(settings.maintenance, settings.time_zone, findings[""]["maintenance"], now)
    for code, agency in agencies.items():
        expiry_check.check_rotas(agency.build_rotas(shared), findings[code]["rotas"])
        expiry_check.check_numbers(agency.contacts, findings[code]["contacts"])
        zone = agency.time_zone or settings.time_zone
        _check_maintenance_starts(agency.maintenance, zone, findings[code]["maintenance"], now)


class _ExpiryCheck:
    """Check of rotas and numbers with the overrides, fallbacks and drill results that the running service uses."""

    def __init__(
        self,
        settings: Settings,
        rotas_with_fallback_names: Collection[str],
        now: datetime,
        read_duty_records: Callable[[Settings], DutyRecords],
    ) -> None:
        self._zone = settings.time_zone
        self._today = now.astimezone(settings.time_zone).date()
        self._reverify_after = settings.reverify_after
        #: Names of rotas with a fallback, which is notified if nobody is on call.
        self._rotas_with_fallback = rotas_with_fallback_names
        self._now = now
        #: Reads the stored records at its first call.
        self._records = cache(partial(read_duty_records, settings))

    def check_rotas(self, rotas: Mapping[str, Rota], findings: Findings) -> None:
        """Record times at which nobody is on call and no fallback is notified."""
        for key, rota in rotas.items():
            # Read the overrides only if there is a gap without them.
            if rota.name not in self._rotas_with_fallback and gaps(rota, (), self._now):
                self._record_gap(rota, findings[key])

    def _record_gap(self, rota: Rota, findings: Findings) -> None:
        records = self._records()
        if not (remaining_gaps := gaps(rota, records.overrides, self._now)):
            return
        first, *further = remaining_gaps
        message = translatable(
            "nobody is on call from {begins} to {ends}{others}{unread}",
            begins=_format_time(first.starts_at, rota.zone),
            ends=_format_time(first.ends_at, rota.zone),
            others=translatable(", and {count} more in the next 7 days", count=len(further)) if further else "",
            unread=translatable("; overrides are not counted: {why}", why=records.unread) if records.unread else "",
        )
        findings.warning(message, "a layer for those days, or a `pantau override add` each time")

    def check_numbers(self, contacts: Mapping[str, ContactSettings], findings: Findings) -> None:
        """Record numbers at which nobody has answered for longer than `reverify_after`."""
        for key, contact in contacts.items():
            # A contact has either numbers or a list of addresses with numbers.
            if contact.addresses is None:
                self._check_number(contact.verified, contact.numbers, findings[key])
            for number, address in enumerate(contact.addresses or ()):
                self._check_number(address.verified, address.numbers, findings[key, "addresses", number])

    def _check_number(self, verified_on: date | None, numbers: Collection[str], findings: Findings) -> None:
        """Record *numbers* of a person that are not verified. *verified_on*: the day `verified` in the file."""
        if verified_on is not None and verified_on <= self._today <= verified_on + self._reverify_after:
            return
        instead = translatable("verified: {day}, once somebody has answered there", day=self._today)
        if verified_on is not None and verified_on > self._today:
            findings["verified"].warning(translatable("{verified} is in the future", verified=verified_on), instead)
            return
        verified = max((day for day in (verified_on, self._last_drill(numbers)) if day), default=None)
        if verified is None:
            findings.warning("is not verified: nobody is known to have answered there", instead)
        elif self._today - verified > self._reverify_after:
            message = translatable(
                "somebody last answered there on {verified}, longer ago than reverify_after ({within})",
                verified=verified,
                within=format_duration(self._reverify_after),
            )
            findings["verified"].warning(message, instead)

    def _last_drill(self, numbers: Collection[str]) -> date | None:
        """Return the earliest of the last days on which each of *numbers* answered a drill; `None` if one never did."""
        answered = self._records().answered
        days = [answered[number].astimezone(self._zone).date() for number in numbers if number in answered]
        return min(days) if days and len(days) == len(numbers) else None


def _check_maintenance_starts(
    windows: Sequence[MaintenanceSettings], zone: ZoneInfo, findings: Findings, now: datetime
) -> None:
    for number, window in enumerate(windows):
        if window.begins is not None and to_utc(window.begins, zone) - now > _MAX_LEAD_TIME:
            findings[number, "from"].warning(
                translatable("begins only in {year}", year=window.begins.year), "the right year"
            )


def _format_time(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    return translatable("{weekday} {moment}", weekday=translatable(f"{local:%a}"), moment=f"{local:%Y-%m-%d %H:%M}")
