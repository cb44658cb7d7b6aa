"""The service's settings: one YAML file. Agencies have their own files (`monitor.config.model.registry`)."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.notification import IssuingOffice
from alerts.model.oncall import Rota
from alerts.model.policy_snapshot import PolicySnapshot
from monitor.config.agency.calendar import CalendarSettings
from monitor.config.agency.checks import ServiceChecksSettings
from monitor.config.agency.contact import Contacts, ContactSettings
from monitor.config.agency.escalation import NOBODY, EscalationSettings
from monitor.config.agency.letterhead import LetterheadSettings
from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.agency.probing import FlappingSettings, MaintenanceSettings, ProbingSettings
from monitor.config.agency.rota import Rotas, RotaSettings
from monitor.config.fields.circular import OFFICIAL_SUFFIXES, PRIVATE_PROVIDERS
from monitor.config.fields.listen import Listen, ListenAddress, PublicUrl
from monitor.config.fields.window import MALAYSIA, Zone
from monitor.config.files.section import (
    IN_DATABASE,
    Code,
    DocumentsPlace,
    Domain,
    File,
    InvalidValue,
    Line,
    Section,
    Slug,
    Span,
    Token,
    renamed,
)
from monitor.config.model.alertmanager import AlertmanagerSettings
from monitor.config.model.reference import ReferenceSettings, in_use
from monitor.config.service.drill import DrillSettings
from monitor.config.service.gateway import GatewaySettings
from monitor.config.service.heartbeat import HeartbeatSettings
from monitor.config.service.hub import HubSettings
from monitor.config.service.mail_provider import MailProviderSettings
from monitor.config.service.out_of_band import OutOfBandSettings
from monitor.config.service.portal import PortalSettings
from monitor.config.service.store import RetentionSettings, StoreSettings
from monitor.metrics import MAX_PHASE_ROUTES
from monitor.runtime.place import STATE
from probes.model.egress import EgressPolicy


class ServiceMode(StrEnum):
    """Whether people are notified."""

    #: Staff, recipients and the NOC are notified.
    NOTIFY = "notify"
    #: Mail is probed, evaluated and shown. No gateway is used and nobody is notified.
    MONITOR_ONLY = "monitor_only"


class ApiSettings(Section):
    """A client program, such as the console of the operations centre."""

    token: Token
    """Sent as `Authorization: Bearer ...`."""


#: Environment variable that overrides `listen`.
LISTEN_VARIABLE = "PANTAU_LISTEN"

#: Agency code of incidents about Pantau itself.
NOC_AGENCY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings:
    """Settings that all agencies share. Built once for all of them."""

    people: Mapping[str, Contact]
    rotas: Mapping[str, Rota]
    calendar: CalendarSettings
    zone: ZoneInfo


class MetricsSettings(Section):
    """Metrics settings: what a large service omits from `/metrics`, unless Prometheus can take it."""

    max_phase_routes: Annotated[int, Field(ge=0, le=100_000), InvalidValue(MAX_PHASE_ROUTES)] = MAX_PHASE_ROUTES
    """Of how many routes at most it is told how long each phase took; of more, those whose last run did not go well."""


class CallbackSettings(Section):
    """Listener for delivery reports of providers. It serves nothing else."""

    listen: ListenAddress = Listen("127.0.0.1", 8081)
    public_url: PublicUrl | None = None
    """The address at which providers reach this listener; without it receipts are asked for instead."""


class NocSettings(Section):
    """Recipients of monitoring faults: a reference mailbox that fails, a network outage of ours."""

    short: Code = "PANTAU"
    """What an SMS calls us."""
    name: Line = Field(examples=["Pusat Operasi Rangkaian Kementerian Contoh"])
    letterhead: LetterheadSettings = LetterheadSettings()
    contacts: Contacts = Field(default_factory=dict)
    escalation: EscalationSettings = NOBODY
    """Not to be left out, unless nobody is told (`mode: monitor_only`)."""

    def build_people(self, shared: SharedSettings) -> dict[str, Contact]:
        """Return its own contacts, by key."""
        hours = shared.calendar.build(shared.zone)
        return {key: contact.build(key, hours) for key, contact in self.contacts.items()}

    def build_office(self) -> IssuingOffice:
        """Return the office that issues notifications of monitoring faults; it has no mail domain."""
        return self.letterhead.build(short=self.short, name=self.name, domain="")


class Settings(Section):
    """The settings file. Relative paths, also those in agency files, start at its directory."""

    mode: Annotated[ServiceMode, renamed("mode")] = ServiceMode.NOTIFY
    """Whether people are told, or mail is only watched."""
    listen: ListenAddress = Listen("127.0.0.1", 8080)
    """The portal, the API and /metrics; PANTAU_LISTEN overrides it. Loopback only, unless people sign in (`portal`)."""
    portal: PortalSettings | None = None
    """People sign in, and see and do what their roles allow (`pantau user`)."""
    callbacks: CallbackSettings = CallbackSettings()
    state_dir: File = STATE
    """A directory of our own: the store and its lock, the control socket, the key that signs tokens."""
    store: StoreSettings | None = None
    """A PostgreSQL that several engines share; default: a file in `state_dir`, for one engine alone."""
    agencies: DocumentsPlace = Field(examples=["agencies/"])
    """The directory of the agency files; or `database`, which `pantau apply` writes them into."""
    wording: File | None = None
    """A directory with wordings that replace those that ship."""
    site: Slug = "utama"
    """Where this prober stands; a metric label."""
    process_name: Slug = Field(default_factory=socket.gethostname)
    """Name of this process among those that share a database or mailboxes; default: the host name. It selects the mailbox of a pool."""
    hub: HubSettings | None = None
    """Other sites that probe, and whose judgements come together here (docs/how-to/operator/sites.md)."""
    probing: ProbingSettings = ProbingSettings()
    checks: ServiceChecksSettings = ServiceChecksSettings()
    """What is looked at beside the mail itself: certificates, the DNS, what a server lets strangers do."""
    time_zone: Zone = MALAYSIA
    """Of hours and maintenance windows."""
    maintenance: tuple[MaintenanceSettings, ...] = ()
    """When nothing is probed, because somebody works on what is our own."""
    flapping: FlappingSettings = FlappingSettings()
    """When an agency that goes down and up again and again is held to be unsteady."""
    mail_providers: Mapping[Slug, MailProviderSettings] = {}
    """What mail providers take, where that is not the usual: by gmail, google, microsoft, or a name of your own."""
    metrics: MetricsSettings = MetricsSettings()
    """How much Prometheus is told."""
    retention: RetentionSettings = RetentionSettings()
    """How long ends of probe runs are kept; incidents and notices are for ever."""
    official_suffixes: tuple[Domain, ...] = OFFICIAL_SUFFIXES
    """What the domains of agencies end with (circular, 3d); list all of them when adding one."""
    private_providers: tuple[Domain, ...] = PRIVATE_PROVIDERS
    """Where no official address may be (circular, 3f); list all of them when adding one."""
    references: Mapping[Slug, ReferenceSettings] = {}
    """Our mailboxes outside the agencies, at least two that do not fail together; each one mailbox, or a `pool` of them."""
    api: Mapping[Slug, ApiSettings] = {}
    """Programs that may acknowledge over HTTP, by the name that is written down."""
    alertmanager: AlertmanagerSettings | None = None
    """The NOC's own monitoring, whose alerts people can be told of as of outages."""
    gateways: Mapping[Channel, tuple[GatewaySettings, ...]] = {}
    """The ways to send on each channel, in the order in which they are tried."""
    contacts: Contacts = Field(default_factory=dict)
    """Staff whom every agency's escalation may name."""
    rotas: Rotas = Field(default_factory=dict)
    """Who of them has duty when; every agency's escalation, and that of the NOC, may name these."""
    calendar: CalendarSettings = CalendarSettings()
    """Weekends, public holidays and office hours."""
    reverify_after: Span = timedelta(days=180)
    """How long a number counts as good after somebody has answered there; `pantau check` lists the others."""
    heartbeat: HeartbeatSettings | None = None
    """A dead-man's switch outside, which calls somebody when it hears nothing from us."""
    out_of_band: OutOfBandSettings | None = None
    """Rings the NOC when no notice can be written."""
    drills: DrillSettings | None = None
    """A test of every number and gateway, week after week."""
    noc: NocSettings = NocSettings(name="Pantau")
    """Not to be left out, unless nobody is told (`mode: monitor_only`)."""

    @property
    def references_in_use(self) -> Mapping[str, MailboxSettings]:
        """The mailbox of each reference that this process uses."""
        return in_use(self.references, self.process_name)

    @property
    def notifies(self) -> bool:
        """Whether the service sends notifications."""
        return self.mode is ServiceMode.NOTIFY

    @property
    def named_site(self) -> str:
        """The site's name on pages; "" if no other site exists whose pages could be confused with it."""
        is_hub = self.hub is not None and bool(self.hub.sites)
        # A site has these settings. A single service in monitor-only mode may have them as well, and is then named,
        # too.
        is_site = self.store is not None and not self.notifies and "site" in self.model_fields_set
        return self.site if is_hub or is_site else ""

    @property
    def bounds(self) -> EgressPolicy:
        """Allowed destinations of connections that a user who is no operator has configured."""
        return EgressPolicy() if self.portal is None else self.portal.bounds

    @property
    def officers_write(self) -> bool:
        """Whether others than operators may edit agencies' documents."""
        return self.portal is not None and self.agencies == IN_DATABASE

    def heeded(self, brief: PolicySnapshot) -> PolicySnapshot:
        """Return *brief* as incidents use it: without recipients in monitor-only mode."""
        return brief if self.notifies else brief.with_nobody()

    def shared(self) -> SharedSettings:
        """Return the settings that every agency may use."""
        hours = self.calendar.build(self.time_zone)
        people = {key: contact.build(key, hours) for key, contact in self.contacts.items()}
        # The name of a shared rota is its key alone.
        rotas = {key: rota.build(key, people, self.calendar, self.time_zone) for key, rota in self.rotas.items()}
        return SharedSettings(people=people, rotas=rotas, calendar=self.calendar, zone=self.time_zone)

    def noc_brief(self, *, subject: str, subject_en: str, told_by: str = "") -> PolicySnapshot:
        """Return the policy for a monitoring fault or an alert; *subject* is what is affected, in Malay and English.

        *told_by*: the entry of `alertmanager.receive.routes` that matched, if it still exists.
        """
        shared, receive = self.shared(), self.alertmanager and self.alertmanager.receive
        tell = receive.routes.get(told_by) if receive else None
        escalation = tell.escalation if tell else self.noc.escalation
        return PolicySnapshot(
            agency=NOC_AGENCY,
            office=self.noc.build_office(),
            escalation=escalation.build(
                {**shared.people, **self.noc.build_people(shared)}, shared.rotas, shared.calendar.build(shared.zone)
            ),
            subject=subject,
            subject_en=subject_en,
            policy_name=told_by,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsContext:
    """Context for checks of agency files. `None` means unknown: nothing that depends on it is checked."""

    mode: ServiceMode = ServiceMode.NOTIFY
    #: Channels with a gateway.
    channels: frozenset[Channel] | None = None
    #: By the references' names: the mailboxes that this process uses. The others of a pool have the same capabilities.
    references: Mapping[str, MailboxSettings] | None = None
    #: Names of the references that are pools.
    pooled: frozenset[str] = frozenset()
    #: Contacts that every agency may name.
    contacts: Mapping[str, ContactSettings] | None = None
    #: Contacts whose configuration is invalid: whether they can be reached is unknown.
    unsure: frozenset[str] = frozenset()
    #: Rotas that every agency may name.
    rotas: Mapping[str, RotaSettings] | None = None
    suffixes: tuple[str, ...] = OFFICIAL_SUFFIXES
    private_providers: tuple[str, ...] = PRIVATE_PROVIDERS
    probing: ProbingSettings | None = None
    time_zone: ZoneInfo = MALAYSIA
