"""The service's settings file. Agencies have their own files (`monitor.config.model.registry`).

A *site* is a place from which mail is probed; a *hub* is a process that combines the results of several sites and
notifies people. A *reference* is a mailbox of the operator outside the agencies; a *pool* is a reference of several
mailboxes, of which each process uses its own.
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
    Code,
    DocumentsLocation,
    Domain,
    File,
    InvalidValue,
    Line,
    Section,
    Slug,
    Span,
    Token,
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
from monitor.runtime.place import DEFAULT_STATE_DIR
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
    """Bearer token of the program."""


#: Environment variable that overrides `listen`.
LISTEN_VARIABLE = "PANTAU_LISTEN"

#: Agency code of incidents about Pantau itself.
NOC_AGENCY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings:
    """Values that are built from the settings once, and shared by all agencies."""

    people: Mapping[str, Contact]
    rotas: Mapping[str, Rota]
    calendar: CalendarSettings
    zone: ZoneInfo


class MetricsSettings(Section):
    """Limits of exported metrics, so that a large service does not overload Prometheus."""

    max_phase_routes: Annotated[int, Field(ge=0, le=100_000), InvalidValue(MAX_PHASE_ROUTES)] = MAX_PHASE_ROUTES
    """Maximum number of routes with phase durations; beyond it, only routes whose last run was not good."""


class CallbackSettings(Section):
    """Listener for callbacks of providers, such as delivery reports. It serves nothing else."""

    listen: ListenAddress = Listen("127.0.0.1", 8081)
    """Address of the listener."""
    public_url: PublicUrl | None = None
    """Public URL of this listener; without it, Pantau polls for receipts."""


class NocSettings(Section):
    """The network operations centre (NOC): recipient of monitoring faults, such as a failing reference or network."""

    short: Code = "PANTAU"
    """Short name in SMS."""
    name: Line = Field(examples=["Pusat Operasi Rangkaian Kementerian Contoh"])
    """Name of the operations centre."""
    letterhead: LetterheadSettings = LetterheadSettings()
    """Letterhead of its letters and faxes."""
    contacts: Contacts = Field(default_factory=dict)
    """Contacts of the operations centre."""
    escalation: EscalationSettings = NOBODY
    """Escalation of incidents about Pantau itself. Required, except with `mode: monitor_only`."""

    def build_people(self, shared: SharedSettings) -> dict[str, Contact]:
        """Return its own contacts, by key."""
        hours = shared.calendar.build(shared.zone)
        return {key: contact.build(key, hours) for key, contact in self.contacts.items()}

    def build_office(self) -> IssuingOffice:
        """Return the office that issues notifications of monitoring faults; it has no mail domain."""
        return self.letterhead.build(short=self.short, name=self.name, domain="")


class Settings(Section):
    """The settings file. Relative paths, also those in agency files, start at its directory."""

    mode: Annotated[ServiceMode, reject_old_values("mode")] = ServiceMode.NOTIFY
    """Whether people are notified."""
    listen: ListenAddress = Listen("127.0.0.1", 8080)
    """Address of the portal, the API and `/metrics`; PANTAU_LISTEN overrides it. Loopback only, unless `portal`
    is configured.
    """
    portal: PortalSettings | None = None
    """Sign-in of people, each with the permissions of their roles (`pantau user`)."""
    callbacks: CallbackSettings = CallbackSettings()
    """Listener for delivery reports of providers."""
    state_dir: File = DEFAULT_STATE_DIR
    """Directory for the database file and its lock, the control socket and the key that signs tokens."""
    store: StoreSettings | None = None
    """PostgreSQL database that several processes share; default: a file in `state_dir`, for one process."""
    agencies: DocumentsLocation = Field(examples=["agencies/"])
    """Directory of the agency files, or `database`, into which `pantau apply` writes them."""
    wording: File | None = None
    """Directory with texts that replace the shipped ones."""
    site: Slug = "utama"
    """Name of this site; a metric label."""
    process_name: Slug = Field(default_factory=socket.gethostname)
    """Name of this process among those that share a database or mailboxes; default: the host name. It selects the mailbox of a pool."""
    hub: HubSettings | None = None
    """Other sites that probe; this process combines their results (docs/how-to/operator/sites.md)."""
    probing: ProbingSettings = ProbingSettings()
    """Intervals, timeouts and thresholds of probes."""
    checks: ServiceChecksSettings = ServiceChecksSettings()
    """Checks besides probes: certificates, DNS, mail server hardening."""
    time_zone: Zone = MALAYSIA
    """Time zone of hours and maintenance windows."""
    maintenance: tuple[MaintenanceSettings, ...] = ()
    """Maintenance of Pantau's own systems; nothing is probed then."""
    flapping: FlappingSettings = FlappingSettings()
    """When an agency that goes down repeatedly counts as flapping."""
    mail_providers: Mapping[Slug, MailProviderSettings] = {}
    """Limits of mail providers that differ from the defaults, by `gmail`, `google`, `microsoft` or a name of
    your own.
    """
    metrics: MetricsSettings = MetricsSettings()
    """Limits of exported metrics."""
    retention: RetentionSettings = RetentionSettings()
    """How long results of probe runs are stored; incidents and notifications are stored without limit."""
    official_suffixes: tuple[Domain, ...] = OFFICIAL_SUFFIXES
    """Domain suffixes of agencies (circular, 3d); list all of them when adding one."""
    private_providers: tuple[Domain, ...] = PRIVATE_PROVIDERS
    """Domains where no official address may be (circular, 3f); list all of them when adding one."""
    references: Mapping[Slug, ReferenceSettings] = {}
    """Reference mailboxes outside the agencies, at least two that do not fail together; each is one mailbox or
    a `pool` of them.
    """
    api: Mapping[Slug, ApiSettings] = {}
    """Programs that may acknowledge incidents over HTTP, by the name in the audit log."""
    alertmanager: AlertmanagerSettings | None = None
    """The NOC's Alertmanager: its alerts become incidents, and incidents are sent to it as alerts."""
    gateways: Mapping[Channel, tuple[GatewaySettings, ...]] = {}
    """Gateways of each channel, in the order in which they are tried."""
    contacts: Contacts = Field(default_factory=dict)
    """Staff whom the escalation of every agency may name."""
    rotas: Rotas = Field(default_factory=dict)
    """Rotas of `contacts`; the escalation of every agency and of the NOC may name them."""
    calendar: CalendarSettings = CalendarSettings()
    """Weekends, public holidays and office hours."""
    reverify_after: Span = timedelta(days=180)
    """How long a number counts as verified after an answer; `pantau check` lists the others."""
    heartbeat: HeartbeatSettings | None = None
    """External dead man's switch, which alerts when no heartbeat arrives."""
    out_of_band: OutOfBandSettings | None = None
    """Alerts to the NOC when the database is unavailable or a process is silent."""
    drills: DrillSettings | None = None
    """Regular tests of every number and gateway."""
    noc: NocSettings = NocSettings(name="Pantau")
    """Recipients of incidents about Pantau itself. Required, except with `mode: monitor_only`."""

    @property
    def references_in_use(self) -> Mapping[str, MailboxSettings]:
        """The mailbox of each reference that this process uses."""
        return mailboxes_in_use(self.references, self.process_name)

    @property
    def notifies(self) -> bool:
        """Whether the service sends notifications."""
        return self.mode is ServiceMode.NOTIFY

    @property
    def displayed_site(self) -> str:
        """The site's name on pages; "" if no other site exists whose pages could be confused with it."""
        is_hub = self.hub is not None and bool(self.hub.sites)
        # These settings do not distinguish a site of a hub from a single service in monitor-only mode, so the latter
        # is named, too.
        is_site = self.store is not None and not self.notifies and "site" in self.model_fields_set
        return self.site if is_hub or is_site else ""

    @property
    def egress(self) -> EgressPolicy:
        """Allowed destinations of connections that a user who is no operator has configured."""
        return EgressPolicy() if self.portal is None else self.portal.egress

    @property
    def allows_portal_edits(self) -> bool:
        """Whether users of the portal, who are no operators, may edit agency documents."""
        return self.portal is not None and self.agencies == IN_DATABASE

    def effective_policy(self, policy: PolicySnapshot) -> PolicySnapshot:
        """Return *policy* as incidents use it: without people to notify in monitor-only mode."""
        return policy if self.notifies else policy.without_people()

    def build_shared(self) -> SharedSettings:
        """Return the values that all agencies share."""
        hours = self.calendar.build(self.time_zone)
        people = {key: contact.build(key, hours) for key, contact in self.contacts.items()}
        # The name of a shared rota is its key alone.
        rotas = {key: rota.build(key, people, self.calendar, self.time_zone) for key, rota in self.rotas.items()}
        return SharedSettings(people=people, rotas=rotas, calendar=self.calendar, zone=self.time_zone)

    def build_noc_policy(self, *, subject: str, subject_en: str, policy_name: str = "") -> PolicySnapshot:
        """Return the policy for a monitoring fault or an alert; *subject* is what is affected, in Malay and English.

        *policy_name*: the entry of `alertmanager.receive.routes` that matched, if it still exists.
        """
        shared, receive = self.build_shared(), self.alertmanager and self.alertmanager.receive
        route = receive.routes.get(policy_name) if receive else None
        escalation = route.escalation if route else self.noc.escalation
        return PolicySnapshot(
            agency=NOC_AGENCY,
            office=self.noc.build_office(),
            escalation=escalation.build(
                {**shared.people, **self.noc.build_people(shared)}, shared.rotas, shared.calendar.build(shared.zone)
            ),
            subject=subject,
            subject_en=subject_en,
            policy_name=policy_name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsContext:
    """What the settings provide to checks of agency files. `None`: the value is unknown, and checks skip it."""

    mode: ServiceMode = ServiceMode.NOTIFY
    #: Channels with a gateway.
    channels: frozenset[Channel] | None = None
    #: The mailbox of each reference that this process uses, by the reference's name. The other mailboxes of a pool have
    #: the same capabilities.
    references: Mapping[str, MailboxSettings] | None = None
    #: Names of the references that are pools.
    pooled: frozenset[str] = frozenset()
    #: Contacts that every agency may name.
    contacts: Mapping[str, ContactSettings] | None = None
    #: Contacts whose configuration is invalid: whether they can be reached is unknown.
    contacts_with_errors: frozenset[str] = frozenset()
    #: Rotas that every agency may name.
    rotas: Mapping[str, RotaSettings] | None = None
    suffixes: tuple[str, ...] = OFFICIAL_SUFFIXES
    private_providers: tuple[str, ...] = PRIVATE_PROVIDERS
    probing: ProbingSettings | None = None
    time_zone: ZoneInfo = MALAYSIA
