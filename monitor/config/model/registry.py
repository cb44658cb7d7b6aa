"""Agencies, each with its own YAML file, and the registry: the mailboxes and routes that are built from the files.

A *route* leads from one mailbox to another; each probe sends a message along it. A *reference* is a mailbox of the
operator outside the agencies; a *pool* is a reference of several mailboxes, of which each process uses its own.
*Control routes* lead from reference to reference. A *forwarded* route is addressed to an agency, which forwards its
messages to a reference.
"""

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
from monitor.config.agency.contact import Contacts, contact_channels
from monitor.config.agency.escalation import NOBODY, EscalationSettings
from monitor.config.agency.letterhead import LetterheadSettings
from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.agency.probing import MaintenanceSettings, ProbingOverrides, build_maintenance
from monitor.config.agency.rota import Rotas
from monitor.config.agency.route import ResolvedRoute, RouteSettings, control_routes, default_routes, resolve_route
from monitor.config.fields.trust import Trust
from monitor.config.fields.window import Zone
from monitor.config.files.section import AgencyCode, Domain, OneLine, Section, Slug
from monitor.config.model.reference import pool_sizes, unused_mailboxes
from monitor.config.model.settings import Settings, SharedSettings
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from probes.credentials.oauth_endpoint import RotationFactory
from probes.model.check import CheckScope
from probes.model.egress import EgressPolicy
from probes.model.mailbox import Mailbox
from probes.model.probe import Route


class Agency(Section):
    """An agency file. The first key is `agency`, so that the first lines of the files identify their agencies."""

    agency: AgencyCode = Field(examples=["JCONTOH"])
    """Short code, used in SMS, as a metric label, and as the prefix of incident numbers."""
    name: OneLine = Field(examples=["Jabatan Contoh Malaysia"])
    """Name of the agency."""
    domains: tuple[Domain, ...] = Field(examples=["[jabatan-contoh.gov.my]"])
    """Registered mail domains; their subdomains are included. Notifications quote the first domain."""
    letterhead: LetterheadSettings = LetterheadSettings()
    """Letterhead of its letters and faxes."""
    mailboxes: Mapping[Slug, MailboxSettings] = Field(default_factory=dict)
    """Probed mailboxes; a route without `mailbox` uses the first. Without mailboxes, each route needs `arrives_in`."""
    routes: tuple[RouteSettings, ...] | None = None
    """Probed routes; default: inside the agency, and both ways with every reference mailbox."""
    probing: ProbingOverrides = ProbingOverrides()
    """Probing settings that differ from those in the settings file."""
    time_zone: Zone | None = None
    """Time zone of hours and maintenance windows; default: that of the settings file."""
    maintenance: tuple[MaintenanceSettings, ...] = ()
    """Planned maintenance of its mail, during which it is not probed."""
    checks: ChecksSettings = ChecksSettings()
    """Settings of checks (tests of servers and domains without a message) that differ from the settings file."""
    contacts: Contacts = Field(default_factory=dict)
    """Staff of the agency."""
    rotas: Rotas = Field(default_factory=dict)
    """Rotas (on-call schedules) of the agency, besides those in the settings file."""
    calendar: CalendarOverrides = CalendarOverrides()
    """State whose weekends and holidays apply, and office hours; default: those in the settings file."""
    escalation: EscalationSettings = NOBODY
    """Escalation to staff. Required, except with `mode: monitor_only`."""
    announcement: AnnouncementSettings = AnnouncementSettings()
    """Announcements to recipients outside, by fax and letter."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The probed addresses: those of its mailboxes, and the recipients of its routes."""
        recipients = (route.to for route in self.routes or () if route.to is not None)
        return (*(mailbox.address for mailbox in self.mailboxes.values()), *recipients)

    @cached_property
    def contact_channels(self) -> Sequence[tuple[str, Channel]]:
        """The keys of the agency's contacts, each with a channel on which the contact has an address."""
        return contact_channels(self.contacts)

    def build_office(self) -> IssuingOffice:
        """Return the agency as issuer of notifications."""
        return self.letterhead.build(short=self.agency, name=self.name, domain=self.domains[0])

    def build_hours(self, shared: SharedSettings) -> OfficeHours:
        """Return the agency's office hours."""
        return self._calendar(shared).build(self._zone(shared))

    def build_contacts(self, shared: SharedSettings) -> dict[str, Contact]:
        """Return the agency's own contacts, by key."""
        hours = self.build_hours(shared)
        return {key: contact.build(key, hours) for key, contact in self.contacts.items()}

    def build_rotas(self, shared: SharedSettings) -> dict[str, Rota]:
        """Return the agency's own rotas by key. Their names are "CODE/key"."""
        contacts = {**shared.contacts, **self.build_contacts(shared)}
        calendar, zone = self._calendar(shared), self._zone(shared)
        return {key: rota.build(f"{self.agency}/{key}", contacts, calendar, zone) for key, rota in self.rotas.items()}

    def build_policy(self, shared: SharedSettings) -> PolicySnapshot:
        """Return the notification settings for its incidents, of which each incident keeps a copy."""
        contacts = {**shared.contacts, **self.build_contacts(shared)}
        rotas = {**shared.rotas, **self.build_rotas(shared)}
        return PolicySnapshot(
            agency=self.agency,
            office=self.build_office(),
            escalation=self.escalation.build(contacts, rotas, self.build_hours(shared)),
            announcement=self.announcement.build(self._calendar(shared), self._zone(shared)),
        )

    def _calendar(self, shared: SharedSettings) -> CalendarSettings:
        return self.calendar.merged_into(shared.calendar)

    def _zone(self, shared: SharedSettings) -> ZoneInfo:
        return self.time_zone or shared.zone

    def resolve_routes(self, references: Mapping[str, MailboxSettings]) -> tuple[ResolvedRoute, ...]:
        """Return the agency's routes with all defaults applied; *references* by name."""
        routes = default_routes(self.mailboxes, references) if self.routes is None else self.routes
        return tuple(resolve_route(self.agency, route, self.mailboxes, self.domains[0]) for route in routes)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltMailbox:
    """A mailbox, and the inputs from which it was built."""

    mailbox: Mailbox
    settings: MailboxSettings = field(repr=False)
    #: TLS contexts of its servers and, with OAuth, of its token endpoint.
    tls_contexts: tuple[ssl.SSLContext, ...] = field(repr=False)
    #: Policy that limits the destinations of its connections.
    egress: EgressPolicy = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All agencies, mailboxes and routes that are monitored."""

    #: By short code, in the order of the files.
    agencies: Mapping[str, Agency] = field(default_factory=dict)
    #: The routes of all agencies, then the control routes.
    routes: tuple[MonitoredRoute, ...] = ()
    #: Mailboxes that this process uses, by name: "CODE/key" for an agency's, the key for a reference.
    mailboxes: Mapping[str, BuiltMailbox] = field(default_factory=dict, repr=False)
    #: Mailboxes of pools that only other processes use. Their names are those of their references.
    unused_mailboxes: tuple[Mailbox, ...] = field(default=(), repr=False)
    #: The reference mailboxes and settings on which the routes of all agencies depend. While they are equal, the routes
    #: of unchanged agencies need not be built again.
    shared_inputs: tuple[object, ...] = field(default=(), repr=False)
    #: The routes by agency code; that of control routes is "". Computed from `routes`, unless the caller passes it.
    by_agency: Mapping[str, tuple[MonitoredRoute, ...]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Group the routes by agency once: there are thousands, and `routes_for` is called for each agency."""
        if self.by_agency:
            return
        routes: dict[str, list[MonitoredRoute]] = {}
        for route in self.routes:
            routes.setdefault(route.agency, []).append(route)
        object.__setattr__(self, "by_agency", {agency: tuple(each) for agency, each in routes.items()})

    def routes_for(self, agency: str) -> tuple[MonitoredRoute, ...]:
        """Return the routes of one agency; for "" the control routes.

        While the routes are unchanged, `build_registry` passes the same tuple on, so callers may compare by identity.
        """
        return self.by_agency.get(agency, ())


class _MailboxBuilder:
    """Builder of mailboxes. For unchanged inputs it returns the mailbox in use, which has cached access tokens."""

    def __init__(
        self, trust: Trust, egress: EgressPolicy, in_use: Mapping[str, BuiltMailbox], rotations: RotationFactory | None
    ) -> None:
        self._trust = trust
        self._egress = egress
        self._in_use = in_use
        self._rotations = rotations
        #: The results of `build`, by name.
        self.built_mailboxes: dict[str, BuiltMailbox] = {}

    def build(self, name: str, settings: MailboxSettings, *, pooled: bool = False) -> Mailbox:
        """Return the mailbox *name*. *pooled*: whether it is one of a pool, so that no other process uses it."""
        oauth = settings.login.oauth
        ca_files = [settings.ca_file] if oauth is None else [settings.ca_file, oauth.ca_file]
        tls_contexts = tuple(map(self._trust.context, ca_files))
        inputs = (settings, tls_contexts, self._egress, pooled)
        built = self._in_use.get(name)
        if built is None or (built.settings, built.tls_contexts, built.egress, built.mailbox.pooled) != inputs:
            mailbox = replace(settings.build(name, self._trust, self._egress, self._rotations), pooled=pooled)
            built = BuiltMailbox(mailbox=mailbox, settings=settings, tls_contexts=tls_contexts, egress=self._egress)
        self.built_mailboxes[name] = built
        return built.mailbox

    def are_unchanged(self, names: Iterable[str]) -> bool:
        """Whether all mailboxes with *names*, which have been built, are the ones in use."""
        return all(self.built_mailboxes[name] is self._in_use.get(name) for name in names)


def build_registry(
    agencies: Mapping[str, Agency],
    settings: Settings,
    trust: Trust,
    active_registry: Registry | None = None,
    *,
    rotations: RotationFactory | None = None,
) -> Registry:
    """Return the registry of *agencies*, which must be free of errors, by their code.

    A mailbox of a pool has the name of the reference, so that the results of all processes count for the reference.
    *active_registry*: the registry in use, whose unchanged mailboxes and routes are reused as the same objects.
    *rotations* returns the store for the refresh tokens by which an authorization server replaces one that a user
    entered in the portal; `None`: new tokens are kept only in memory.
    """
    active_registry = active_registry or Registry()
    mailbox_builder = _MailboxBuilder(trust, settings.egress, active_registry.mailboxes, rotations)
    references_in_use, pooled = settings.references_in_use, pool_sizes(settings.references)
    references = {
        name: mailbox_builder.build(name, mailbox, pooled=name in pooled) for name, mailbox in references_in_use.items()
    }
    shared_inputs = (references, settings.probing, settings.maintenance, settings.time_zone)
    is_shared_unchanged = shared_inputs == active_registry.shared_inputs
    shared_maintenance = build_maintenance(settings.maintenance, settings.time_zone)
    routes: dict[str, tuple[MonitoredRoute, ...]] = {}
    for code, agency in agencies.items():
        mailboxes = {key: mailbox_builder.build(f"{code}/{key}", mailbox) for key, mailbox in agency.mailboxes.items()}
        if (
            is_shared_unchanged
            and agency is active_registry.agencies.get(code)
            and mailbox_builder.are_unchanged(f"{code}/{key}" for key in mailboxes)
        ):
            # All inputs of the agency's routes are unchanged.
            routes[code] = active_registry.routes_for(code)
            continue
        zone = agency.time_zone or settings.time_zone
        probing = agency.probing.merged_into(settings.probing).build(
            zone, (*shared_maintenance, *build_maintenance(agency.maintenance, zone))
        )
        routes[code] = tuple(
            _build_route(code, resolved, mailboxes, references, probing)
            for resolved in agency.resolve_routes(references_in_use)
        )
    probing = settings.probing.build(settings.time_zone, shared_maintenance)
    routes[""] = tuple(
        _build_route("", resolved, {}, references, probing) for resolved in control_routes(references_in_use)
    )
    unused = [
        mailbox.build(name, trust, settings.egress, rotations)
        for name, mailbox in unused_mailboxes(settings.references, settings.process_name)
    ]
    return Registry(
        agencies=dict(agencies),
        routes=tuple(chain.from_iterable(routes.values())),
        mailboxes=mailbox_builder.built_mailboxes,
        unused_mailboxes=tuple(unused),
        shared_inputs=shared_inputs,
        by_agency=routes,
    )


def _build_route(
    agency: str,
    resolved: ResolvedRoute,
    agency_mailboxes: Mapping[str, Mailbox],
    references: Mapping[str, Mailbox],
    probing: ProbingPolicy,
) -> MonitoredRoute:
    # The direction decides where to look up a mailbox: an agency's mailbox and a reference may have the same key.
    is_sent_by_agency = resolved.direction in (Direction.INTERNAL, Direction.OUTBOUND)
    is_read_at_agency = resolved.direction in (Direction.INTERNAL, Direction.INBOUND) and not resolved.forwarded
    senders = agency_mailboxes if is_sent_by_agency else references
    recipients = agency_mailboxes if is_read_at_agency else references
    route = Route(
        name=resolved.name,
        sender=senders[resolved.sender],
        recipient=recipients[resolved.recipient],
        to=resolved.to,
    )
    return MonitoredRoute(
        agency=agency,
        direction=resolved.direction,
        route=route,
        probing=probing,
        forwarded=resolved.forwarded,
    )


def build_check_scope(
    agency: str,
    registry: Registry,
    settings: Settings,
    *,
    sample_message: Callable[[], bytes | None] = lambda: None,
) -> CheckScope:
    """Return what checks examine: the agency with the code *agency*, or, for "", the reference mailboxes.

    *sample_message* returns the latest message from the agency that arrived in a reference mailbox, if there is one.
    The domains of references belong to third parties, so the scope of references has only mailboxes, and no domains.
    """
    agency_document = registry.agencies.get(agency)
    references = set(settings.references)
    mailboxes = [
        mailbox for route in registry.routes_for(agency) for mailbox in (route.route.sender, route.route.recipient)
    ]
    # Omit the mailboxes at the other end of the routes: references for an agency, and the reverse.
    scope_mailboxes = {each.name: each for each in mailboxes if (each.name in references) is (agency_document is None)}
    # The agency's value takes precedence over that of the settings.
    ask_recipients_values = [
        each.ask_recipients
        for each in (agency_document.checks if agency_document else None, settings.checks)
        if each is not None
    ]
    return CheckScope(
        agency=agency,
        mailboxes=tuple(scope_mailboxes.values()),
        domains=tuple(domain.lower() for domain in agency_document.domains) if agency_document else (),
        name_servers=settings.checks.build_name_servers(),
        sample_message=sample_message,
        our_address=next((mailbox.address for mailbox in settings.references_in_use.values()), ""),
        ask_recipients=next((value for value in ask_recipients_values if value is not None), True),
        # Restrict connections to hosts that DNS names only if users of the portal may edit the domains.
        egress=settings.egress if settings.allows_portal_edits else None,
    )
