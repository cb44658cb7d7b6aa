"""Writer of configuration files with which the real service runs in the demo environment."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from pantau_lab.mail import FaultDelays, LabNetwork, Port
from pantau_lab.world import AGENCIES, NOC, REFERENCES, FictionalAgency, Person

#: Returns the TCP port of a mail system (by its name) for a protocol.
Ports = Callable[[str, Port], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Settings of the demo, mostly durations, which are shorter than the defaults of the service."""

    interval: str = "10s"
    session_timeout: str = "5s"
    arrival_timeout: str = "8s"
    slow_threshold: str = "3s"
    retry_interval: str = "3s"
    deferral_timeout: str = "15s"
    #: Delays of the faults. The fault `slow` delays each delivery by more than `slow_threshold` and less than
    #: `arrival_timeout`.
    tempo: FaultDelays = field(default_factory=FaultDelays)
    #: Time from an unanswered SMS to the first call.
    call_after: str = "10s"
    #: Time from an unacknowledged call to the next one, which also goes to the deputy.
    call_again_after: str = "60s"
    #: Duration of an outage after which its announcement may be released; if `release` is "automatic", it is.
    release_after: str = "20s"
    #: An agency with three outages within this time is flapping, until it has had none for as long.
    flapping_window: str = "2m"
    #: How an announcement is released: "automatic" or "manual".
    release: str = "automatic"
    #: How replies by SMS reach the service: "off", "webhook" or "poll".
    replies: str = "off"


#: An outage in the demo takes a minute, not an hour.
DEMO = Timing()

#: Several sites, whose services probe the same mailboxes on one machine, need more time.
MULTI_SITE = Timing(
    interval="15s",
    session_timeout="8s",
    arrival_timeout="25s",
    slow_threshold="15s",
    deferral_timeout="30s",
    tempo=FaultDelays(slow_by=timedelta(seconds=18)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAccess:
    """URLs and credentials of the simulated carrier and fax service."""

    carrier_url: str
    account_sid: str
    auth_token: str = field(repr=False)
    #: The account's number, from which it sends SMS and calls.
    from_number: str
    fax_url: str
    project_id: str
    key_id: str
    key_secret: str = field(repr=False)
    fax_from_number: str


def write(
    directory: Path,
    network: LabNetwork,
    providers: ProviderAccess,
    timing: Timing,
    *,
    listen: str,
    callbacks: str,
    agencies: Sequence[FictionalAgency] = AGENCIES,
    signs_in: bool = False,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Write settings, a file for each of *agencies*, and secrets below *directory*; return the settings file.

    *signs_in*: whether the portal requires sign-in. *settings*: additional or replacing top-level settings.
    *listen*, *callbacks*: listening addresses ("127.0.0.1:8080") of the portal and of the callback listener.
    """
    secrets = _folder(directory / "secrets")
    _secret(secrets / "pembawa", providers.auth_token)
    _secret(secrets / "faks", providers.key_secret)
    _secret(secrets / "faks-panggil-balik", "rahsia-panggil-balik-demo")
    for person in (person for each in agencies for person in (each.duty, each.deputy) if person.pin):
        _secret(secrets / f"pin-{person.key}", person.pin)
    ports = _ports(network)
    portal: dict[str, Any] = {"portal": {}} if signs_in else {}
    listeners = {
        "listen": listen,
        "callbacks": {"listen": callbacks, "public_url": f"http://{callbacks}"},
        "site": "demo",
        "process_name": "demo",
    }
    return _write_files(
        directory,
        network,
        listeners
        | _probing_settings(ports, timing)
        | _notification_settings(providers, timing)
        | portal
        | dict(settings),
        {each.code: _agency_entries(each, ports) | _notification_entries(each, timing) for each in agencies},
    )


def write_site(directory: Path, network: LabNetwork, ports: Ports, *, settings: Mapping[str, Any]) -> Path:
    """Write the files of `write` for a site's service, which notifies nobody and has no telephone numbers.

    *ports*: the ports of the mail systems as seen from the site. *settings*: settings of this site only.
    """
    shutil.copyfile(network.authority.ca_file, directory / "ca.pem")
    return _write_files(
        directory,
        network,
        {"mode": "monitor_only", **settings, **_probing_settings(ports, MULTI_SITE)},
        {each.code: _agency_entries(each, ports) for each in AGENCIES},
    )


def _write_files(
    directory: Path, network: LabNetwork, settings: Mapping[str, Any], agencies: Mapping[str, Mapping[str, Any]]
) -> Path:
    secrets, files = _folder(directory / "secrets"), _folder(directory / "agencies")
    for system in network.systems.values():
        for account in system.accounts:
            _secret(secrets / account.name.lower(), account.secret)
    for code, agency in agencies.items():
        _dump(files / f"{code.lower()}.yaml", agency)
    _dump(directory / "pantau.yaml", settings)
    return directory / "pantau.yaml"


def _ports(network: LabNetwork) -> Ports:
    return lambda name, port: network.systems[name].port(port)


def _probing_settings(ports: Ports, timing: Timing) -> dict[str, Any]:
    return {
        "state_dir": "state",
        "agencies": "agencies/",
        "probing": {
            "interval": timing.interval,
            "session_timeout": timing.session_timeout,
            "arrival_timeout": timing.arrival_timeout,
            "slow_threshold": timing.slow_threshold,
            "retry_interval": timing.retry_interval,
            "deferral_timeout": timing.deferral_timeout,
        },
        "flapping": {"threshold": 3, "window": timing.flapping_window},
        # These domains do not exist in the DNS.
        "checks": {"mx": "off", "domain": "off"},
        "references": {each.key: _mailbox(each.key, each.domain, ports) for each in REFERENCES},
    }


def _notification_settings(providers: ProviderAccess, timing: Timing) -> dict[str, Any]:
    return {
        "gateways": _gateways(providers, timing.replies),
        "contacts": {NOC.key: _person(NOC)},
        "noc": {
            "short": "PANTAU",
            "name": "Pusat Operasi Rangkaian Contoh",
            "escalation": _escalation([NOC.key], [NOC.key], timing),
        },
    }


def _gateways(providers: ProviderAccess, replies: str) -> dict[str, Any]:
    twilio = {
        "account_sid": providers.account_sid,
        "auth_token_file": "secrets/pembawa",
        "from_number": providers.from_number,
        "base_url": providers.carrier_url,
    }
    fax = {
        "gateway": "sinch_fax",
        "name": "faks",
        "project_id": providers.project_id,
        "key_id": providers.key_id,
        "key_secret_file": "secrets/faks",
        "callback_secret_file": "secrets/faks-panggil-balik",
        "from_number": providers.fax_from_number,
        "base_url": providers.fax_url,
    }
    return {
        "sms": [{"gateway": "twilio_sms", "name": "sms", "replies": replies, **twilio}],
        "voice": [{"gateway": "twilio_voice", "name": "suara", "gather_timeout_seconds": 3, **twilio}],
        "fax": [fax],
        "letter": [{"gateway": "tray", "name": "dulang", "directory": "outbox/letter"}],
    }


def _agency_entries(agency: FictionalAgency, ports: Ports) -> dict[str, Any]:
    return {
        "agency": agency.code,
        "name": agency.name,
        "domains": [agency.domain],
        "mailboxes": {"utama": _mailbox(agency.code, agency.domain, ports)},
    }


def _notification_entries(agency: FictionalAgency, timing: Timing) -> dict[str, Any]:
    signatory, contact = agency.signatory, agency.contact
    return {
        "letterhead": {
            "address": list(agency.address),
            "telephone": agency.telephone,
            "fax": agency.fax,
            "hours": "8.00 pagi - 5.00 petang, Isnin - Jumaat",
            "hours_en": "8.00 am - 5.00 pm, Monday - Friday",
            "website": f"www.{agency.domain}",
            "reference": f"{agency.code}.100-1/9/1",
            "signatory": {"name": signatory[0], "post": signatory[1]},
            "head": agency.head,
            "contact_officer": {"name": contact[0], "post": contact[1], "telephone": agency.telephone},
        },
        "contacts": {person.key: _person(person) for person in (agency.duty, agency.deputy)},
        "escalation": _escalation([agency.duty.key], [agency.duty.key, agency.deputy.key], timing),
        "announcement": {
            "release": timing.release,
            "release_offered_after": timing.release_after,
            "recipients": {
                agency.recipient.key: {
                    "title": agency.recipient.title,
                    "organisation": agency.recipient.organisation,
                    "address": list(agency.recipient.address),
                    "fax": agency.recipient.fax,
                    "channels": ["fax", "letter"],
                }
            },
        },
    }


def _escalation(first: list[str], second: list[str], timing: Timing) -> dict[str, Any]:
    return {
        "steps": [
            {"after": "0s", "contacts": first, "channels": ["sms", "voice"]},
            {"after": timing.call_after, "contacts": first, "channels": ["voice"]},
            {"after": timing.call_again_after, "contacts": second, "channels": ["voice", "sms"]},
        ],
        "rounds": 3,
        "repeat_after": "60s",
    }


def _person(person: Person) -> dict[str, Any]:
    entry = {"name": person.name, "language": "ms-MY", "sms": person.number, "voice": person.number}
    return entry | ({"pin_file": f"secrets/pin-{person.key}"} if person.pin else {})


def _mailbox(name: str, domain: str, ports: Ports) -> dict[str, Any]:
    # Half of the systems use STARTTLS for submission, the others implicit TLS, to demonstrate both.
    starttls = domain.endswith("gov.my")
    port, security = (
        (ports(name, Port.SUBMISSION), "starttls") if starttls else (ports(name, Port.SUBMISSIONS), "implicit")
    )
    return {
        "address": f"pantau@{domain}",
        "smtp": {"host": "127.0.0.1", "port": port, "security": security},
        "imap": {"host": "127.0.0.1", "port": ports(name, Port.IMAP), "security": "implicit"},
        "ca_file": "ca.pem",
        "login": {"username": f"pantau@{domain}", "password_file": f"secrets/{name.lower()}"},
    }


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _secret(path: Path, secret: str) -> None:
    path.touch(mode=0o600)
    path.write_text(secret + "\n")


class _Plain(yaml.SafeDumper):
    """Dumper that repeats equal values instead of using YAML anchors, which Pantau does not accept."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _dump(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(yaml.dump(dict(document), Dumper=_Plain, sort_keys=False, allow_unicode=True))
