"""Reading and checking of a single file: the settings file or an agency's file."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from alerts.model.channel import Channel
from alerts.model.gateway import GatewayKind
from alerts.model.number import DRILLS_BEGIN, number_prefix
from monitor.config.agency.calendar import check_gazette, check_office_hours
from monitor.config.agency.checks import ChecksSettings, ServiceChecksSettings, read_checks
from monitor.config.agency.contact import check_contacts
from monitor.config.agency.letterhead import check_glyphs, check_letterhead
from monitor.config.agency.mailbox import MailboxSettings, check_servers
from monitor.config.agency.probing import check_maintenance, check_probing
from monitor.config.agency.rota import check_rotas
from monitor.config.fields.circular import check_address, check_domains, check_reference
from monitor.config.fields.listen import is_here, parse_listen
from monitor.config.fields.trust import Trust
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Problem
from monitor.config.files.reading import Reader, missing, names
from monitor.config.files.regular import why
from monitor.config.files.secret import SecretResolver
from monitor.config.files.section import Section
from monitor.config.model.alertmanager import check_alertmanager
from monitor.config.model.reference import check_pools, every_member, pools, read_references
from monitor.config.model.registry import Agency
from monitor.config.model.settings import LISTEN_VARIABLE, ServiceMode, Settings, SettingsContext
from monitor.config.service.drill import check_drills
from monitor.config.service.gateway import GatewayReader, configured_channels
from monitor.config.service.heartbeat import check_heartbeat
from monitor.config.service.hub import check_hub
from monitor.config.service.mail_provider import check_mail_providers
from monitor.config.service.out_of_band import check_out_of_band
from monitor.config.service.portal import check_portal
from monitor.config.service.store import check_keep, check_store
from monitor.config.validation.duplicate import Claim
from monitor.config.validation.independence import check_independence
from monitor.config.validation.reachability import Staff, check_announcement, check_escalation
from monitor.config.validation.route_check import check_ends, check_routes
from monitor.model.lazy_text import said
from probes.model.check import CheckKind

#: File systems of the kernel.
_KERNELS: Final = (Path("/proc"), Path("/sys"))
_LOOPBACK = "127.0.0.1:8080; another address is written into the settings, with `portal`"


def read_settings(
    findings: Findings, vault: SecretResolver, kinds: Mapping[str, GatewayKind], checks: Mapping[str, CheckKind]
) -> Settings | None:
    """Return the settings, with blanks for invalid values; `None` if the file cannot be parsed at all."""
    if not findings.document.readable:
        return None
    reader = Reader(findings, vault)
    given = {
        "gateways": GatewayReader(reader, kinds).read(),
        "checks": read_checks(reader, ServiceChecksSettings, checks),
        "references": read_references(reader),
    }
    return reader.read(Settings, _of(Settings, Agency, findings, given, "an agency's file"), given=given)


def _of(
    model: type[BaseModel], other: type[BaseModel], findings: Findings, given: Collection[str], where: str
) -> Mapping[str, object]:
    """Return the keys of *model* that are not *given*.

    Record keys of the *other* kind of file, which is named in the message.
    """
    data = dict(findings.document.data)
    for key in names(other).keys() & data.keys() - names(model).keys():
        findings[key].broken("belongs into another file", said("it in {where}", where=said(where)))
        del data[key]
    return {key: value for key, value in data.items() if key not in given}


def provision_of(settings: Settings | None, findings: Findings) -> SettingsContext:
    """Return the context that agency files may use."""
    channels = configured_channels(findings)
    if settings is None:
        return SettingsContext(channels=channels)
    return SettingsContext(
        mode=settings.mode,
        # In monitor-only mode gateways may be configured later, so the channels are unknown.
        channels=None if settings.mode is ServiceMode.MONITOR_ONLY else channels,
        references=None if findings["references"].is_blank else settings.references_in_use,
        pooled=frozenset(pools(settings.references)),
        contacts=None if findings["contacts"].is_blank else settings.contacts,
        unsure=frozenset(key for key in settings.contacts if findings["contacts", key].is_broken),
        rotas=None if findings["rotas"].is_blank else settings.rotas,
        suffixes=settings.official_suffixes,
        private_providers=settings.private_providers,
        probing=None if findings["probing"].is_broken else settings.probing,
        time_zone=settings.time_zone,
    )


def check_settings(
    settings: Settings, provision: SettingsContext, findings: Findings, claims: list[Claim], trust: Trust
) -> None:
    """Record problems of the settings file by itself."""
    _check_state(settings.state_dir, findings["state_dir"])
    _check_trays(settings, findings)
    _check_listeners(settings, findings, trust)
    _check_mode(settings, findings)
    _check_replies(settings, findings)
    if settings.store is not None:
        check_store(settings.store, findings["store"], trust)
    if settings.hub is not None:
        check_hub(settings.hub, settings.store, settings.site, findings["hub"], trust)
    check_probing(settings.probing, settings.probing, findings["probing"])
    check_maintenance(settings.maintenance, settings.time_zone, findings["maintenance"])
    check_keep(settings.retention, findings["retention"])
    check_mail_providers(settings.mail_providers, findings["mail_providers"])
    check_pools(settings.references, findings["references"])
    for path, mailbox in every_member(settings.references):
        there = findings["references"][path]
        check_reference(mailbox.address, provision.suffixes, provision.private_providers, there["address"])
        check_mailbox(mailbox, there, claims, trust)
    check_independence(settings.references, findings["references"])
    check_ends(settings.references_in_use, findings["references"])
    check_contacts(settings.contacts, findings["contacts"])
    claims += _keys("contact", settings.contacts, findings["contacts"])
    check_rotas(settings.rotas, provision.contacts, findings["rotas"])
    claims += _keys("rota", settings.rotas, findings["rotas"])
    check_gazette(settings.calendar, findings["calendar"])
    check_office_hours(settings.calendar.office_hours, findings["calendar", "office_hours"])
    _check_noc(settings, provision, findings, claims)
    if settings.alertmanager is not None:
        check_alertmanager(settings.alertmanager, findings["alertmanager"])
    if settings.heartbeat is not None:
        check_heartbeat(settings.heartbeat, findings["heartbeat"])
    if settings.out_of_band is not None:
        check_out_of_band(settings.out_of_band, settings.gateways, findings["out_of_band"])
    if settings.drills is not None:
        check_drills(settings.drills, findings["drills"])


def check_mailbox(mailbox: MailboxSettings, findings: Findings, claims: list[Claim], trust: Trust) -> None:
    """Record servers whose authorities are unusable, and claim names that no other file may claim."""
    address, server = mailbox.address, mailbox.imap or mailbox.pop3
    instead = "a mailbox of its own for each place"
    claim = Claim(kind="mailbox address", name=address, path=findings["address"].path, instead=instead)
    claims.append(claim)
    if server is not None and not findings.is_broken:
        # Two mailboxes that read the same folder would delete each other's messages. A second address of a mailbox is
        # not a second mailbox.
        folder, port = mailbox.inbox or "INBOX", f":{server.port}" if server.port else ""
        name = said(
            "{folder} of {username} at {host}{port}",
            folder=folder,
            username=mailbox.login.username,
            host=server.host,
            port=port,
        )
        instead = said("an inbound route with `to: {address}` and the mailbox that is there", address=address)
        claims.append(Claim(kind="folder", name=name, path=findings.path, instead=instead, behind=claim))
    check_servers(mailbox, findings, trust)


def _keys(kind: str, keys: Iterable[str], findings: Findings) -> Iterator[Claim]:
    return (Claim(kind=kind, name=key, path=findings[key].path, instead="another key") for key in keys)


def listen_problem(environ: Mapping[str, str]) -> Problem | None:
    """Return the problem of the listen address in the environment; `None` if it is valid."""
    if (text := environ.get(LISTEN_VARIABLE)) is None:
        return None
    listen = parse_listen(text)
    if listen is not None and listen.is_loopback:
        return None
    message = "must be loopback" if listen else said("'{text}' is no address with a port", text=text)
    return Problem(file="environment", key=LISTEN_VARIABLE, message=message, instead=_LOOPBACK)


def with_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Return *settings* with the overrides of the environment."""
    listen = parse_listen(environ.get(LISTEN_VARIABLE, ""))
    return settings if listen is None else settings.model_copy(update={"listen": listen})


def _check_directory(place: Path, findings: Findings, instead: str) -> None:
    """Record a path that is not a directory. A missing directory is created when it is needed."""
    try:
        is_directory = stat.S_ISDIR(place.stat().st_mode)
    except (FileNotFoundError, PermissionError):
        return
    except (OSError, ValueError) as error:
        findings.error(said("cannot be used: {error}", error=why(error)), instead)
        return
    if not is_directory:
        findings.error("is no directory", instead)


def _check_state(state: Path, findings: Findings) -> None:
    """Record a state directory that no user can write to."""
    instead = "a directory of the service's own: /var/lib/pantau"
    _check_directory(state, findings, instead)
    if (kernels := next((each for each in _KERNELS if state.is_relative_to(each)), None)) is not None:
        findings.error(said("{place} belongs to the kernel: no files are kept there", place=kernels), instead)
        return
    for place in (state, *state.parents):
        with suppress(OSError, ValueError):
            if os.statvfs(place).f_flag & os.ST_RDONLY:
                # Only a warning: the check may run in a container in which the state directory is not mounted.
                message = said("{place} is on a file system that is mounted read-only", place=place)
                findings.warning(message, instead)
            return


def _check_trays(settings: Settings, findings: Findings) -> None:
    """Record trays that cannot store letters."""
    for channel, gateways in settings.gateways.items():
        for number, gateway in enumerate(gateways):
            if (tray := getattr(gateway.config, "directory", None)) is not None:
                there = findings["gateways", channel.value, number, "directory"]
                instead = "a directory for letters: /var/spool/pantau/surat"
                _check_directory(Path(findings.document.file).parent / tray, there, instead)


def _check_listeners(settings: Settings, findings: Findings, trust: Trust) -> None:
    check_portal(settings.portal, settings.listen, findings, trust)
    if settings.listen == settings.callbacks.listen and settings.listen.port:
        findings["callbacks", "listen"].error("is the same as listen", "another port: 127.0.0.1:8081")


def _check_mode(settings: Settings, findings: Findings) -> None:
    """Record missing gateways if notifications are enabled, and sections without effect in monitor-only mode."""
    if settings.mode is ServiceMode.MONITOR_ONLY:
        for key in ("heartbeat", "out_of_band", "drills"):
            if getattr(settings, key) is not None:
                findings[key].warning(
                    "sleeps while nobody is told (mode: monitor_only)", "mode: notify, or leave it out"
                )
    elif not settings.gateways and not findings["gateways"].is_broken:
        # Do not infer monitor-only mode: a section removed by mistake must not disable all notifications.
        findings["gateways"].error(
            "there is none, so nobody could be told", "gateways, or mode: monitor_only to tell nobody"
        )


def _check_replies(settings: Settings, findings: Findings) -> None:
    """Record gateways whose replies no provider could deliver."""
    public, there = settings.callbacks.public_url, findings["callbacks", "public_url"]
    if there.is_broken:
        return
    if public is not None:
        if is_here(public) and not all(is_here(url) for url in _providers(settings)):
            there.warning("only this machine can reach it, and providers are elsewhere", "https://pantau.contoh.gov.my")
        return
    for channel, gateways in settings.gateways.items():
        for number, gateway in enumerate(gateways):
            if getattr(gateway.config, "replies", None) == "webhook":
                there = findings["gateways", channel.value, number, "replies"]
                there.error("no provider can reach us without callbacks.public_url", "poll")


def _providers(settings: Settings) -> Iterator[str]:
    """Yield the URLs of gateways that are accessed over HTTP."""
    for gateway in (each for gateways in settings.gateways.values() for each in gateways):
        yield from (text for text in _texts(gateway.config.model_dump()) if text.startswith(("http://", "https://")))


def _texts(tree: object) -> Iterator[str]:
    match tree:
        case str():
            yield tree
        case Mapping():
            yield from (text for each in tree.values() for text in _texts(each))
        case list() | tuple():
            yield from (text for each in tree for text in _texts(each))


def _check_noc(settings: Settings, provision: SettingsContext, findings: Findings, claims: list[Claim]) -> None:
    noc, there = settings.noc, findings["noc"]
    if "noc" not in settings.model_fields_set:
        if settings.mode is ServiceMode.NOTIFY:
            there.broken(*missing(Settings, "noc"))
        return
    staff = Staff(noc.contacts, there["contacts"])
    check_contacts(noc.contacts, there["contacts"])
    claims += _keys("contact", noc.contacts, there["contacts"])
    if _is_there(noc, "escalation", provision, there):
        check_escalation(noc.escalation, staff, provision, there["escalation"])
    policies = [noc.escalation]
    if settings.alertmanager is not None and settings.alertmanager.receive is not None:
        for key, tell in settings.alertmanager.receive.routes.items():
            policies.append(tell.escalation)
            at = findings["alertmanager", "receive", "routes", key, "escalation"]
            check_escalation(tell.escalation, staff, provision, at)
    used = {channel for policy in policies for step in policy.steps for channel in step.channels}
    check_letterhead(noc.letterhead, used, there["letterhead"])


def _is_there(section: Section, key: str, provision: SettingsContext, findings: Findings) -> bool:
    """Whether *key* is set. Record that it is missing if notifications are enabled."""
    if key in section.model_fields_set:
        return True
    if provision.mode is ServiceMode.NOTIFY:
        findings[key].broken(*missing(type(section), key))
    return False


def read_agency(findings: Findings, vault: SecretResolver, checks: Mapping[str, CheckKind]) -> Agency | None:
    """Return the agency, with blanks for invalid values; `None` if the file cannot be parsed at all."""
    document = findings.document
    if not document.readable:
        return None
    if "agency" in document.data and next(iter(document.data)) != "agency":
        findings["agency"].warning("is not the first key of the file", "agency: CODE in the first line")
    reader = Reader(findings, vault)
    given = {"checks": read_checks(reader, ChecksSettings, checks)}
    return reader.read(Agency, _of(Agency, Settings, findings, given, "the settings file"), given=given)


def check_agency(
    agency: Agency, provision: SettingsContext, findings: Findings, claims: list[Claim], trust: Trust
) -> None:
    """Record problems of an agency file by itself, and its claims to names that must be unique."""
    instead = "another short code, or one file for both"
    claims.append(Claim(kind="agency code", name=agency.agency, path=("agency",), instead=instead))
    if number_prefix(agency.agency) == DRILLS_BEGIN:
        findings["agency"].warning(
            said("gives its incidents the numbers of drills: {begins}-01 would be either", begins=DRILLS_BEGIN),
            "another short code",
        )
    _check_mail(agency, provision, findings, claims, trust)
    if provision.probing is not None:
        check_probing(agency.probing.over(provision.probing), agency.probing, findings["probing"])
    check_maintenance(agency.maintenance, agency.time_zone or provision.time_zone, findings["maintenance"])
    _check_people(agency, provision, findings, claims)


def _check_mail(
    agency: Agency, provision: SettingsContext, findings: Findings, claims: list[Claim], trust: Trust
) -> None:
    if not agency.domains:
        findings["domains"].error("no domain is registered", "[jabatan-contoh.gov.my]")
    check_domains(agency.domains, provision.suffixes, provision.private_providers, findings["domains"])
    forwarded = bool(agency.routes) and all(route.arrives_in is not None for route in agency.routes or ())
    if not agency.mailboxes and not forwarded and not findings["mailboxes"].is_broken:
        _note_no_mailbox(agency, findings["mailboxes"])
    for key, mailbox in agency.mailboxes.items():
        there = findings["mailboxes", key]
        if agency.domains and not findings["domains"].is_broken:
            check_address(mailbox.address, agency.domains, provision.private_providers, there["address"])
        check_mailbox(mailbox, there, claims, trust)
    if agency.routes is None:
        check_ends(agency.mailboxes, findings["mailboxes"], said(", or routes: with those that there are"))
    else:
        if not agency.routes:
            findings["routes"].error("no route is probed", "at least one route, or leave the key out")
        for number, route in enumerate(agency.routes):
            if route.to is not None and agency.domains and not findings["domains"].is_broken:
                check_address(route.to, agency.domains, provision.private_providers, findings["routes", number, "to"])
        domain = next(iter(agency.domains), "")
        check_routes(
            agency.routes,
            agency.agency,
            agency.mailboxes,
            provision.references,
            findings,
            domain=domain,
            pooled=provision.pooled,
        )


def _note_no_mailbox(agency: Agency, findings: Findings) -> None:
    if agency.routes is not None:
        findings.error("there is no mailbox to probe", "a key for the mailbox and its settings below it")
    elif "mailboxes" not in agency.model_fields_set:
        instead = "a key for the mailbox and its settings below it, or {} until an officer adds one in the portal"
        findings.error("there is no mailbox to probe", instead)
    else:
        # An explicitly empty section is deliberate.
        findings.warning(
            "there is no mailbox yet: nothing of this agency is probed", "a mailbox, here or in the portal"
        )


def _check_people(agency: Agency, provision: SettingsContext, findings: Findings, claims: list[Claim]) -> None:
    contacts = findings["contacts"]
    staff = Staff(agency.contacts, contacts, agency.rotas)
    check_office_hours(agency.calendar.office_hours, findings["calendar", "office_hours"])
    check_contacts(agency.contacts, contacts)
    for key in agency.contacts:
        if provision.contacts and key in provision.contacts:
            instead = "another key, or name the shared contact"
            claims.append(Claim(kind="contact", name=key, path=contacts[key].path, instead=instead))
    sure = provision.contacts is not None and not contacts.is_blank
    known = {**(provision.contacts or {}), **agency.contacts} if sure else None
    check_rotas(agency.rotas, known, findings["rotas"])
    for key in agency.rotas:
        if provision.rotas and key in provision.rotas:
            instead = "another key, or name the shared rota"
            claims.append(Claim(kind="rota", name=key, path=("rotas", key), instead=instead))
    if _is_there(agency, "escalation", provision, findings):
        check_escalation(agency.escalation, staff, provision, findings["escalation"])
    first = next(iter(agency.escalation.steps), None)
    check_announcement(agency.announcement, first, provision, findings["announcement"])
    used = {channel for recipient in agency.announcement.recipients.values() for channel in recipient.channels}
    used |= {channel for step in agency.escalation.steps for channel in step.channels}
    check_letterhead(agency.letterhead, used, findings["letterhead"])
    if {Channel.FAX, Channel.LETTER} & used:
        check_glyphs(agency.name, findings["name"])
