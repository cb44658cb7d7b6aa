"""On-call contacts in the running service: display, overrides, and metrics of gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import NoReturn
from zoneinfo import ZoneInfo

import structlog

from alerts.hours.wallclock import first_showing, last_showing
from alerts.model.contact import Address, Contact
from alerts.model.oncall import (
    OUTLOOK,
    Gap,
    OnCallPeriod,
    Override,
    Rota,
    concerned,
    gaps,
    next_handover,
    on_call,
    spells,
)
from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry, StoreUnavailable
from monitor.access.role import OURSELVES, AgencyScope
from monitor.config.loading import Configuration
from monitor.config.model.registry import Agency
from monitor.config.model.settings import SharedSettings
from monitor.metrics import NO_AGENCY, Metrics
from monitor.runtime.cooperative import yielding
from monitor.runtime.repeat import run_periodically
from monitor.service.errors import NotFoundError, OperationRejectedError
from monitor.service.per_configuration import PerConfiguration
from monitor.store.admin.duty import DutyRecords
from monitor.store.engine.ledger import SqlStore

log = structlog.get_logger()

#: Gaps approach and numbers expire with time. An operation is counted at once.
_EVERY = timedelta(minutes=1)
#: Neither rotas nor public holidays are known for longer, and the calendar itself ends.
_FURTHEST_YEARS = 10
#: Longer than any absence, and short enough to expose a mistake in the year.
LONGEST_OVERRIDE = timedelta(days=92)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaView:
    """A rota at one moment."""

    rota: str
    at: datetime
    #: `None`: nobody is on call.
    person: Contact | None
    #: Author of the override by which this person is on call; empty without one.
    overridden_by: str
    #: When that changes; `None`: not within three months.
    until: datetime | None
    #: The next contact on call; `None`: nobody.
    next: Contact | None
    #: In the seven days from that moment.
    gaps: Sequence[Gap]


def owner_of(rota: str) -> str:
    """Return the code of the agency in whose file a rota is; `OURSELVES` for a shared one."""
    code, slash, _ = rota.rpartition("/")
    return code if slash else OURSELVES


#: Author of the removal of an override whose contact is in no file any more.
_CONFIGURATION = "configuration"


class OnCall:
    """The current rotas and their overrides."""

    def __init__(
        self, *, store: SqlStore, metrics: Metrics, clock: Clock, configuration: Callable[[], Configuration]
    ) -> None:
        """Take the current configuration from *configuration*."""
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._configuration = configuration
        self._roster = PerConfiguration(configuration, _DutyRosters().make)
        #: The roster that overrides were last adapted to.
        self._followed: _Roster | None = None
        #: Rotas without a contact on call at the last count; `None`: not counted yet.
        self.deserted: Sequence[str] | None = None

    def rotas(self, agency: str) -> Sequence[str]:
        """Return the names of the rotas that an agency's escalation names; of "", all."""
        return [rota.name for rota in self._shown(agency)]

    def visible(self, scope: AgencyScope) -> Sequence[str]:
        """Return the names of the rotas visible in a scope, sorted.

        The scope of everything includes all and our own; another one, the rotas that its agencies' escalations name,
        including shared ones.
        """
        if scope.everything:
            return sorted(self.rotas(""))
        known = self._configuration().registry.agencies
        return sorted({name for code in scope.agencies if code in known for name in self.rotas(code)})

    def candidates(self, rota: str) -> Sequence[Contact]:
        """Return the contacts that may take over a rota: known to it and reachable. Raise `NotFoundError`."""
        named = self._roster().named.get(rota)
        if named is None:
            raise NotFoundError.said("no_rota", rota=rota)
        return [person for person in self._people(named).values() if person.addresses]

    async def spells(self, rota: str, first: datetime, last: datetime) -> Sequence[OnCallPeriod]:
        """Return the on-call periods of a rota between two moments. Raise `NotFoundError`."""
        named = self._roster().named.get(rota)
        if named is None:
            raise NotFoundError.said("no_rota", rota=rota)
        async with self._store.reading() as ledger:
            overrides = await ledger.duty.standing(first, [rota])
        return spells(named, overrides, first, last)

    async def show(self, agency: str, at: str, *, only: Collection[str] | None = None) -> Sequence[RotaView]:
        """Return the rotas that an agency's escalation names; of "", all. *at*: a moment as typed, or "".

        *only*: those of them with these names. Looking three months ahead takes some milliseconds for each.
        """
        moment = self._moment(at, first_showing) if at else self._clock.now()
        rotas = [rota for rota in self._shown(agency) if only is None or rota.name in only]
        zone = self._configuration().settings.time_zone
        async with self._store.reading() as ledger:
            overrides = await ledger.duty.standing(min(moment, self._clock.now()))
            answered = await ledger.duty.answered()
        known = partial(_verified, answered=answered, zone=zone)
        return [_view(rota, overrides, moment, known) async for rota in yielding(rotas)]

    async def overrides(self) -> Sequence[Override]:
        """Return the overrides that are not over."""
        return (await self.records()).overrides

    async def records(self) -> DutyRecords:
        """Return the overrides that are not over, and the numbers that drills have confirmed."""
        async with self._store.reading() as ledger:
            standing = await ledger.duty.standing(self._clock.now())
            return DutyRecords(overrides=standing, answered=await ledger.duty.answered())

    async def add(self, *, rota: str, person: str, begins: str, ends: str, by: str) -> Override:
        """Add an override. *begins* ("": now) and *ends* as typed. Raise `OperationRejectedError`."""
        named = self._named(rota)
        people = self._people(named)
        contact = people.get(person)
        if contact is None:
            raise OperationRejectedError.said(
                "no_person", rota=named.name, person=person, known=", ".join(people) or "none"
            )
        if not contact.addresses:
            raise OperationRejectedError.said("no_number", person=person)
        now = self._clock.now()
        # An hour that the clock shows twice is included completely: an overlap is better than a gap.
        first = self._moment(begins, first_showing) if begins else now
        last = self._moment(ends, last_showing)
        if not max(first, now) < last <= first + LONGEST_OVERRIDE:
            days = LONGEST_OVERRIDE.days
            raise OperationRejectedError.said("override_span", days=days)
        async with self._store.transaction() as ledger:
            made = await ledger.duty.add(rota=named.name, contact=contact, begins=first, ends=last, by=by, now=now)
            await ledger.journal(_entry(made, "override made", by, now))
        log.info("override created", rota=made.rota, person=person, by=by)
        await self._recount()
        return made

    async def remove(self, override_id: int, by: str) -> Override:
        """Remove an override. Raise `NotFoundError`."""
        now = self._clock.now()
        async with self._store.transaction() as ledger:
            gone = await ledger.duty.remove(override_id, by, now)
            if gone is None:
                raise NotFoundError.said("no_override", override=override_id)
            await ledger.journal(_entry(gone, "override taken back", by, now))
        log.info("override removed", rota=gone.rota, person=gone.contact.key, by=by)
        await self._recount()
        return gone

    async def follow(self) -> bool:
        """Adapt overrides to edited contacts; return whether one changed.

        A new number is applied. The override of a contact that was removed since this process began is removed; a
        contact unknown to this process may be in the files of another one.
        """
        before, self._followed = self._followed, await asyncio.to_thread(self._roster)
        if before is self._followed:
            return False
        changed = False
        try:
            async with self._store.transaction() as ledger:
                now = self._clock.now()
                for override in await ledger.duty.standing(now):
                    contact = self._followed.person(override)
                    if contact is not None and contact.addresses:
                        if contact != override.contact:
                            await ledger.duty.update_contact(override.id, contact)
                            changed = True
                    elif before is not None and before.person(override) is not None:
                        await ledger.duty.remove(override.id, _CONFIGURATION, now)
                        await ledger.journal(_entry(override, "override taken back", _CONFIGURATION, now))
                        log.warning("override removed: its person left the configuration", rota=override.rota)
                        changed = True
        except StoreUnavailable:
            self._followed = before
            return False
        return changed

    async def concerned(self, override: Override) -> Sequence[Contact]:
        """Return the contacts whose duty an override changes: first the substitute, then the others.

        No notification is sent to them: the author of the override informs them.
        """
        named = self._roster().named.get(override.rota)
        if named is None:
            return [override.contact]
        now = self._clock.now()
        try:
            async with self._store.reading() as ledger:
                standing = await ledger.duty.standing(now, [named.name])
        except StoreUnavailable:
            # The change is committed, and must not appear to have failed.
            return [override.contact]
        return concerned(named, override, standing, now)

    async def keep_counting(self) -> NoReturn:
        """Export the metrics of gaps once a minute, until cancelled."""
        await run_periodically("on-call count", self._count, _EVERY)

    async def _recount(self) -> None:
        try:
            await self._count()
        # Whatever fails: the change is committed, and must not appear to have failed.
        except Exception:
            log.exception("on-call count failed; retrying within a minute")

    async def _count(self) -> None:
        now = self._clock.now()
        async with self._store.reading() as ledger:
            overrides, answered = await ledger.duty.standing(now), await ledger.duty.answered()
        settings = self._configuration().settings
        # A tenth of a second for thousands of new contacts; later only changed ones are processed.
        known = await asyncio.to_thread(self._roster)
        day = now.astimezone(settings.time_zone).date()
        deserted: list[str] = []
        # Hundreds of agencies must not delay the answer of a gateway.
        async for agency, rotas in yielding(known.rotas.items()):
            empty = [rota.name for rota in rotas if on_call(rota, overrides, now) is None]
            deserted += empty
            missing = {_key(rota.name): _length(gaps(rota, overrides, now)) for rota in rotas}
            people = [_verified(person, answered, settings.time_zone) for person in known.staff[agency]]
            numbers = {address.number: address for person in people for address in person.addresses}
            unverified = sum(not a.is_verified(settings.reverify_after, day) for a in numbers.values())
            self._metrics.duty.show(agency, missing, unverified, deserted={_key(name) for name in empty})
        self.deserted = tuple(deserted)

    # -- configuration -------------------------------------------------------------------------------------------

    def _shown(self, agency: str) -> Sequence[Rota]:
        return self._rotas_of(agency) if agency else list(self._roster().named.values())

    def _rotas_of(self, agency: str) -> Sequence[Rota]:
        known, agencies = self._roster(), self._configuration().registry.agencies
        found = agencies.get(agency.upper())
        if found is None:
            raise OperationRejectedError.said("no_agency_among", agency=agency, known=", ".join(agencies))
        lent = {key for step in found.escalation.steps for key in step.rotas}
        return [*known.rotas[found.agency], *(rota for rota in known.rotas[NO_AGENCY] if rota.name in lent)]

    def _named(self, name: str) -> Rota:
        """Return a rota by its name, whatever the case."""
        known = self._roster().named
        for rota in known.values():
            if rota.name.casefold() == name.casefold():
                return rota
        raise OperationRejectedError.said("no_rota_among", rota=name, known=", ".join(known) or "none")

    def _people(self, rota: Rota) -> Mapping[str, Contact]:
        return self._roster().people(rota.name)

    def _moment(self, text: str, showing: Callable[[datetime, ZoneInfo], datetime]) -> datetime:
        return read_moment(text, self._clock.now(), self._configuration().settings.time_zone, showing)


def read_moment(
    text: str, now: datetime, zone: ZoneInfo, showing: Callable[[datetime, ZoneInfo], datetime] = first_showing
) -> datetime:
    """Parse a moment; without an offset it is local time. Raise `OperationRejectedError`."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise OperationRejectedError.said("no_moment", text=text) from None
    if abs(at.year - now.year) > _FURTHEST_YEARS:
        raise OperationRejectedError.said("too_far", text=text)
    return at if at.tzinfo else showing(at, zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Roster:
    """The rotas and contacts of one configuration, by the agency whose file contains them."""

    rotas: Mapping[str, Sequence[Rota]]
    staff: Mapping[str, Sequence[Contact]]
    shared: Sequence[Contact]

    @property
    def named(self) -> Mapping[str, Rota]:
        """The rotas by their names."""
        return {rota.name: rota for rotas in self.rotas.values() for rota in rotas}

    def people(self, rota: str) -> Mapping[str, Contact]:
        """Return the contacts that may be on call for a rota, by key."""
        agency, slash, _ = rota.partition("/")
        own = self.staff.get(agency, ()) if slash else ()
        return {person.key: person for person in (*self.shared, *own)}

    def person(self, override: Override) -> Contact | None:
        """Return the contact of an override as configured; `None`: it is not."""
        return self.people(override.rota).get(override.contact.key)


class _DutyRosters:
    """Builds the roster of each configuration; the part of an unchanged agency is reused."""

    def __init__(self) -> None:
        self._shared: SharedSettings | None = None
        self._known: dict[str, tuple[Agency, list[Rota], list[Contact]]] = {}

    def make(self, configuration: Configuration) -> _Roster:
        settings, agencies = configuration.settings, configuration.registry.agencies
        shared = settings.shared()
        known = self._known if shared == self._shared else {}
        self._shared, self._known = shared, {}
        rotas = {NO_AGENCY: list(shared.rotas.values())}
        staff = {NO_AGENCY: [*shared.people.values(), *settings.noc.build_people(shared).values()]}
        for code, agency in agencies.items():
            there = known.get(code)
            if there is None or there[0] is not agency:
                there = agency, list(agency.build_rotas(shared).values()), list(agency.build_people(shared).values())
            self._known[code] = there
            rotas[code], staff[code] = there[1:]
        return _Roster(rotas=rotas, staff=staff, shared=list(shared.people.values()))


def _verified(person: Contact, answered: Mapping[str, datetime], zone: ZoneInfo) -> Contact:
    """Return a contact with the later of two dates at each number: the configured one, and that of a drill."""

    def verified(address: Address) -> date | None:
        drilled = answered.get(address.number)
        days = [day for day in (address.verified, drilled and drilled.astimezone(zone).date()) if day]
        return max(days, default=None)

    return replace(person, addresses=tuple(replace(a, verified=verified(a)) for a in person.addresses))


def _view(rota: Rota, overrides: Sequence[Override], at: datetime, known: Callable[[Contact], Contact]) -> RotaView:
    person, coming = on_call(rota, overrides, at), next_handover(rota, overrides, at)
    standing = [o for o in overrides if o.rota == rota.name and o.starts_at <= at < o.ends_at]
    return RotaView(
        rota=rota.name,
        at=at,
        person=known(person) if person else None,
        overridden_by=max(standing, key=lambda o: o.id).by if standing else "",
        until=coming.at if coming else None,
        next=known(coming.to) if coming and coming.to else None,
        gaps=gaps(rota, overrides, at, OUTLOOK),
    )


def _key(rota: str) -> str:
    """Return the key of a rota in its file."""
    return rota.rpartition("/")[2]


def _length(found: Sequence[Gap]) -> timedelta:
    return sum((gap.ends_at - gap.starts_at for gap in found), timedelta(0))


def _entry(override: Override, what: str, by: str, now: datetime) -> AuditEntry:
    detail = {
        "rota": override.rota,
        "person": override.contact.key,
        "begins": override.starts_at.isoformat(),
        "ends": override.ends_at.isoformat(),
    }
    return AuditEntry(at=now, actor=by, event=what, detail=detail)
