"""Check of every MX host of a domain at each of its addresses, IPv4 and IPv6 separately.

Connects to port 25 as other mail servers do, and asks whether mail to our mailbox there would be accepted. No message
is sent. Many networks block outgoing port 25: a timeout counts against the host only when another host has answered.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from dns.rdtypes.ANY.TLSA import TLSA

from probes.domain.exchanger import Exchangers, exchangers
from probes.domain.mta_sts import Mode, MtaStsPolicyError, Policy, PolicyServer, PolicyUnreachableError, fetch
from probes.domain.names import DnsUnansweredError, IPAddress, Names
from probes.domain.x509 import usable
from probes.model.check import CheckKind, CheckScope, Finding, Verdict
from probes.model.mailbox import Security, Server
from probes.preauth.callout import Callout, TlsStage, call, public
from probes.run.mailbox_check import some_at_a_time
from probes.verdict.mx_verdict import judge_certificate, judge_connection, judge_recipients, judge_tls

_ASPECTS = ("records", "connect", "starttls", "certificate", "recipient")
_AT_ONCE = 4
#: Limit of connections: a provider's fortieth address adds no information, and the check must end.
_CALLS_AT_MOST = 24
_PORT = 25


@dataclass(slots=True)
class _Door:
    """One address of one MX host, and the domains that it accepts mail for."""

    host: str
    address: IPAddress
    domains: list[str] = field(default_factory=list)
    #: Its TLSA records (RFC 7672), validated by DNSSEC.
    dane: tuple[TLSA, ...] = ()

    @property
    def subject(self) -> str:
        return f"{self.host} [{self.address}]"


class MxCheck:
    """Connects to each address of each MX host, once for all its domains."""

    def __init__(
        self,
        check_scope: CheckScope,
        now: Callable[[], datetime],
        *,
        port: int = _PORT,
        tls: ssl.SSLContext | None = None,
        policy_server: PolicyServer = PolicyServer(),  # noqa: B008 - a frozen value
    ) -> None:
        self._check_scope = check_scope
        self._now = now
        self._port = port
        #: Mail servers trust the public certificate authorities.
        self._tls = tls or public()
        self._policy_server = policy_server
        self._names = Names(check_scope.name_servers)

    async def run(self) -> tuple[Finding, ...]:
        findings: list[Finding] = []
        doors: dict[str, list[_Door]] = {}
        for domain in self._check_scope.domains:
            try:
                found = await exchangers(self._names, domain)
            except DnsUnansweredError as trouble:
                findings.append(_finding("records", domain, Verdict.UNKNOWN, str(trouble)))
                continue
            findings.append(_records(found))
            for host in found.hosts:
                findings += await self._host(host, found, doors)
        chosen = [door for of_host in doors.values() for door in of_host][:_CALLS_AT_MOST]
        calls = await some_at_a_time(_AT_ONCE, self._call, chosen)
        policies = await self._policies(chosen, calls)
        open_over = {
            version
            for version in (4, 6)
            if any(seen.met for door, seen in zip(chosen, calls, strict=True) if door.address.version == version)
            or (any(door.address.version == version for door in chosen) and await self._greeted_by_ours(version))
        }
        for door, seen in zip(chosen, calls, strict=True):
            findings += self._judged(door, seen, policies, is_open=door.address.version in open_over)
        return tuple(findings)

    async def _host(self, host: str, found: Exchangers, doors: dict[str, list[_Door]]) -> tuple[Finding, ...]:
        """Add the addresses of *host*; return findings on its name, once."""
        if host in doors:
            for door in doors[host]:
                door.domains.append(found.domain)
            return ()
        doors[host] = []
        try:
            addresses = await self._names.addresses(host)
            alias = (await self._names.ask(host, "CNAME")).records
            tlsa = await self._names.ask(f"_{_PORT}._tcp.{host}", "TLSA")
        except DnsUnansweredError as trouble:
            return (_finding("records", host, Verdict.UNKNOWN, str(trouble)),)
        proven = tlsa.records if tlsa.validated and found.validated else ()
        dane = tuple(one for one in cast("tuple[TLSA, ...]", proven) if usable(one))
        for address in addresses:
            doors[host].append(_Door(host=host, address=address, domains=[found.domain], dane=dane))
        if not addresses:
            return (_finding("records", host, Verdict.FAIL, "an MX record names it, and it has no address"),)
        if alias and not found.implicit:
            told = "an MX record names it, and it is an alias; the name of a host is expected (RFC 2181 10.3)"
            return (_finding("records", host, Verdict.WARN, told),)
        return ()

    async def _call(self, door: _Door) -> Callout:
        return await call(self._server(door), sender=self._check_scope.our_address, recipients=self._recipients(door))

    def _server(self, door: _Door) -> Server:
        return Server(
            host=str(door.address),
            port=self._port,
            security=Security.STARTTLS,
            tls=self._tls,
            tls_name=door.host,
            bounds=self._check_scope.bounds,
        )

    def _recipients(self, door: _Door) -> tuple[str, ...]:
        if not (self._check_scope.our_address and self._check_scope.ask_recipients):
            return ()
        addresses = (mailbox.address for mailbox in self._check_scope.mailboxes)
        found: dict[str, str] = {}
        for address in addresses:
            found.setdefault(_domain_of(address), address)
        return tuple(found[domain] for domain in door.domains if domain in found)

    async def _policies(self, doors: list[_Door], calls: Sequence[Callout]) -> dict[str, Policy]:
        """Return the policies under which an untrusted certificate counts for more than usual."""
        distrusted = (door for door, seen in zip(doors, calls, strict=True) if seen.tls is not TlsStage.TRUSTED)
        policies: dict[str, Policy] = {}
        for domain in dict.fromkeys(domain for door in distrusted for domain in door.domains):
            try:
                if any(text.startswith(b"v=STSv1") for text in await self._names.texts(f"_mta-sts.{domain}")):
                    policies[domain] = await fetch(self._names, domain, self._policy_server, self._check_scope.bounds)
            except (DnsUnansweredError, MtaStsPolicyError, PolicyUnreachableError):
                continue
        return policies

    async def _greeted_by_ours(self, version: int) -> bool:
        """Return whether the MX hosts of our own address greet us, which shows that outgoing port 25 is open."""
        domain = _domain_of(self._check_scope.our_address)
        if not domain or domain in self._check_scope.domains:
            return False
        try:
            hosts = (await exchangers(self._names, domain)).hosts[:2]
            addresses = [(host, one) for host in hosts for one in await self._names.addresses(host)]
        except DnsUnansweredError:
            return False
        for host, address in [one for one in addresses if one[1].version == version][:2]:
            if (await call(self._server(_Door(host=host, address=address)))).met:
                return True
        return False

    def _judged(self, door: _Door, seen: Callout, policies: dict[str, Policy], *, is_open: bool) -> tuple[Finding, ...]:
        verdict, detail = judge_connection(seen, door.address.version, is_open=is_open)
        findings = [_finding("connect", door.subject, verdict, detail)]
        if seen.greeting is None or not seen.greeting.done:
            rest = [_finding(aspect, door.subject, Verdict.UNKNOWN, "not met") for aspect in _ASPECTS[2:]]
            return (*findings, *rest)
        enforced = any(
            domain in policies and policies[domain].mode is Mode.ENFORCE and policies[domain].covers(door.host)
            for domain in door.domains
        )
        must = "DANE" if door.dane else "the MTA-STS policy" if enforced else ""
        findings.append(_finding("starttls", door.subject, *judge_tls(seen, must)))
        trust, told, end = judge_certificate(seen, door.host, door.dane, must, self._now())
        findings.append(_finding("certificate", door.subject, trust, told, end))
        findings.append(_finding("recipient", door.subject, *judge_recipients(seen, self._check_scope)))
        return tuple(findings)


def _records(found: Exchangers) -> Finding:
    if found.null:
        return _finding("records", found.domain, Verdict.PASS, "the domain says that it takes no mail (null MX)")
    if not found.exists:
        return _finding("records", found.domain, Verdict.FAIL, "the domain does not exist")
    if not found.hosts:
        told = "no host takes mail for the domain: it has neither an MX record nor an address"
        return _finding("records", found.domain, Verdict.FAIL, told)
    if found.implicit:
        told = "there is no MX record; mail goes to the address of the domain itself (RFC 5321 5.1)"
        return _finding("records", found.domain, Verdict.WARN, told)
    return _finding("records", found.domain, Verdict.PASS, f"mail goes to {', '.join(found.hosts)}")


def _finding(aspect: str, subject: str, verdict: Verdict, detail: str, expires_at: datetime | None = None) -> Finding:
    return Finding(aspect=aspect, subject=subject, verdict=verdict, detail=detail, expires_at=expires_at)


def _domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()


KIND = CheckKind(
    name="mx",
    aspects=_ASPECTS,
    interval=timedelta(minutes=30),
    within=timedelta(minutes=15),
    build=MxCheck,
)
