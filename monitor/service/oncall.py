"""On-call service: shows rotas, adds and removes overrides, and exports metrics of gaps and unverified numbers.

A *rota* states who is on call when. An *override* replaces a person on a rota for a time. A *gap* is a period with
nobody on call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import NoReturn
from zoneinfo import ZoneInfo

import structlog

from alerts.hours.wallclock import first_instant, last_instant
from alerts.model.contact import Address, Contact
from alerts.model.oncall import (
    GAP_HORIZON,
    Gap,
    OnCallPeriod,
    Override,
    Rota,
    affected_contacts,
    gaps,
    next_handover,
    on_call,
    on_call_periods,
)
from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.access.role import PANTAU_ITSELF, AgencyScope
from monitor.config.loading import Configuration
from monitor.config.model.registry import Agency
from monitor.config.model.settings import SharedSettings
from monitor.metrics import NO_AGENCY, Metrics
from monitor.runtime.cooperative import yielding
from monitor.runtime.repeat import run_periodically
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.per_configuration import PerConfiguration
from monitor.store.admin.duty import DutyRecords
from monitor.store.engine.unit_of_work import SqlStore

log = structlog.get_logger()

#: Interval of the metrics, which change as gaps approach and verifications of telephone numbers expire. A new or
#: removed override updates the metrics at once.
_METRICS_INTERVAL = timedelta(minutes=1)
#: Typed times more than this many years from now are rejected: rotas and public holidays are not known so far ahead,
#: and Python's dates end with the year 9999.
_MAX_YEARS = 10
#: Longest override. Absences are shorter, and a mistyped year exceeds it.
MAX_OVERRIDE = timedelta(days=92)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaView:
    """A rota at one moment."""

    #: Name of the rota: "CODE/key" in an agency's file, "key" in the settings.
    rota: str
    #: The moment that the view shows.
    at: datetime
    #: The contact on call; `None`: nobody is on call.
    person: Contact | None
    #: Author of the override by which this person is on call; "": there is no override.
    overridden_by: str
    #: When the next handover ends this person's duty; `None`: no handover within three months.
    until: datetime | None
    #: The contact on call from `until` on; `None`: nobody.
    next: Contact | None
    #: Periods with nobody on call in the seven days from `at`.
    gaps: Sequence[Gap]


def owner_of(rota: str) -> str:
    """Return the code of the agency whose file contains a rota; `PANTAU_ITSELF` for a rota in the settings."""
    code, slash, _ = rota.rpartition("/")
    return code if slash else PANTAU_ITSELF


#: Author, in the audit log, of the removal of an override whose contact was removed from the configuration.
_CONFIGURATION_AUTHOR = "configuration"


class OnCall:
    """Queries and operations on the current rotas and their overrides."""

    def __init__(
        self, *, store: SqlStore, metrics: Metrics, clock: Clock, configuration: Callable[[], Configuration]
    ) -> None:
        """Take the current configuration from *configuration*."""
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._configuration = configuration
        #: Returns the roster of the current configuration; builds it at the first call.
        self._roster = PerConfiguration(configuration, _RosterBuilder().build)
        #: The roster (rotas and contacts of one configuration) to which `adapt_overrides` last adapted overrides.
        self._adapted_roster: _Roster | None = None
        #: Names of the rotas with nobody on call at the last export of metrics; `None`: not exported yet.
        self.empty_rotas: Sequence[str] | None = None

    def rotas(self, agency: str) -> Sequence[str]:
        """Return the names of the rotas that an agency's escalation uses; for "", of all rotas."""
        return [rota.name for rota in self._select_rotas(agency)]

    def visible_rotas(self, scope: AgencyScope) -> Sequence[str]:
        """Return the names of the rotas visible in a scope, sorted.

        The unrestricted scope contains all rotas. Any other contains the rotas that its agencies' escalations use.
        """
        if scope.is_unrestricted:
            return sorted(self.rotas(""))
        configured_agencies = self._configuration().registry.agencies
        return sorted({name for code in scope.agencies if code in configured_agencies for name in self.rotas(code)})

    def candidates(self, rota: str) -> Sequence[Contact]:
        """Return the contacts that may be on call for a rota and have a telephone number. Raise `NotFoundError`."""
        found_rota = self._roster().rota_by_name.get(rota)
        if found_rota is None:
            raise NotFoundError.from_text("no_rota", rota=rota)
        return [contact for contact in self._contacts_for(found_rota).values() if contact.addresses]

    async def on_call_periods(self, rota: str, first: datetime, last: datetime) -> Sequence[OnCallPeriod]:
        """Return the on-call periods of a rota between *first* and *last*. Raise `NotFoundError`."""
        found_rota = self._roster().rota_by_name.get(rota)
        if found_rota is None:
            raise NotFoundError.from_text("no_rota", rota=rota)
        async with self._store.reading() as uow:
            overrides = await uow.oncall.list_overrides(first, [rota])
        return on_call_periods(found_rota, overrides, first, last)

    async def show(self, agency: str, at: str, *, only: Collection[str] | None = None) -> Sequence[RotaView]:
        """Return the rotas that an agency's escalation uses; for "", all rotas. *at*: a time as typed; "": now.

        *only*: the names of the rotas to return, because each rota takes some milliseconds; `None`: all of them.
        """
        moment = self._parse_time(at, first_instant) if at else self._clock.now()
        rotas = [rota for rota in self._select_rotas(agency) if only is None or rota.name in only]
        zone = self._configuration().settings.time_zone
        async with self._store.reading() as uow:
            overrides = await uow.oncall.list_overrides(min(moment, self._clock.now()))
            confirmations = await uow.oncall.last_confirmations()
        with_verified_dates = partial(_with_verified_dates, confirmations=confirmations, zone=zone)
        return [_view_rota(rota, overrides, moment, with_verified_dates) async for rota in yielding(rotas)]

    async def overrides(self) -> Sequence[Override]:
        """Return the overrides that have not ended."""
        return (await self.records()).overrides

    async def records(self) -> DutyRecords:
        """Return the overrides that have not ended, and when staff last confirmed a drill, by telephone number."""
        async with self._store.reading() as uow:
            overrides = await uow.oncall.list_overrides(self._clock.now())
            return DutyRecords(overrides=overrides, answered=await uow.oncall.last_confirmations())

    async def add(self, *, rota: str, person: str, begins: str, ends: str, by: str) -> Override:
        """Add an override. *begins* ("": now) and *ends* as typed. Raise `OperationRejectedError`."""
        found_rota = self._find_rota(rota)
        contacts = self._contacts_for(found_rota)
        contact = contacts.get(person)
        if contact is None:
            raise OperationRejectedError.from_text(
                "no_person", rota=found_rota.name, person=person, known=", ".join(contacts) or "none"
            )
        if not contact.addresses:
            raise OperationRejectedError.from_text("no_number", person=person)
        now = self._clock.now()
        # If a local time occurs twice, take the first occurrence as the start and the last occurrence as the end: an
        # overlap is better than a gap.
        starts_at = self._parse_time(begins, first_instant) if begins else now
        ends_at = self._parse_time(ends, last_instant)
        if not max(starts_at, now) < ends_at <= starts_at + MAX_OVERRIDE:
            days = MAX_OVERRIDE.days
            raise OperationRejectedError.from_text("override_span", days=days)
        async with self._store.transaction() as uow:
            override = await uow.oncall.add(
                rota=found_rota.name, contact=contact, starts_at=starts_at, ends_at=ends_at, by=by, now=now
            )
            await uow.add_audit_entry(_audit_entry(override, "override made", by, now))
        log.info("override created", rota=override.rota, person=person, by=by)
        await self._export_metrics_at_once()
        return override

    async def remove(self, override_id: int, by: str) -> Override:
        """Remove an override. Raise `NotFoundError`."""
        now = self._clock.now()
        async with self._store.transaction() as uow:
            removed = await uow.oncall.remove(override_id, by, now)
            if removed is None:
                raise NotFoundError.from_text("no_override", override=override_id)
            await uow.add_audit_entry(_audit_entry(removed, "override taken back", by, now))
        log.info("override removed", rota=removed.rota, person=removed.contact.key, by=by)
        await self._export_metrics_at_once()
        return removed

    async def adapt_overrides(self) -> bool:
        """Adapt overrides to the current configuration; return whether any was changed.

        An override gets the current addresses of its contact. It is removed if its contact is in the previous
        configuration of this process, but not in the current one. If the contact is in neither, it may be in the files
        of another process, and the override stays.
        """
        previous, self._adapted_roster = self._adapted_roster, await asyncio.to_thread(self._roster)
        if previous is self._adapted_roster:
            return False
        changed = False
        try:
            async with self._store.transaction() as uow:
                now = self._clock.now()
                for override in await uow.oncall.list_overrides(now):
                    contact = self._adapted_roster.find_contact(override)
                    if contact is not None and contact.addresses:
                        if contact != override.contact:
                            await uow.oncall.update_contact(override.id, contact)
                            changed = True
                    elif previous is not None and previous.find_contact(override) is not None:
                        await uow.oncall.remove(override.id, _CONFIGURATION_AUTHOR, now)
                        await uow.add_audit_entry(
                            _audit_entry(override, "override taken back", _CONFIGURATION_AUTHOR, now)
                        )
                        log.warning("override removed: its person left the configuration", rota=override.rota)
                        changed = True
        except StoreUnavailable:
            # The next call repeats the adaptation.
            self._adapted_roster = previous
            return False
        return changed

    async def contacts_affected_by(self, override: Override) -> Sequence[Contact]:
        """Return the contacts whose on-call periods an override changes: first the substitute, then the others.

        Pantau does not notify them; the author of the override does.
        """
        found_rota = self._roster().rota_by_name.get(override.rota)
        if found_rota is None:
            return [override.contact]
        now = self._clock.now()
        try:
            async with self._store.reading() as uow:
                overrides = await uow.oncall.list_overrides(now, [found_rota.name])
        except StoreUnavailable:
            # The override is committed, and must not appear to have failed.
            return [override.contact]
        return affected_contacts(found_rota, override, overrides, now)

    async def keep_exporting_metrics(self) -> NoReturn:
        """Export the metrics once a minute, until cancelled."""
        await run_periodically("on-call count", self._export_metrics, _METRICS_INTERVAL)

    async def _export_metrics_at_once(self) -> None:
        try:
            await self._export_metrics()
        # Catch all errors: the override is committed, and must not appear to have failed.
        except Exception:
            log.exception("on-call count failed; retrying within a minute")

    async def _export_metrics(self) -> None:
        now = self._clock.now()
        async with self._store.reading() as uow:
            overrides, confirmations = await uow.oncall.list_overrides(now), await uow.oncall.last_confirmations()
        settings = self._configuration().settings
        # Build the roster in a thread: the first time, thousands of contacts take a tenth of a second. Later, it reuses
        # unchanged agencies.
        roster = await asyncio.to_thread(self._roster)
        day = now.astimezone(settings.time_zone).date()
        empty_rotas: list[str] = []
        # `yielding` lets other tasks run in between: hundreds of agencies must not delay the response of a gateway.
        async for agency, rotas in yielding(roster.rotas.items()):
            agency_empty_rotas = [rota.name for rota in rotas if on_call(rota, overrides, now) is None]
            empty_rotas += agency_empty_rotas
            gap_lengths = {_key_in_file(rota.name): _total_duration(gaps(rota, overrides, now)) for rota in rotas}
            staff = [_with_verified_dates(each, confirmations, settings.time_zone) for each in roster.staff[agency]]
            numbers = {address.number: address for contact in staff for address in contact.addresses}
            # A number is unverified if neither the configuration nor a drill has confirmed it lately.
            unverified = sum(not a.is_verified(settings.reverify_after, day) for a in numbers.values())
            self._metrics.on_call.export(
                agency, gap_lengths, unverified, empty_rotas={_key_in_file(name) for name in agency_empty_rotas}
            )
        self.empty_rotas = tuple(empty_rotas)

    # -- configuration -------------------------------------------------------------------------------------------

    def _select_rotas(self, agency: str) -> Sequence[Rota]:
        return self._rotas_used_by(agency) if agency else list(self._roster().rota_by_name.values())

    def _rotas_used_by(self, agency: str) -> Sequence[Rota]:
        """Return all rotas in an agency's file, and the rotas in the settings that its escalation uses."""
        roster, agencies = self._roster(), self._configuration().registry.agencies
        found_agency = agencies.get(agency.upper())
        if found_agency is None:
            raise OperationRejectedError.from_text("no_agency_among", agency=agency, known=", ".join(agencies))
        used_keys = {key for step in found_agency.escalation.steps for key in step.rotas}
        return [
            *roster.rotas[found_agency.agency],
            *(rota for rota in roster.rotas[NO_AGENCY] if rota.name in used_keys),
        ]

    def _find_rota(self, name: str) -> Rota:
        """Return a rota by its name, whatever the case."""
        rotas = self._roster().rota_by_name
        for rota in rotas.values():
            if rota.name.casefold() == name.casefold():
                return rota
        raise OperationRejectedError.from_text("no_rota_among", rota=name, known=", ".join(rotas) or "none")

    def _contacts_for(self, rota: Rota) -> Mapping[str, Contact]:
        return self._roster().contacts_for(rota.name)

    def _parse_time(self, text: str, resolve_local_time: Callable[[datetime, ZoneInfo], datetime]) -> datetime:
        return parse_time(text, self._clock.now(), self._configuration().settings.time_zone, resolve_local_time)


def parse_time(
    text: str,
    now: datetime,
    zone: ZoneInfo,
    resolve_local_time: Callable[[datetime, ZoneInfo], datetime] = first_instant,
) -> datetime:
    """Return a typed time. Raise `OperationRejectedError`.

    *resolve_local_time* converts a time without an offset, which is local time in *zone*.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise OperationRejectedError.from_text("no_moment", text=text) from None
    if abs(at.year - now.year) > _MAX_YEARS:
        raise OperationRejectedError.from_text("too_far", text=text)
    return at if at.tzinfo else resolve_local_time(at, zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Roster:
    """Rotas and contacts of one configuration."""

    #: By code of the agency whose file contains the rotas; `NO_AGENCY`: rotas in the settings.
    rotas: Mapping[str, Sequence[Rota]]
    #: Contacts that may be notified, by agency code; `NO_AGENCY`: those in the settings, including the NOC's.
    staff: Mapping[str, Sequence[Contact]]
    #: Contacts in the settings that may be on call for any rota; without the NOC's.
    shared_contacts: Sequence[Contact]

    @property
    def rota_by_name(self) -> Mapping[str, Rota]:
        """The rotas by their names."""
        return {rota.name: rota for rotas in self.rotas.values() for rota in rotas}

    def contacts_for(self, rota: str) -> Mapping[str, Contact]:
        """Return the contacts that may be on call for a rota, by key."""
        # Only a rota of an agency contains a slash.
        agency, slash, _ = rota.partition("/")
        own = self.staff.get(agency, ()) if slash else ()
        return {person.key: person for person in (*self.shared_contacts, *own)}

    def find_contact(self, override: Override) -> Contact | None:
        """Return the contact of an override as configured now; `None`: it is not configured."""
        return self.contacts_for(override.rota).get(override.contact.key)


class _RosterBuilder:
    """Builder of the roster of each configuration. It reuses the rotas and contacts of unchanged agencies."""

    def __init__(self) -> None:
        self._shared_settings: SharedSettings | None = None
        #: By agency code: the agency's configuration, and the rotas and contacts that were built from it.
        self._built: dict[str, tuple[Agency, list[Rota], list[Contact]]] = {}

    def build(self, configuration: Configuration) -> _Roster:
        settings, agencies = configuration.settings, configuration.registry.agencies
        shared = settings.build_shared()
        reusable = self._built if shared == self._shared_settings else {}
        self._shared_settings, self._built = shared, {}
        rotas = {NO_AGENCY: list(shared.rotas.values())}
        staff = {NO_AGENCY: [*shared.contacts.values(), *settings.noc.build_contacts(shared).values()]}
        for code, agency in agencies.items():
            built = reusable.get(code)
            if built is None or built[0] is not agency:
                built = agency, list(agency.build_rotas(shared).values()), list(agency.build_contacts(shared).values())
            self._built[code] = built
            rotas[code], staff[code] = built[1:]
        return _Roster(rotas=rotas, staff=staff, shared_contacts=list(shared.contacts.values()))


def _with_verified_dates(person: Contact, confirmations: Mapping[str, datetime], zone: ZoneInfo) -> Contact:
    """Return *person* with the later verification date of each number: the configured date or that of a drill.

    A drill is a test notification that staff confirm. *confirmations*: the time of the last one, by telephone number.
    """

    def latest_date(address: Address) -> date | None:
        confirmed_at = confirmations.get(address.number)
        days = [day for day in (address.verified, confirmed_at and confirmed_at.astimezone(zone).date()) if day]
        return max(days, default=None)

    return replace(person, addresses=tuple(replace(a, verified=latest_date(a)) for a in person.addresses))


def _view_rota(
    rota: Rota, overrides: Sequence[Override], at: datetime, with_verified_dates: Callable[[Contact], Contact]
) -> RotaView:
    person, handover = on_call(rota, overrides, at), next_handover(rota, overrides, at)
    active_overrides = [o for o in overrides if o.rota == rota.name and o.starts_at <= at < o.ends_at]
    return RotaView(
        rota=rota.name,
        at=at,
        person=with_verified_dates(person) if person else None,
        overridden_by=max(active_overrides, key=lambda o: o.id).by if active_overrides else "",
        until=handover.at if handover else None,
        next=with_verified_dates(handover.to) if handover and handover.to else None,
        gaps=gaps(rota, overrides, at, GAP_HORIZON),
    )


def _key_in_file(rota: str) -> str:
    """Return the key under which a file defines a rota: "key" for the name "CODE/key"."""
    return rota.rpartition("/")[2]


def _total_duration(periods: Sequence[Gap]) -> timedelta:
    return sum((gap.ends_at - gap.starts_at for gap in periods), timedelta(0))


def _audit_entry(override: Override, event: str, by: str, now: datetime) -> AuditEntry:
    """Return the audit entry of adding ("override made") or removing ("override taken back") an override."""
    detail = {
        "rota": override.rota,
        "person": override.contact.key,
        "begins": override.starts_at.isoformat(),
        "ends": override.ends_at.isoformat(),
    }
    return AuditEntry(at=now, actor=by, event=event, detail=detail)
