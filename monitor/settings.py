"""The settings of the service: one YAML file. Agencies have files of their own (`monitor.registry`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from pydantic import Field

from alerts.brief import Brief
from alerts.channel import Channel
from alerts.notice import Office
from monitor.config.checks import ChecksSettings
from monitor.config.circular import OFFICIAL_SUFFIXES, PRIVATE_PROVIDERS
from monitor.config.contact import Contacts
from monitor.config.escalation import EscalationSettings
from monitor.config.gateway import GatewaySettings
from monitor.config.listen import Listen, ListenAddress, PublicUrl
from monitor.config.mailbox import MailboxSettings
from monitor.config.maintenance import MaintenanceSettings
from monitor.config.office import OfficeSettings
from monitor.config.probing import ProbingSettings
from monitor.config.provider import ProviderSettings
from monitor.config.section import Code, Domain, Line, Section, Slug, Span
from monitor.config.window import MALAYSIA, Zone

#: Overrides `listen`.
LISTEN_VARIABLE = "PANTAU_LISTEN"

#: Stands for an agency where an incident is about ourselves.
NOC_AGENCY = ""


class CallbackSettings(Section):
    """Where providers tell us what became of a notice. A listener of its own: nothing else is served there."""

    listen: ListenAddress = Listen("127.0.0.1", 8081)
    public_url: PublicUrl | None = None
    """The address at which providers reach this listener; without it receipts are asked for instead."""


class NocSettings(Section):
    """Who hears of faults of our own: a dead reference mailbox, a network of ours that is down."""

    short: Code = "PANTAU"
    """What an SMS calls us."""
    name: Line = Field(examples=["Pusat Operasi Rangkaian Kementerian Contoh"])
    office: OfficeSettings = OfficeSettings()
    contacts: Contacts = Field(default_factory=dict)
    escalation: EscalationSettings

    def build_office(self) -> Office:
        """Return the office that speaks about our own faults; it has no mail domain."""
        return self.office.build(short=self.short, name=self.name, domain="")


class Settings(Section):
    """The whole settings file. Relative paths, also those in agency files, start at its directory."""

    listen: ListenAddress = Listen("127.0.0.1", 8080)
    """The portal, the API and /metrics; PANTAU_LISTEN overrides it. Loopback only: there is no sign-in yet."""
    callbacks: CallbackSettings = CallbackSettings()
    state: Path = Path("/var/lib/pantau")
    """A directory of our own: the store, its lock, the control socket, the key that signs tokens."""
    agencies: Path = Field(examples=["agencies/"])
    """The directory of the agency files."""
    wording: Path | None = None
    """A directory with wordings that replace those that ship."""
    site: Slug = "utama"
    """Where this prober stands; a metric label."""
    prober: Slug | None = None
    """What this prober is called among those of its site; default: the host name."""
    probing: ProbingSettings = ProbingSettings()
    checks: ChecksSettings = ChecksSettings()
    """What is looked at beside the mail itself: certificates, the DNS, what a server lets strangers do."""
    time_zone: Zone = MALAYSIA
    """Of hours and maintenance windows."""
    maintenance: tuple[MaintenanceSettings, ...] = ()
    """When nothing is probed, because somebody works on what is our own."""
    providers: Mapping[Slug, ProviderSettings] = {}
    """What mail providers take, where that is not the usual: by gmail, google, microsoft, or a name of your own."""
    keep_results: Span = timedelta(days=365)
    """Ends of probe runs are deleted after this; incidents and notices never are."""
    official_suffixes: tuple[Domain, ...] = OFFICIAL_SUFFIXES
    """What the domains of agencies end with (circular, 3d); list all of them when adding one."""
    private_providers: tuple[Domain, ...] = PRIVATE_PROVIDERS
    """Where no official address may be (circular, 3f); list all of them when adding one."""
    references: Mapping[Slug, MailboxSettings] = {}
    """Our mailboxes outside the agencies, at least two that do not fail together."""
    gateways: Mapping[Channel, tuple[GatewaySettings, ...]] = {}
    """The ways to send on each channel, in the order in which they are tried."""
    contacts: Contacts = Field(default_factory=dict)
    """Staff whom every agency's escalation may name."""
    noc: NocSettings

    def noc_brief(self, *, subject: str, subject_en: str) -> Brief:
        """Return whom a fault of our own is told to; *subject* is what is affected, in Malay and English."""
        people = {key: contact.build(key) for key, contact in {**self.contacts, **self.noc.contacts}.items()}
        return Brief(
            agency=NOC_AGENCY,
            office=self.noc.build_office(),
            escalation=self.noc.escalation.build(people),
            subject=subject,
            subject_en=subject_en,
        )
