"""Read and check an agency file."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.config.agency.calendar import check_office_hours
from monitor.config.agency.checks import ChecksSettings, read_checks
from monitor.config.agency.contact import check_contacts
from monitor.config.agency.maintenance import check_maintenance
from monitor.config.agency.office import check_office
from monitor.config.agency.probing import check_probing
from monitor.config.agency.rota import check_rotas
from monitor.config.fields.circular import check_address, check_domains
from monitor.config.fields.trust import Trust
from monitor.config.files.findings import Findings
from monitor.config.files.reading import Reader
from monitor.config.files.secret import Vault
from monitor.config.model.provision import Provision
from monitor.config.model.registry import Agency
from monitor.config.sense.duplicate import Claim
from monitor.config.sense.reach import Staff, check_announcement, check_escalation
from monitor.config.sense.route_check import check_routes
from monitor.config.settings_file import check_mailbox
from probes.model.check import CheckKind


def read_agency(findings: Findings, vault: Vault, checks: Mapping[str, CheckKind]) -> Agency | None:
    """Return the agency, with blanks for what is broken; `None` when the file cannot be understood at all."""
    document = findings.document
    if not document.readable:
        return None
    if "agency" in document.data and next(iter(document.data)) != "agency":
        findings["agency"].warning("is not the first key of the file", "agency: CODE in the first line")
    reader = Reader(findings, vault)
    given = {"checks": read_checks(reader, ChecksSettings, checks)}
    data = {key: value for key, value in document.data.items() if key not in given}
    return reader.read(Agency, data, given=given)


def check_agency(agency: Agency, provision: Provision, findings: Findings, claims: list[Claim], trust: Trust) -> None:
    """Note what does not make sense in an agency file by itself, and what it claims among all files."""
    instead = "another short code, or one file for both"
    claims.append(Claim(kind="agency code", name=agency.agency, path=("agency",), instead=instead))
    _check_mail(agency, provision, findings, claims, trust)
    if provision.probing is not None:
        check_probing(agency.probing.over(provision.probing), agency.probing, findings["probing"])
    check_maintenance(agency.maintenance, agency.time_zone or provision.time_zone, findings["maintenance"])
    _check_people(agency, provision, findings, claims)


def _check_mail(agency: Agency, provision: Provision, findings: Findings, claims: list[Claim], trust: Trust) -> None:
    if not agency.domains:
        findings["domains"].error("no domain is registered", "[jabatan-contoh.gov.my]")
    check_domains(agency.domains, provision.suffixes, provision.providers, findings["domains"])
    forwarded = bool(agency.routes) and all(route.arrives_in is not None for route in agency.routes or ())
    if not agency.mailboxes and not forwarded and not findings["mailboxes"].is_broken:
        findings["mailboxes"].error("there is no mailbox to probe", "a key for the mailbox and its settings below it")
    for key, mailbox in agency.mailboxes.items():
        there = findings["mailboxes", key]
        if agency.domains and not findings["domains"].is_broken:
            check_address(mailbox.address, agency.domains, provision.providers, there["address"])
        check_mailbox(mailbox, there, claims, trust)
    if agency.routes is not None:
        if not agency.routes:
            findings["routes"].error("no route is probed", "at least one route, or leave the key out")
        for number, route in enumerate(agency.routes):
            if route.to is not None and agency.domains and not findings["domains"].is_broken:
                check_address(route.to, agency.domains, provision.providers, findings["routes", number, "to"])
        domain = next(iter(agency.domains), "")
        check_routes(agency.routes, agency.agency, agency.mailboxes, provision.references, findings, domain=domain)


def _check_people(agency: Agency, provision: Provision, findings: Findings, claims: list[Claim]) -> None:
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
    check_escalation(agency.escalation, staff, provision, findings["escalation"])
    first = next(iter(agency.escalation.steps), None)
    check_announcement(agency.announcement, first, provision, findings["announcement"])
    used = {channel for recipient in agency.announcement.recipients.values() for channel in recipient.channels}
    used |= {channel for step in agency.escalation.steps for channel in step.channels}
    check_office(agency.office, used, findings["office"])
