"""Check of every MX host of a domain at each of its addresses, IPv4 and IPv6 separately.

Connects to port 25 as other mail servers do, and asks whether the host accepts mail for the agency's mailboxes. No
message is sent. Many networks block outgoing port 25, so a timeout counts against a host only when another host has
answered over the same IP version.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from dns.rdtypes.ANY.TLSA import TLSA

from probes.domain.exchanger import Exchangers, find_exchangers
from probes.domain.mta_sts import Mode, MtaStsPolicyError, Policy, PolicyServer, PolicyUnreachableError, fetch_policy
from probes.domain.names import DnsClient, DnsUnansweredError, IPAddress
from probes.domain.x509 import is_usable
from probes.model.check import CheckKind, CheckScope, Finding, Verdict
from probes.model.mailbox import Security, Server
from probes.preauth.callout import Callout, TlsResult, make_callout, public_tls_context
from probes.run.mailbox_check import gather_limited
from probes.verdict.mx_verdict import judge_certificate, judge_connection, judge_recipients, judge_tls

#: The last three are examined only if the host accepts the session in its greeting.
_ASPECTS = ("records", "connect", "starttls", "certificate", "recipient")
_CONCURRENCY = 4
#: Limit of callouts (sessions without a message), so that the check ends in time. Further addresses of a provider add
#: no information.
_MAX_CALLOUTS = 24
_PORT = 25


@dataclass(slots=True)
class _MxAddress:
    """One address of one MX host, and the domains for which it accepts mail."""

    host: str
    address: IPAddress
    domains: list[str] = field(default_factory=list)
    #: Usable TLSA records of the host (RFC 7672), validated by DNSSEC.
    tlsa_records: tuple[TLSA, ...] = ()

    @property
    def subject(self) -> str:
        return f"{self.host} [{self.address}]"


class MxCheck:
    """Connects to each address of each MX host, once for all domains of the host."""

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
        #: Trusts the public certificate authorities, as mail servers do.
        self._tls = tls or public_tls_context()
        self._policy_server = policy_server
        self._dns_client = DnsClient(check_scope.name_servers)

    async def run(self) -> tuple[Finding, ...]:
        findings: list[Finding] = []
        targets_by_host: dict[str, list[_MxAddress]] = {}
        for domain in self._check_scope.domains:
            try:
                mx = await find_exchangers(self._dns_client, domain)
            except DnsUnansweredError as error:
                findings.append(_finding("records", domain, Verdict.UNKNOWN, str(error)))
                continue
            findings.append(_judge_records(mx))
            for host in mx.hosts:
                findings += await self._add_host(host, mx, targets_by_host)
        targets = [target for host_targets in targets_by_host.values() for target in host_targets][:_MAX_CALLOUTS]
        callouts = await gather_limited(_CONCURRENCY, self._make_callout, targets)
        policies = await self._fetch_policies(targets, callouts)
        # Outgoing port 25 is open for the IP versions over which a host has answered.
        open_versions = {
            target.address.version for target, callout in zip(targets, callouts, strict=True) if callout.has_greeting
        }
        for ip_version in sorted({target.address.version for target in targets} - open_versions):
            if await self._is_greeted_by_own_mx(ip_version):
                open_versions.add(ip_version)
        for target, callout in zip(targets, callouts, strict=True):
            findings += self._judge(target, callout, policies, is_open=target.address.version in open_versions)
        return tuple(findings)

    async def _add_host(
        self, host: str, mx: Exchangers, targets_by_host: dict[str, list[_MxAddress]]
    ) -> tuple[Finding, ...]:
        """Add the addresses of *host* to *targets_by_host*; return findings on the host's name, once."""
        if host in targets_by_host:
            for target in targets_by_host[host]:
                target.domains.append(mx.domain)
            return ()
        targets_by_host[host] = []
        try:
            addresses = await self._dns_client.resolve(host)
            cname_records = (await self._dns_client.query(host, "CNAME")).records
            tlsa_answer = await self._dns_client.query(f"_{_PORT}._tcp.{host}", "TLSA")
        except DnsUnansweredError as error:
            return (_finding("records", host, Verdict.UNKNOWN, str(error)),)
        validated = tlsa_answer.records if tlsa_answer.is_validated and mx.is_validated else ()
        usable = tuple(record for record in cast("tuple[TLSA, ...]", validated) if is_usable(record))
        for address in addresses:
            targets_by_host[host].append(
                _MxAddress(host=host, address=address, domains=[mx.domain], tlsa_records=usable)
            )
        if not addresses:
            return (_finding("records", host, Verdict.FAIL, "an MX record names it, but it has no address"),)
        if cname_records and not mx.is_implicit_mx:
            detail = "an MX record names it, but it is an alias; the name of a host is expected (RFC 2181 10.3)"
            return (_finding("records", host, Verdict.WARN, detail),)
        return ()

    async def _make_callout(self, target: _MxAddress) -> Callout:
        return await make_callout(
            self._server(target), sender=self._check_scope.our_address, recipients=self._recipients(target)
        )

    def _server(self, target: _MxAddress) -> Server:
        return Server(
            host=str(target.address),
            port=self._port,
            security=Security.STARTTLS,
            tls=self._tls,
            tls_name=target.host,
            egress=self._check_scope.egress,
        )

    def _recipients(self, target: _MxAddress) -> tuple[str, ...]:
        """Return the address of one mailbox in each of the host's domains."""
        if not (self._check_scope.our_address and self._check_scope.ask_recipients):
            return ()
        addresses = (mailbox.address for mailbox in self._check_scope.mailboxes)
        address_by_domain: dict[str, str] = {}
        for address in addresses:
            address_by_domain.setdefault(_domain_part(address), address)
        return tuple(address_by_domain[domain] for domain in target.domains if domain in address_by_domain)

    async def _fetch_policies(self, targets: list[_MxAddress], callouts: Sequence[Callout]) -> dict[str, Policy]:
        """Return the MTA-STS policies, by domain, of the domains that have an MX host without a trusted certificate.

        An untrusted certificate is a failure only if a policy enforces trust.
        """
        untrusted = (
            target for target, callout in zip(targets, callouts, strict=True) if callout.tls is not TlsResult.TRUSTED
        )
        policies: dict[str, Policy] = {}
        for domain in dict.fromkeys(domain for target in untrusted for domain in target.domains):
            try:
                if any(text.startswith(b"v=STSv1") for text in await self._dns_client.query_txt(f"_mta-sts.{domain}")):
                    policies[domain] = await fetch_policy(
                        self._dns_client, domain, self._policy_server, self._check_scope.egress
                    )
            except (DnsUnansweredError, MtaStsPolicyError, PolicyUnreachableError):
                continue
        return policies

    async def _is_greeted_by_own_mx(self, ip_version: int) -> bool:
        """Return whether an MX host of our reference mailbox greets us, which shows that outgoing port 25 is open."""
        domain = _domain_part(self._check_scope.our_address)
        if not domain or domain in self._check_scope.domains:
            return False
        try:
            hosts = (await find_exchangers(self._dns_client, domain)).hosts[:2]
            addresses = [(host, candidate) for host in hosts for candidate in await self._dns_client.resolve(host)]
        except DnsUnansweredError:
            return False
        for host, address in [candidate for candidate in addresses if candidate[1].version == ip_version][:2]:
            if (await make_callout(self._server(_MxAddress(host=host, address=address)))).has_greeting:
                return True
        return False

    def _judge(
        self, target: _MxAddress, callout: Callout, policies: dict[str, Policy], *, is_open: bool
    ) -> tuple[Finding, ...]:
        verdict, detail = judge_connection(callout, target.address.version, is_open=is_open)
        findings = [_finding("connect", target.subject, verdict, detail)]
        if callout.greeting is None or not callout.greeting.is_done:
            rest = [_finding(aspect, target.subject, Verdict.UNKNOWN, "not reached") for aspect in _ASPECTS[2:]]
            return (*findings, *rest)
        is_mta_sts_enforced = any(
            domain in policies and policies[domain].mode is Mode.ENFORCE and policies[domain].covers(target.host)
            for domain in target.domains
        )
        required_by = "DANE" if target.tlsa_records else "the MTA-STS policy" if is_mta_sts_enforced else ""
        findings.append(_finding("starttls", target.subject, *judge_tls(callout, required_by)))
        certificate_verdict, certificate_detail, expires_at = judge_certificate(
            callout, target.host, target.tlsa_records, required_by, self._now()
        )
        findings.append(_finding("certificate", target.subject, certificate_verdict, certificate_detail, expires_at))
        findings.append(_finding("recipient", target.subject, *judge_recipients(callout, self._check_scope)))
        return tuple(findings)


def _judge_records(mx: Exchangers) -> Finding:
    if mx.is_null_mx:
        return _finding("records", mx.domain, Verdict.PASS, "the domain declares that it accepts no mail (null MX)")
    if not mx.exists:
        return _finding("records", mx.domain, Verdict.FAIL, "the domain does not exist")
    if not mx.hosts:
        detail = "no host accepts mail for the domain: it has neither an MX record nor an address"
        return _finding("records", mx.domain, Verdict.FAIL, detail)
    if mx.is_implicit_mx:
        detail = "there is no MX record; mail goes to the address of the domain itself (RFC 5321 5.1)"
        return _finding("records", mx.domain, Verdict.WARN, detail)
    return _finding("records", mx.domain, Verdict.PASS, f"mail goes to {', '.join(mx.hosts)}")


def _finding(aspect: str, subject: str, verdict: Verdict, detail: str, expires_at: datetime | None = None) -> Finding:
    return Finding(aspect=aspect, subject=subject, verdict=verdict, detail=detail, expires_at=expires_at)


def _domain_part(address: str) -> str:
    return address.rpartition("@")[2].lower()


KIND = CheckKind(
    name="mx",
    aspects=_ASPECTS,
    interval=timedelta(minutes=30),
    within=timedelta(minutes=15),
    build=MxCheck,
)
