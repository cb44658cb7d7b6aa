"""The registry of agencies: one YAML file each, and what all of them together imply."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from zoneinfo import ZoneInfo

from pydantic import Field

from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.notification import IssuingOffice
from alerts.model.oncall import Rota
from alerts.model.policy_snapshot import PolicySnapshot
from monitor.config.agency.announcement import AnnouncementSettings
from monitor.config.agency.calendar import CalendarOverrides, CalendarSettings
from monitor.config.agency.checks import ChecksSettings
from monitor.config.agency.contact import Contacts, lines_of
from monitor.config.agency.escalation import NOBODY, EscalationSettings
from monitor.config.agency.letterhead import LetterheadSettings
from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.agency.probing import MaintenanceSettings, ProbingOverrides, build_maintenance
from monitor.config.agency.rota import Rotas
from monitor.config.agency.route import Leg, RouteSettings, control_legs, default_routes, leg
from monitor.config.fields.trust import Trust
from monitor.config.fields.window import Zone
from monitor.config.files.section import Code, Domain, Line, Section, Slug
from monitor.config.model.reference import at_rest, pools
from monitor.config.model.settings import Settings, SharedSettings
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from probes.credentials.oauth_endpoint import Rotations
from probes.model.check import CheckScope
from probes.model.egress import EgressPolicy
from probes.model.mailbox import Mailbox
from probes.model.probe import Route


class Agency(Section):
    """An agency file. The first key is `agency`, so that the first lines of the files identify their agencies."""

    agency: Code = Field(examples=["JCONTOH"])
    """Short code, used in SMS, as a metric label, and as the prefix of incident numbers."""
    name: Line = Field(examples=["Jabatan Contoh Malaysia"])
    """Name of the agency."""
    domains: tuple[Domain, ...] = Field(examples=["[jabatan-contoh.gov.my]"])
    """Registered mail domains; subdomains are included. Notifications quote the first."""
    letterhead: LetterheadSettings = LetterheadSettings()
    """Letterhead of its letters and faxes."""
    mailboxes: Mapping[Slug, MailboxSettings] = Field(default_factory=dict)
    """Probed mailboxes; a route without `mailbox` uses the first. Without any, all routes have `arrives_in`."""
    routes: tuple[RouteSettings, ...] | None = None
    """Probed routes; default: inside the agency, and both ways with every reference mailbox."""
    probing: ProbingOverrides = ProbingOverrides()
    """Probing settings that differ from the general ones."""
    time_zone: Zone | None = None
    """Time zone of hours and maintenance windows; default: that of the settings."""
    maintenance: tuple[MaintenanceSettings, ...] = ()
    """Planned maintenance of its mail; it is not probed then."""
    checks: ChecksSettings = ChecksSettings()
    """Checks that are on, off, or run at another interval than in the settings."""
    contacts: Contacts = Field(default_factory=dict)
    """Staff of the agency."""
    rotas: Rotas = Field(default_factory=dict)
    """Rotas of the agency, besides those of the settings."""
    calendar: CalendarOverrides = CalendarOverrides()
    """State whose weekends and holidays apply, and office hours; default: those of the settings."""
    escalation: EscalationSettings = NOBODY
    """Escalation to staff. Required, except with `mode: monitor_only`."""
    announcement: AnnouncementSettings = AnnouncementSettings()
    """Announcements to recipients outside, by fax and letter."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The probed addresses: those of its mailboxes, and the recipients of its routes."""
        sent_to = (route.to for route in self.routes or () if route.to is not None)
        return (*(mailbox.address for mailbox in self.mailboxes.values()), *sent_to)

    @cached_property
    def lines(self) -> Sequence[tuple[str, Channel]]:
        """The keys of its contacts, each with a channel on which the contact can reply."""
        return lines_of(self.contacts)

    def build_office(self) -> IssuingOffice:
        """Return the agency as issuer of notifications."""
        return self.letterhead.build(short=self.agency, name=self.name, domain=self.domains[0])

    def build_hours(self, shared: SharedSettings) -> OfficeHours:
        """Return its office hours."""
        return self._calendar(shared).build(self._zone(shared))

    def build_people(self, shared: SharedSettings) -> dict[str, Contact]:
        """Return its own contacts, by key."""
        hours = self.build_hours(shared)
        return {key: contact.build(key, hours) for key, contact in self.contacts.items()}

    def build_rotas(self, shared: SharedSettings) -> dict[str, Rota]:
        """Return its own rotas by key. Their names are "CODE/key"."""
        people = {**shared.people, **self.build_people(shared)}
        calendar, zone = self._calendar(shared), self._zone(shared)
        return {key: rota.build(f"{self.agency}/{key}", people, calendar, zone) for key, rota in self.rotas.items()}

    def brief(self, shared: SharedSettings) -> PolicySnapshot:
        """Return the policy for its incidents."""
        people = {**shared.people, **self.build_people(shared)}
        rotas = {**shared.rotas, **self.build_rotas(shared)}
        return PolicySnapshot(
            agency=self.agency,
            office=self.build_office(),
            escalation=self.escalation.build(people, rotas, self.build_hours(shared)),
            announcement=self.announcement.build(self._calendar(shared), self._zone(shared)),
        )

    def _calendar(self, shared: SharedSettings) -> CalendarSettings:
        return self.calendar.over(shared.calendar)

    def _zone(self, shared: SharedSettings) -> ZoneInfo:
        return self.time_zone or shared.zone

    def legs(self, references: Mapping[str, MailboxSettings]) -> tuple[Leg, ...]:
        """Return the agency's routes by the names of their mailboxes."""
        routes = default_routes(self.mailboxes, references) if self.routes is None else self.routes
        return tuple(leg(self.agency, route, self.mailboxes, self.domains[0]) for route in routes)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltMailbox:
    """A mailbox, and the settings from which it was built."""

    mailbox: Mailbox
    settings: MailboxSettings = field(repr=False)
    trust: tuple[ssl.SSLContext, ...] = field(repr=False)
    bounds: EgressPolicy = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All that is monitored."""

    #: By short code, in the order of the files.
    agencies: Mapping[str, Agency] = field(default_factory=dict)
    #: The routes of all agencies, then the control routes.
    routes: tuple[MonitoredRoute, ...] = ()
    #: By name.
    mailboxes: Mapping[str, BuiltMailbox] = field(default_factory=dict, repr=False)
    #: Mailboxes of pools that other processes use, under the names of their references.
    at_rest: tuple[Mailbox, ...] = field(default=(), repr=False)
    #: The settings from which the routes of all agencies are derived.
    ground: tuple[object, ...] = field(default=(), repr=False)
    #: The routes by agency, if the caller has them sorted already.
    by_agency: Mapping[str, tuple[MonitoredRoute, ...]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Sort the routes by agency: there are thousands, and each agency requests its own."""
        if self.by_agency:
            return
        routes: dict[str, list[MonitoredRoute]] = {}
        for route in self.routes:
            routes.setdefault(route.agency, []).append(route)
        object.__setattr__(self, "by_agency", {agency: tuple(each) for agency, each in routes.items()})

    def routes_of(self, agency: str) -> tuple[MonitoredRoute, ...]:
        """Return the routes of one agency; for "" the control routes. Unchanged routes are the same tuple."""
        return self.by_agency.get(agency, ())


class _Fitter:
    """Builder of mailboxes. An unchanged mailbox is the object already in use."""

    def __init__(
        self, trust: Trust, bounds: EgressPolicy, in_use: Mapping[str, BuiltMailbox], rotations: Rotations | None
    ) -> None:
        self._trust = trust
        self._bounds = bounds
        self._in_use = in_use
        self._rotations = rotations
        self.made: dict[str, BuiltMailbox] = {}

    def fit(self, name: str, settings: MailboxSettings, *, pooled: bool = False) -> Mailbox:
        oauth = settings.login.oauth
        files = [settings.ca_file] if oauth is None else [settings.ca_file, oauth.ca_file]
        trust = tuple(map(self._trust.context, files))
        fitted = self._in_use.get(name)
        same = (settings, trust, self._bounds, pooled)
        if fitted is None or (fitted.settings, fitted.trust, fitted.bounds, fitted.mailbox.pooled) != same:
            built = replace(settings.build(name, self._trust, self._bounds, self._rotations), pooled=pooled)
            fitted = BuiltMailbox(mailbox=built, settings=settings, trust=trust, bounds=self._bounds)
        self.made[name] = fitted
        return fitted.mailbox

    def has_kept(self, names: Iterable[str]) -> bool:
        """Whether all of these mailboxes are already in use."""
        return all(self.made[name] is self._in_use.get(name) for name in names)


def build_registry(
    agencies: Mapping[str, Agency],
    settings: Settings,
    trust: Trust,
    in_force: Registry | None = None,
    *,
    rotations: Rotations | None = None,
) -> Registry:
    """Return the registry of *agencies*, which were checked. Mailboxes are named "CODE/key", references by their key.

    This process's mailbox of a pool has the name of the reference, so results of all processes count for the reference.
    Unchanged mailboxes and routes of the registry *in_force* are kept. *rotations*: successors of refresh tokens that
    were entered in the portal.
    """
    in_force = in_force or Registry()
    fitter = _Fitter(trust, settings.bounds, in_force.mailboxes, rotations)
    ours, pooled = settings.references_in_use, pools(settings.references)
    references = {name: fitter.fit(name, mailbox, pooled=name in pooled) for name, mailbox in ours.items()}
    ground = (references, settings.probing, settings.maintenance, settings.time_zone)
    same_ground = ground == in_force.ground
    everywhere = build_maintenance(settings.maintenance, settings.time_zone)
    routes: dict[str, tuple[MonitoredRoute, ...]] = {}
    for code, agency in agencies.items():
        mailboxes = {key: fitter.fit(f"{code}/{key}", mailbox) for key, mailbox in agency.mailboxes.items()}
        if (
            same_ground
            and agency is in_force.agencies.get(code)
            and fitter.has_kept(f"{code}/{key}" for key in mailboxes)
        ):
            routes[code] = in_force.routes_of(code)
            continue
        zone = agency.time_zone or settings.time_zone
        probing = agency.probing.over(settings.probing).build(
            zone, (*everywhere, *build_maintenance(agency.maintenance, zone))
        )
        routes[code] = tuple(_watched(code, leg, mailboxes, references, probing) for leg in agency.legs(ours))
    probing = settings.probing.build(settings.time_zone, everywhere)
    routes[""] = tuple(_watched("", leg, {}, references, probing) for leg in control_legs(ours))
    others = [
        mailbox.build(name, trust, settings.bounds, rotations)
        for name, mailbox in at_rest(settings.references, settings.process_name)
    ]
    return Registry(
        agencies=dict(agencies),
        routes=tuple(chain.from_iterable(routes.values())),
        mailboxes=fitter.made,
        at_rest=tuple(others),
        ground=ground,
        by_agency=routes,
    )


def _watched(
    agency: str, leg: Leg, own: Mapping[str, Mailbox], references: Mapping[str, Mailbox], probing: ProbingPolicy
) -> MonitoredRoute:
    # A mailbox of the agency and a reference may have the same key; the direction distinguishes them.
    senders = own if leg.direction in (Direction.INTERNAL, Direction.OUTBOUND) else references
    arrives_there = leg.direction in (Direction.INTERNAL, Direction.INBOUND) and not leg.forwarded
    recipients = own if arrives_there else references
    route = Route(name=leg.name, sender=senders[leg.sender], recipient=recipients[leg.recipient], to=leg.to)
    return MonitoredRoute(agency=agency, direction=leg.direction, route=route, probing=probing, forwarded=leg.forwarded)


def check_scope(
    agency: str,
    registry: Registry,
    settings: Settings,
    *,
    sample_message: Callable[[], bytes | None] = lambda: None,
) -> CheckScope:
    """Return the scope of checks: one agency, or for "" our own reference mailboxes.

    *sample_message* returns the latest message from the agency that arrived elsewhere. The domains of our references
    belong to third parties, so only the servers that we use are checked there.
    """
    file = registry.agencies.get(agency)
    references = set(settings.references)
    ends = [end for route in registry.routes_of(agency) for end in (route.route.sender, route.route.recipient)]
    own = {end.name: end for end in ends if (end.name in references) is (file is None)}
    asked = [each.ask_recipients for each in (file.checks if file else None, settings.checks) if each is not None]
    return CheckScope(
        agency=agency,
        mailboxes=tuple(own.values()),
        domains=tuple(domain.lower() for domain in file.domains) if file else (),
        name_servers=settings.checks.resolvers(),
        sample_message=sample_message,
        our_address=next((mailbox.address for mailbox in settings.references_in_use.values()), ""),
        ask_recipients=next((said for said in asked if said is not None), True),
        bounds=settings.bounds if settings.officers_write else None,
    )
