"""Reading and checking of one file by itself: the settings file or an agency's file.

*Reading* turns the file into a pydantic model, with *blanks* (valid substitutes) for invalid values. *Checking* records
problems of the valid values in `Findings`. A *claim* is a name that must be unique across all files; the loader of all
files compares the claims. A *reference* is a mailbox of the operator outside the agencies; a *pool* is a reference of
several mailboxes. `Trust` caches the TLS contexts of files of certificate authorities.
"""

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
from alerts.model.number import DRILL_PREFIX, number_prefix
from monitor.config.agency.calendar import check_gazette, check_office_hours
from monitor.config.agency.checks import ChecksSettings, ServiceChecksSettings, read_checks
from monitor.config.agency.contact import check_contacts
from monitor.config.agency.letterhead import check_glyphs, check_letterhead
from monitor.config.agency.mailbox import MailboxSettings, check_servers
from monitor.config.agency.probing import check_maintenance, check_probing
from monitor.config.agency.rota import check_rotas
from monitor.config.fields.circular import check_address, check_domains, check_reference
from monitor.config.fields.listen import is_on_this_machine, parse_listen
from monitor.config.fields.trust import Trust
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Problem
from monitor.config.files.reading import Reader, keys_of, missing_key
from monitor.config.files.regular import error_reason
from monitor.config.files.secret import SecretResolver
from monitor.config.files.section import Section
from monitor.config.model.alertmanager import check_alertmanager
from monitor.config.model.reference import all_mailboxes, check_pools, pool_sizes, read_references
from monitor.config.model.registry import Agency
from monitor.config.model.settings import LISTEN_VARIABLE, ServiceMode, Settings, SettingsContext
from monitor.config.service.drill import check_drills
from monitor.config.service.gateway import GatewayReader, configured_channels
from monitor.config.service.heartbeat import check_heartbeat
from monitor.config.service.hub import check_hub
from monitor.config.service.mail_provider import check_mail_providers
from monitor.config.service.out_of_band import check_out_of_band
from monitor.config.service.portal import check_portal
from monitor.config.service.store import check_retention, check_store
from monitor.config.validation.duplicate import Claim
from monitor.config.validation.independence import check_independence
from monitor.config.validation.reachability import Staff, check_announcement, check_escalation
from monitor.config.validation.route_check import check_default_routes, check_routes
from monitor.model.translatable import translatable
from probes.model.check import CheckKind

#: File systems of the kernel, in which the service cannot store files.
_KERNEL_FILESYSTEMS: Final = (Path("/proc"), Path("/sys"))
#: What to write instead of an invalid listen address.
_LISTEN_REMEDY = "127.0.0.1:8080; any other address must be in the settings file, with `portal`"


def read_settings(
    findings: Findings,
    secret_resolver: SecretResolver,
    gateway_kinds: Mapping[str, GatewayKind],
    check_kinds: Mapping[str, CheckKind],
) -> Settings | None:
    """Return the settings, with blanks for invalid values; `None` if the file cannot be parsed at all.

    *gateway_kinds* and *check_kinds*, by name: the plug-ins that send notifications, and those that examine what mail
    depends on, such as DNS.
    """
    if not findings.document.readable:
        return None
    reader = Reader(findings, secret_resolver)
    # Sections for which a single pydantic model is not enough.
    already_read = {
        "gateways": GatewayReader(reader, gateway_kinds).read(),
        "checks": read_checks(reader, ServiceChecksSettings, check_kinds),
        "references": read_references(reader),
    }
    return reader.read(
        Settings,
        _remaining_keys(Settings, Agency, findings, already_read, "an agency's file"),
        already_read=already_read,
    )


def _remaining_keys(
    model: type[BaseModel], other_model: type[BaseModel], findings: Findings, already_read: Collection[str], where: str
) -> Mapping[str, object]:
    """Return the data of the document without the keys *already_read*.

    Keys that belong to the other kind of file are recorded and omitted. *other_model* is the model of that kind, and
    *where* its name in messages.
    """
    data = dict(findings.document.data)
    for key in keys_of(other_model).keys() & data.keys() - keys_of(model).keys():
        findings[key].broken("belongs in another file", translatable("it in {where}", where=translatable(where)))
        del data[key]
    return {key: value for key, value in data.items() if key not in already_read}


def build_settings_context(settings: Settings | None, findings: Findings) -> SettingsContext:
    """Return the values that checks of agency files need. *settings*: `None` if they could not be read."""
    channels = configured_channels(findings)
    if settings is None:
        return SettingsContext(channels=channels)
    return SettingsContext(
        mode=settings.mode,
        # `None` means unknown: in monitor-only mode, gateways may be configured later.
        channels=None if settings.mode is ServiceMode.MONITOR_ONLY else channels,
        references=None if findings["references"].is_blank else settings.references_in_use,
        pooled=frozenset(pool_sizes(settings.references)),
        contacts=None if findings["contacts"].is_blank else settings.contacts,
        contacts_with_errors=frozenset(key for key in settings.contacts if findings["contacts", key].is_broken),
        rotas=None if findings["rotas"].is_blank else settings.rotas,
        suffixes=settings.official_suffixes,
        private_providers=settings.private_providers,
        probing=None if findings["probing"].is_broken else settings.probing,
        time_zone=settings.time_zone,
    )


def check_settings(
    settings: Settings, settings_context: SettingsContext, findings: Findings, claims: list[Claim], trust: Trust
) -> None:
    """Record problems of the settings file, and append its claims to *claims*."""
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
    check_retention(settings.retention, findings["retention"])
    check_mail_providers(settings.mail_providers, findings["mail_providers"])
    check_pools(settings.references, findings["references"])
    for path, mailbox in all_mailboxes(settings.references):
        key_findings = findings["references"][path]
        check_reference(
            mailbox.address, settings_context.suffixes, settings_context.private_providers, key_findings["address"]
        )
        check_mailbox(mailbox, key_findings, claims, trust)
    check_independence(settings.references, findings["references"])
    check_default_routes(settings.references_in_use, findings["references"])
    check_contacts(settings.contacts, findings["contacts"])
    claims += _key_claims("contact", settings.contacts, findings["contacts"])
    check_rotas(settings.rotas, settings_context.contacts, findings["rotas"])
    claims += _key_claims("rota", settings.rotas, findings["rotas"])
    # Gazetted days are holidays and workdays that the holiday library lacks.
    check_gazette(settings.calendar, findings["calendar"])
    check_office_hours(settings.calendar.office_hours, findings["calendar", "office_hours"])
    _check_noc(settings, settings_context, findings, claims)
    if settings.alertmanager is not None:
        check_alertmanager(settings.alertmanager, findings["alertmanager"])
    if settings.heartbeat is not None:
        check_heartbeat(settings.heartbeat, findings["heartbeat"])
    if settings.out_of_band is not None:
        check_out_of_band(settings.out_of_band, settings.gateways, findings["out_of_band"])
    if settings.drills is not None:
        check_drills(settings.drills, findings["drills"])


def check_mailbox(mailbox: MailboxSettings, findings: Findings, claims: list[Claim], trust: Trust) -> None:
    """Record problems of a mailbox. Claim its address and its folder, which no other mailbox may use."""
    address, server = mailbox.address, mailbox.imap or mailbox.pop3
    instead = "a separate mailbox for each entry"
    claim = Claim(kind="mailbox address", name=address, path=findings["address"].path, instead=instead)
    claims.append(claim)
    if server is not None and not findings.is_broken:
        # Two mailboxes with the same folder would delete each other's messages. Therefore a second address of a mailbox
        # must be configured as a route with `to`.
        folder, port = mailbox.inbox or "INBOX", f":{server.port}" if server.port else ""
        name = translatable(
            "{folder} of {username} at {host}{port}",
            folder=folder,
            username=mailbox.login.username,
            host=server.host,
            port=port,
        )
        instead = translatable("an inbound route with `to: {address}` and the existing mailbox", address=address)
        claims.append(Claim(kind="folder", name=name, path=findings.path, instead=instead, depends_on=claim))
    check_servers(mailbox, findings, trust)


def _key_claims(kind: str, keys: Iterable[str], findings: Findings) -> Iterator[Claim]:
    """Yield a claim for each of *keys*, which are keys of a mapping in the configuration."""
    return (Claim(kind=kind, name=key, path=findings[key].path, instead="another key") for key in keys)


def find_listen_problem(environ: Mapping[str, str]) -> Problem | None:
    """Return the problem of the listen address in the environment; `None` if it is valid or not set."""
    if (text := environ.get(LISTEN_VARIABLE)) is None:
        return None
    listen = parse_listen(text)
    if listen is not None and listen.is_loopback:
        return None
    message = "must be loopback" if listen else translatable("'{text}' is no address with a port", text=text)
    return Problem(file="environment", key=LISTEN_VARIABLE, message=message, instead=_LISTEN_REMEDY)


def apply_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Return *settings* with the values that environment variables override."""
    listen = parse_listen(environ.get(LISTEN_VARIABLE, ""))
    return settings if listen is None else settings.model_copy(update={"listen": listen})


def _check_directory(directory: Path, findings: Findings, instead: str) -> None:
    """Record a path that is not a directory. A missing directory is valid, because it is created when it is needed."""
    try:
        is_directory = stat.S_ISDIR(directory.stat().st_mode)
    except (FileNotFoundError, PermissionError):
        return
    except (OSError, ValueError) as error:
        findings.error(translatable("cannot be used: {error}", error=error_reason(error)), instead)
        return
    if not is_directory:
        findings.error("is no directory", instead)


def _check_state(state: Path, findings: Findings) -> None:
    """Record a state directory in which the service cannot write files."""
    instead = "a directory of the service's own: /var/lib/pantau"
    _check_directory(state, findings, instead)
    if (
        kernel_filesystem := next((each for each in _KERNEL_FILESYSTEMS if state.is_relative_to(each)), None)
    ) is not None:
        findings.error(
            translatable("{place} belongs to the kernel, and stores no files", place=kernel_filesystem), instead
        )
        return
    for directory in (state, *state.parents):
        with suppress(OSError, ValueError):
            if os.statvfs(directory).f_flag & os.ST_RDONLY:
                # Only warn: the check may run in a container in which the state directory is not mounted.
                message = translatable("{place} is on a file system that is mounted read-only", place=directory)
                findings.warning(message, instead)
            return


def _check_trays(settings: Settings, findings: Findings) -> None:
    """Record trays that are not a directory. A tray is the directory from which clerks print letters."""
    for channel, gateways in settings.gateways.items():
        for number, gateway in enumerate(gateways):
            if (tray := getattr(gateway.config, "directory", None)) is not None:
                key_findings = findings["gateways", channel.value, number, "directory"]
                instead = "a directory for letters: /var/spool/pantau/surat"
                _check_directory(Path(findings.document.file).parent / tray, key_findings, instead)


def _check_listeners(settings: Settings, findings: Findings, trust: Trust) -> None:
    check_portal(settings.portal, settings.listen, findings, trust)
    if settings.listen == settings.callbacks.listen and settings.listen.port:
        findings["callbacks", "listen"].error("is the same as listen", "another port: 127.0.0.1:8081")


def _check_mode(settings: Settings, findings: Findings) -> None:
    """Record missing gateways if notifications are enabled; in monitor-only mode, sections without effect."""
    if settings.mode is ServiceMode.MONITOR_ONLY:
        for key in ("heartbeat", "out_of_band", "drills"):
            if getattr(settings, key) is not None:
                findings[key].warning(
                    "has no effect, because nobody is notified (mode: monitor_only)", "mode: notify, or leave it out"
                )
    elif not settings.gateways and not findings["gateways"].is_broken:
        # Do not assume monitor-only mode: a section that was removed by mistake must not disable all notifications.
        findings["gateways"].error(
            "there is no gateway, so nobody can be notified", "gateways, or mode: monitor_only to notify nobody"
        )


def _check_replies(settings: Settings, findings: Findings) -> None:
    """Record a callback URL that providers cannot reach, and gateways that need callbacks although there is no URL."""
    public_url, key_findings = settings.callbacks.public_url, findings["callbacks", "public_url"]
    if key_findings.is_broken:
        return
    if public_url is not None:
        if is_on_this_machine(public_url) and not all(is_on_this_machine(url) for url in _gateway_urls(settings)):
            key_findings.warning(
                "only this machine can reach it, and providers are elsewhere", "https://pantau.contoh.gov.my"
            )
        return
    for channel, gateways in settings.gateways.items():
        for number, gateway in enumerate(gateways):
            if getattr(gateway.config, "replies", None) == "webhook":
                key_findings = findings["gateways", channel.value, number, "replies"]
                key_findings.error("providers cannot reach Pantau without callbacks.public_url", "poll")


def _gateway_urls(settings: Settings) -> Iterator[str]:
    """Yield the URLs of gateways that are accessed over HTTP."""
    for gateway in (each for gateways in settings.gateways.values() for each in gateways):
        yield from (
            text for text in _all_strings(gateway.config.model_dump()) if text.startswith(("http://", "https://"))
        )


def _all_strings(tree: object) -> Iterator[str]:
    """Yield all texts in nested mappings and lists."""
    match tree:
        case str():
            yield tree
        case Mapping():
            yield from (text for each in tree.values() for text in _all_strings(each))
        case list() | tuple():
            yield from (text for each in tree for text in _all_strings(each))


def _check_noc(settings: Settings, settings_context: SettingsContext, findings: Findings, claims: list[Claim]) -> None:
    """Record problems of the section `noc`, and of the escalation of alerts received from Alertmanager to NOC staff."""
    noc, key_findings = settings.noc, findings["noc"]
    if "noc" not in settings.model_fields_set:
        if settings.mode is ServiceMode.NOTIFY:
            key_findings.broken(*missing_key(Settings, "noc"))
        return
    staff = Staff(noc.contacts, key_findings["contacts"])
    check_contacts(noc.contacts, key_findings["contacts"])
    claims += _key_claims("contact", noc.contacts, key_findings["contacts"])
    if _check_is_set(noc, "escalation", settings_context, key_findings):
        check_escalation(noc.escalation, staff, settings_context, key_findings["escalation"])
    policies = [noc.escalation]
    if settings.alertmanager is not None and settings.alertmanager.receive is not None:
        for key, route in settings.alertmanager.receive.routes.items():
            policies.append(route.escalation)
            escalation_findings = findings["alertmanager", "receive", "routes", key, "escalation"]
            check_escalation(route.escalation, staff, settings_context, escalation_findings)
    used_channels = {channel for policy in policies for step in policy.steps for channel in step.channels}
    check_letterhead(noc.letterhead, used_channels, key_findings["letterhead"])


def _check_is_set(section: Section, key: str, settings_context: SettingsContext, findings: Findings) -> bool:
    """Return whether *key* of *section* is set. Record a missing one if notifications are enabled."""
    if key in section.model_fields_set:
        return True
    if settings_context.mode is ServiceMode.NOTIFY:
        findings[key].broken(*missing_key(type(section), key))
    return False


def read_agency(
    findings: Findings, secret_resolver: SecretResolver, check_kinds: Mapping[str, CheckKind]
) -> Agency | None:
    """Return the model of an agency's file, with blanks for invalid values; `None` if the file cannot be parsed at all.

    *check_kinds*: as in `read_settings`.
    """
    document = findings.document
    if not document.readable:
        return None
    if "agency" in document.data and next(iter(document.data)) != "agency":
        findings["agency"].warning("is not the first key of the file", "agency: CODE in the first line")
    reader = Reader(findings, secret_resolver)
    already_read = {"checks": read_checks(reader, ChecksSettings, check_kinds)}
    return reader.read(
        Agency,
        _remaining_keys(Agency, Settings, findings, already_read, "the settings file"),
        already_read=already_read,
    )


def check_agency(
    agency: Agency, settings_context: SettingsContext, findings: Findings, claims: list[Claim], trust: Trust
) -> None:
    """Record problems of an agency's file, and append its claims to *claims*."""
    instead = "another short code, or one file for both"
    claims.append(Claim(kind="agency code", name=agency.agency, path=("agency",), instead=instead))
    if number_prefix(agency.agency) == DRILL_PREFIX:
        findings["agency"].warning(
            translatable(
                "gives incidents the same numbers as drills: {begins}-01 could be either", begins=DRILL_PREFIX
            ),
            "another short code",
        )
    _check_mail(agency, settings_context, findings, claims, trust)
    if settings_context.probing is not None:
        check_probing(agency.probing.merged_into(settings_context.probing), agency.probing, findings["probing"])
    check_maintenance(agency.maintenance, agency.time_zone or settings_context.time_zone, findings["maintenance"])
    _check_people(agency, settings_context, findings, claims)


def _check_mail(
    agency: Agency, settings_context: SettingsContext, findings: Findings, claims: list[Claim], trust: Trust
) -> None:
    if not agency.domains:
        findings["domains"].error("no domain is registered", "[jabatan-contoh.gov.my]")
    check_domains(agency.domains, settings_context.suffixes, settings_context.private_providers, findings["domains"])
    # Messages of forwarded routes arrive in a reference, so such routes need no mailbox of the agency.
    only_forwarded = bool(agency.routes) and all(route.arrives_in is not None for route in agency.routes or ())
    if not agency.mailboxes and not only_forwarded and not findings["mailboxes"].is_broken:
        _record_no_mailbox(agency, findings["mailboxes"])
    for key, mailbox in agency.mailboxes.items():
        key_findings = findings["mailboxes", key]
        if agency.domains and not findings["domains"].is_broken:
            check_address(mailbox.address, agency.domains, settings_context.private_providers, key_findings["address"])
        check_mailbox(mailbox, key_findings, claims, trust)
    if agency.routes is None:
        check_default_routes(
            agency.mailboxes, findings["mailboxes"], translatable(", or routes: with those that there are")
        )
    else:
        if not agency.routes:
            findings["routes"].error("no route is probed", "at least one route, or leave the key out")
        for number, route in enumerate(agency.routes):
            if route.to is not None and agency.domains and not findings["domains"].is_broken:
                check_address(
                    route.to, agency.domains, settings_context.private_providers, findings["routes", number, "to"]
                )
        domain = next(iter(agency.domains), "")
        check_routes(
            agency.routes,
            agency.agency,
            agency.mailboxes,
            settings_context.references,
            findings,
            domain=domain,
            pooled=settings_context.pooled,
        )


def _record_no_mailbox(agency: Agency, findings: Findings) -> None:
    if agency.routes is not None:
        findings.error("there is no mailbox to probe", "a key for the mailbox and its settings below it")
    elif "mailboxes" not in agency.model_fields_set:
        instead = "a key for the mailbox and its settings below it, or {} until an officer adds one in the portal"
        findings.error("there is no mailbox to probe", instead)
    else:
        # Only warn: an explicitly empty section is deliberate.
        findings.warning(
            "there is no mailbox yet: nothing of this agency is probed", "a mailbox, here or in the portal"
        )


def _check_people(agency: Agency, settings_context: SettingsContext, findings: Findings, claims: list[Claim]) -> None:
    contacts_findings = findings["contacts"]
    staff = Staff(agency.contacts, contacts_findings, agency.rotas)
    check_office_hours(agency.calendar.office_hours, findings["calendar", "office_hours"])
    check_contacts(agency.contacts, contacts_findings)
    for key in agency.contacts:
        if settings_context.contacts and key in settings_context.contacts:
            instead = "another key, or name the shared contact"
            claims.append(Claim(kind="contact", name=key, path=contacts_findings[key].path, instead=instead))
    contacts_are_known = settings_context.contacts is not None and not contacts_findings.is_blank
    contacts = {**(settings_context.contacts or {}), **agency.contacts} if contacts_are_known else None
    check_rotas(agency.rotas, contacts, findings["rotas"])
    for key in agency.rotas:
        if settings_context.rotas and key in settings_context.rotas:
            instead = "another key, or name the shared rota"
            claims.append(Claim(kind="rota", name=key, path=("rotas", key), instead=instead))
    if _check_is_set(agency, "escalation", settings_context, findings):
        check_escalation(agency.escalation, staff, settings_context, findings["escalation"])
    # No recipient of an announcement may be notified before the staff in the first step.
    first_step = next(iter(agency.escalation.steps), None)
    check_announcement(agency.announcement, first_step, settings_context, findings["announcement"])
    used_channels = {channel for recipient in agency.announcement.recipients.values() for channel in recipient.channels}
    used_channels |= {channel for step in agency.escalation.steps for channel in step.channels}
    check_letterhead(agency.letterhead, used_channels, findings["letterhead"])
    if {Channel.FAX, Channel.LETTER} & used_channels:
        check_glyphs(agency.name, findings["name"])
