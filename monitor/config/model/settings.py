"""The service's settings file. Agencies have their own files (`monitor.config.model.registry`).

- A *site* is a place from which mail is probed. A *hub* is a process that combines the results of several sites and
  notifies people.
- A *reference* is a mailbox of the operator outside the agencies. A *pool* is a reference of several mailboxes, of
  which each process uses its own.
- A *rota* is an on-call schedule. A *drill* is a test notification of staff.
- A *policy snapshot* is the copy of the notification settings that an incident gets when it opens.
- The *circular* is the government's circular on e-mail of 1 June 2007; "3d" is a paragraph of it.
"""

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
    AgencyCode,
    DocumentsLocation,
    Domain,
    OneLine,
    PositiveDuration,
    ResolvedPath,
    Section,
    Slug,
    SubstituteIfInvalid,
    reject_old_values,
)
from monitor.config.model.alertmanager import AlertmanagerSettings
from monitor.config.model.reference import ReferenceSettings, mailboxes_in_use
from monitor.config.service.drill import DrillSettings
from monitor.config.service.gateway import GatewaySettings
from monitor.config.service.heartbeat import HeartbeatSettings
from monitor.config.service.hub import HubSettings
from monitor.config.service.mail_provider import MailProviderSettings
from monitor.config.service.out_of_band import OutOfBandSettings
from monitor.config.service.portal import PortalSettings
from monitor.config.service.store import RetentionSettings, StoreSettings
from monitor.metrics import MAX_PHASE_ROUTES
from monitor.runtime.control_socket import DEFAULT_STATE_DIR
from probes.model.egress import EgressPolicy


class ServiceMode(StrEnum):
    """Whether people are notified."""

    #: Staff, offices outside the agencies, and the NOC (network operations centre) are notified.
    NOTIFY = "notify"
    #: Mail is probed, evaluated and shown. No gateway is used and nobody is notified.
    MONITOR_ONLY = "monitor_only"


#: Environment variable that overrides `listen`.
LISTEN_VARIABLE = "PANTAU_LISTEN"

#: Used in place of an agency's code in incidents about faults of Pantau and about alerts of Alertmanager.
NOC_AGENCY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings:
    """Values that are built from the settings once, and shared by all agencies."""

    #: The contacts of the settings file, by key.
    contacts: Mapping[str, Contact]
    #: The rotas of the settings file, by key.
    rotas: Mapping[str, Rota]
    #: Calendar of agencies that do not override it.
    calendar: CalendarSettings
    #: Time zone of agencies that do not override it.
    zone: ZoneInfo


class MetricsSettings(Section):
    """Limits of exported metrics, so that a large service does not overload Prometheus."""

    max_phase_routes: Annotated[int, Field(ge=0, le=100_000), SubstituteIfInvalid(MAX_PHASE_ROUTES)] = MAX_PHASE_ROUTES
    """Maximum number of routes with exported durations of phases; with more, only routes whose last run failed."""


class CallbackSettings(Section):
    """Listener for callbacks of providers, such as delivery reports. It serves nothing else."""

    listen: ListenAddress = Listen("127.0.0.1", 8081)
    """Address of the listener."""
    public_url: PublicUrl | None = None
    """Public URL of this listener; without it, Pantau polls the providers for delivery reports."""


class NocSettings(Section):
    """The network operations centre (NOC): recipient of monitoring faults, such as a failing reference or network."""

    short: AgencyCode = "PANTAU"
    """Short name in SMS."""
    name: OneLine = Field(examples=["Pusat Operasi Rangkaian Kementerian Contoh"])
    """Name of the operations centre."""
    letterhead: LetterheadSettings = LetterheadSettings()
    """Letterhead of its letters and faxes."""
    contacts: Contacts = Field(default_factory=dict)
    """Contacts of the operations centre."""
    escalation: EscalationSettings = NOBODY
    """Escalation of incidents about Pantau itself. Required, except with `mode: monitor_only`."""

    def build_contacts(self, shared: SharedSettings) -> dict[str, Contact]:
        """Return the operations centre's own contacts, by key."""
        hours = shared.calendar.build(shared.zone)
        return {key: contact.build(key, hours) for key, contact in self.contacts.items()}

    def build_office(self) -> IssuingOffice:
        """Return the operations centre as issuer of notifications about monitoring faults. It has no mail domain."""
        return self.letterhead.build(short=self.short, name=self.name, domain="")


class Settings(Section):
    """The settings file. Relative paths, also those in agency files, start at its directory."""

    mode: Annotated[ServiceMode, reject_old_values("mode")] = ServiceMode.NOTIFY
    """Whether people are notified."""
    listen: ListenAddress = Listen("127.0.0.1", 8080)
    """Address of the portal, the API and `/metrics`; the variable PANTAU_LISTEN overrides it. Without `portal` it must
    be a loopback address.
    """
    portal: PortalSettings | None = None
    """Sign-in of people. Each has the permissions of their roles (`pantau user`)."""
    callbacks: CallbackSettings = CallbackSettings()
    """Listener for delivery reports of providers."""
    state_dir: ResolvedPath = DEFAULT_STATE_DIR
    """Directory for the database file and its lock, the control socket and the key that signs tokens."""
    store: StoreSettings | None = None
    """PostgreSQL database that several processes share; default: a file in `state_dir`, for one process."""
    agencies: DocumentsLocation = Field(examples=["agencies/"])
    """Directory of the agency files, or `database`, into which `pantau apply` writes them."""
    wording: ResolvedPath | None = None
    """Directory with texts that replace the shipped ones."""
    site: Slug = "utama"
    """Name of this site; a metric label."""
    process_name: Slug = Field(default_factory=socket.gethostname)
    """Name of this process among those that share a database or mailboxes; default: the host name. It decides which
    mailbox of a pool this process uses.
    """
    hub: HubSettings | None = None
    """Other sites that probe. This process is their hub (docs/how-to/operator/sites.md)."""
    probing: ProbingSettings = ProbingSettings()
    """Intervals, timeouts and thresholds of probes."""
    checks: ServiceChecksSettings = ServiceChecksSettings()
    """Checks besides probes: certificates, DNS, mail server hardening."""
    time_zone: Zone = MALAYSIA
    """Time zone of hours and maintenance windows."""
    maintenance: tuple[MaintenanceSettings, ...] = ()
    """Maintenance windows of Pantau's own systems, in which nothing is probed."""
    flapping: FlappingSettings = FlappingSettings()
    """When an agency that goes down repeatedly counts as flapping, so that its incident stays open."""
    mail_providers: Mapping[Slug, MailProviderSettings] = {}
    """Limits of mail providers that differ from the defaults, by provider: `gmail`, `google`, `microsoft`, or a name of
    your own.
    """
    metrics: MetricsSettings = MetricsSettings()
    """Limits of exported metrics."""
    retention: RetentionSettings = RetentionSettings()
    """How long results of probe runs are stored; incidents and notifications are stored without limit."""
    official_suffixes: tuple[Domain, ...] = OFFICIAL_SUFFIXES
    """Domain suffixes of agencies (circular, 3d). The list replaces the default: repeat its entries to add one."""
    private_providers: tuple[Domain, ...] = PRIVATE_PROVIDERS
    """Domains of private providers, where no official address may be (circular, 3f). The list replaces the default."""
    references: Mapping[Slug, ReferenceSettings] = {}
    """References outside the agencies, each a single mailbox or a `pool`. At least two are needed, which do not fail
    together.
    """
    alertmanager: AlertmanagerSettings | None = None
    """The NOC's Alertmanager: its alerts become incidents, and incidents are sent to it as alerts."""
    gateways: Mapping[Channel, tuple[GatewaySettings, ...]] = {}
    """Gateways of each channel, in the order in which they are tried."""
    contacts: Contacts = Field(default_factory=dict)
    """Contacts whom the escalation of every agency may name."""
    rotas: Rotas = Field(default_factory=dict)
    """Rotas of `contacts`, which the escalation of every agency and of the NOC may name."""
    calendar: CalendarSettings = CalendarSettings()
    """Weekends, public holidays and office hours."""
    reverify_after: PositiveDuration = timedelta(days=180)
    """How long a telephone number counts as verified after somebody answered; `pantau check` lists the unverified."""
    heartbeat: HeartbeatSettings | None = None
    """External dead man's switch, which alerts when no heartbeat arrives."""
    out_of_band: OutOfBandSettings | None = None
    """Alerts to the NOC when the database is unavailable, or another process sends no heartbeat."""
    drills: DrillSettings | None = None
    """Regular tests of every number and gateway."""
    noc: NocSettings = NocSettings(name="Pantau")
    """Recipients of incidents about Pantau itself. Required, except with `mode: monitor_only`."""

    @property
    def references_in_use(self) -> Mapping[str, MailboxSettings]:
        """For each reference, the mailbox that this process uses."""
        return mailboxes_in_use(self.references, self.process_name)

    @property
    def notifies(self) -> bool:
        """Whether the service sends notifications."""
        return self.mode is ServiceMode.NOTIFY

    @property
    def displayed_site(self) -> str:
        """The site's name for its pages; "" for a service of a single site, whose pages need no name."""
        is_hub = self.hub is not None and bool(self.hub.sites)
        # A site's settings do not name its hub: they look like those of a single service in monitor-only mode. The
        # pages of such a service with a configured `site` therefore show its name, too.
        is_site = self.store is not None and not self.notifies and "site" in self.model_fields_set
        return self.site if is_hub or is_site else ""

    @property
    def egress(self) -> EgressPolicy:
        """Allowed destinations of connections to servers that users of the portal configured."""
        return EgressPolicy() if self.portal is None else self.portal.egress

    @property
    def allows_portal_edits(self) -> bool:
        """Whether users of the portal may edit agency documents."""
        return self.portal is not None and self.agencies == IN_DATABASE

    def effective_policy(self, policy: PolicySnapshot) -> PolicySnapshot:
        """Return *policy* as incidents use it: in monitor-only mode, without people to notify."""
        return policy if self.notifies else policy.without_people()

    def build_shared(self) -> SharedSettings:
        """Return the values that all agencies share."""
        hours = self.calendar.build(self.time_zone)
        contacts = {key: contact.build(key, hours) for key, contact in self.contacts.items()}
        # A shared rota has its key as name; the name of an agency's rota has the agency's code as prefix.
        rotas = {key: rota.build(key, contacts, self.calendar, self.time_zone) for key, rota in self.rotas.items()}
        return SharedSettings(contacts=contacts, rotas=rotas, calendar=self.calendar, zone=self.time_zone)

    def build_noc_policy(self, *, subject: str, subject_en: str, policy_name: str = "") -> PolicySnapshot:
        """Return the policy snapshot for an incident about a monitoring fault or an alert of Alertmanager.

        *subject*, *subject_en*: what is affected, in Malay and in English. *policy_name*: the key in
        `alertmanager.receive.routes` of the route that the alert matched. If it is "", or the route has been removed,
        the escalation of `noc` applies.
        """
        shared, receive = self.build_shared(), self.alertmanager and self.alertmanager.receive
        route = receive.routes.get(policy_name) if receive else None
        escalation = route.escalation if route else self.noc.escalation
        contacts = {**shared.contacts, **self.noc.build_contacts(shared)}
        return PolicySnapshot(
            agency=NOC_AGENCY,
            office=self.noc.build_office(),
            escalation=escalation.build(contacts, shared.rotas, shared.calendar.build(shared.zone)),
            subject=subject,
            subject_en=subject_en,
            policy_name=policy_name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsContext:
    """Values of the settings file that checks of agency files need. A value that is `None` is invalid, and not used."""

    mode: ServiceMode = ServiceMode.NOTIFY
    #: Channels for which a gateway is configured.
    channels: frozenset[Channel] | None = None
    #: For each reference by name, the mailbox that this process uses. The others of a pool can send and be read alike.
    references: Mapping[str, MailboxSettings] | None = None
    #: Names of the references that are pools.
    pooled: frozenset[str] = frozenset()
    #: Shared contacts, which every agency may name, by key.
    contacts: Mapping[str, ContactSettings] | None = None
    #: Keys of shared contacts with invalid settings: it is unknown whether these contacts can be reached.
    contacts_with_errors: frozenset[str] = frozenset()
    #: Shared rotas, which every agency may name, by key.
    rotas: Mapping[str, RotaSettings] | None = None
    #: `official_suffixes` of the settings.
    suffixes: tuple[str, ...] = OFFICIAL_SUFFIXES
    private_providers: tuple[str, ...] = PRIVATE_PROVIDERS
    probing: ProbingSettings | None = None
    time_zone: ZoneInfo = MALAYSIA
