"""The agencies: one YAML file each, and what follows from all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from alerts.brief import Brief
from alerts.notice import Office
from monitor.config.announcement import AnnouncementSettings
from monitor.config.contact import Contacts, ContactSettings
from monitor.config.escalation import EscalationSettings
from monitor.config.mailbox import MailboxSettings
from monitor.config.office import OfficeSettings
from monitor.config.probing import ProbingOverrides
from monitor.config.route import Leg, RouteSettings, control_legs, default_routes, leg
from monitor.config.section import Code, Domain, Line, Section, Slug
from monitor.config.trust import Trust
from monitor.route import Direction, Probing, WatchedRoute
from monitor.settings import Settings
from probes.mailbox import Mailbox
from probes.probe import Route


class Agency(Section):
    """An agency file. Its first key is `agency`, so that a listing of the first lines tells which file is whose."""

    agency: Code = Field(examples=["JCONTOH"])
    """Short code: what an SMS calls the agency, a metric label, the prefix of its notice numbers."""
    name: Line = Field(examples=["Jabatan Contoh Malaysia"])
    domains: tuple[Domain, ...] = Field(examples=["[jabatan-contoh.gov.my]"])
    """Its registered mail domains; subdomains are included. Notices quote the first."""
    office: OfficeSettings = OfficeSettings()
    mailboxes: Mapping[Slug, MailboxSettings]
    """Mailboxes that are probed; the first is the one that routes without `mailbox` mean."""
    routes: tuple[RouteSettings, ...] | None = None
    """Default: inside the agency, and both ways with every reference mailbox."""
    probing: ProbingOverrides = ProbingOverrides()
    contacts: Contacts = Field(default_factory=dict)
    escalation: EscalationSettings
    announcement: AnnouncementSettings = AnnouncementSettings()

    def build_office(self) -> Office:
        """Return the agency as notices quote it."""
        return self.office.build(short=self.agency, name=self.name, domain=self.domains[0])

    def brief(self, shared: Mapping[str, ContactSettings]) -> Brief:
        """Return whom an incident tells; *shared* are the contacts of the settings."""
        people = {key: contact.build(key) for key, contact in {**shared, **self.contacts}.items()}
        return Brief(
            agency=self.agency,
            office=self.build_office(),
            escalation=self.escalation.build(people),
            announcement=self.announcement.build(),
        )

    def legs(self, references: tuple[str, ...]) -> tuple[Leg, ...]:
        """Return the agency's routes by the names of their mailboxes."""
        mailboxes = tuple(self.mailboxes)
        routes = default_routes(mailboxes, references) if self.routes is None else self.routes
        return tuple(leg(self.agency, route, mailboxes) for route in routes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Everything that is watched."""

    #: By short code, in the order of their files.
    agencies: Mapping[str, Agency] = field(default_factory=dict)
    #: Of all agencies, then the control routes.
    routes: tuple[WatchedRoute, ...] = ()

    def routes_of(self, agency: str) -> tuple[WatchedRoute, ...]:
        """Return the routes of one agency; of "" the control routes."""
        return tuple(route for route in self.routes if route.agency == agency)


def build_registry(agencies: Mapping[str, Agency], settings: Settings, trust: Trust) -> Registry:
    """Return the registry of *agencies*, which were checked. Mailboxes are called "CODE/key", references by their key."""
    references = {name: mailbox.build(name, trust) for name, mailbox in settings.references.items()}
    routes: list[WatchedRoute] = []
    for code, agency in agencies.items():
        mailboxes = {key: mailbox.build(f"{code}/{key}", trust) for key, mailbox in agency.mailboxes.items()}
        probing = agency.probing.over(settings.probing).build()
        routes += [_watched(code, leg, mailboxes, references, probing) for leg in agency.legs(tuple(references))]
    probing = settings.probing.build()
    routes += [_watched("", leg, {}, references, probing) for leg in control_legs(tuple(references))]
    return Registry(agencies=dict(agencies), routes=tuple(routes))


def _watched(
    agency: str, leg: Leg, own: Mapping[str, Mailbox], references: Mapping[str, Mailbox], probing: Probing
) -> WatchedRoute:
    # A mailbox of the agency and a reference may share a key: the direction says which side is whose.
    senders = own if leg.direction in (Direction.INTERNAL, Direction.OUTBOUND) else references
    recipients = own if leg.direction in (Direction.INTERNAL, Direction.INBOUND) else references
    route = Route(name=leg.name, sender=senders[leg.sender], recipient=recipients[leg.recipient])
    return WatchedRoute(agency=agency, direction=leg.direction, route=route, probing=probing)
