"""Check of an agency's domains in the DNS: authorized senders, protection of mail to them, block lists.

Queries name servers, and one web server per domain for its MTA-STS policy. It connects to no mail server. The operator
of a domain's mail servers is not evaluated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from probes.domain import blocklist
from probes.domain.blocklist import Listing
from probes.domain.dnssec import Signing, signing
from probes.domain.exchanger import Exchangers, exchangers
from probes.domain.mta_sts import MtaStsPolicyError, Policy, PolicyServer, PolicyUnreachableError, fetch
from probes.domain.names import DnsNoAnswerReason, DnsUnansweredError, IPAddress, Names
from probes.domain.records import DomainRecords, RecordReading, read_records
from probes.domain.signature import author_domain, keys_of, verified
from probes.model.check import CheckKind, CheckScope, Finding, Verdict
from probes.run.mailbox_check import some_at_a_time
from probes.verdict.domain import (
    Judgement,
    judge_dane,
    judge_dkim,
    judge_dmarc,
    judge_mta_sts,
    judge_signing,
    judge_spf,
    judge_tls_rpt,
    sends_nothing,
)
from probes.verdict.outbound import outbound_address

_ASPECTS = ("spf", "dmarc", "dkim", "mta-sts", "tls-rpt", "dane", "dnssec", "dnsbl")
_DOMAINS_AT_ONCE = 4
#: Each is queried on each list; a provider's further addresses add no information.
_ADDRESSES_AT_MOST = 10


@dataclass(frozen=True, slots=True)
class _Specimen:
    message: bytes
    domain: str


class DomainCheck:
    """Checks every domain, and queries the block lists once for the whole agency."""

    def __init__(
        self,
        check_scope: CheckScope,
        _now: Callable[[], datetime],
        *,
        lists: tuple[str, ...] = blocklist.USUAL,
        policy_server: PolicyServer = PolicyServer(),  # noqa: B008 - a frozen value
    ) -> None:
        self._check_scope = check_scope
        self._names = Names(check_scope.name_servers)
        self._lists = lists
        self._policy_server = policy_server

    async def run(self) -> tuple[Finding, ...]:
        if not self._check_scope.domains:
            return ()
        message = self._check_scope.sample_message()
        sample_message = None if message is None else _Specimen(message, author_domain(message))
        domains = self._check_scope.domains
        found = await some_at_a_time(_DOMAINS_AT_ONCE, lambda domain: self._domain(domain, sample_message), domains)
        listings = await self._listings(sorted({host for _, hosts in found for host in hosts}), sample_message)
        return (*(finding for findings, _ in found for finding in findings), *listings)

    async def _domain(
        self, domain: str, sample_message: _Specimen | None
    ) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
        lost: DnsUnansweredError | None = None
        try:
            found = await exchangers(self._names, domain)
        except DnsUnansweredError as trouble:
            if trouble.silence is not DnsNoAnswerReason.FAILED:
                # No name server answers: thirty more queries would be useless.
                silent = (Verdict.UNKNOWN, str(trouble))
                return _findings(domain, dict.fromkeys(_ASPECTS[:-1], silent)), ()
            # With invalid signatures the other records can still be queried and reported.
            lost, found = trouble, Exchangers(domain=domain, hosts=())
        records = await read_records(domain, self._check_scope.name_servers)
        said = {
            "spf": judge_spf(records.spf),
            "dmarc": judge_dmarc(records.dmarc, domain),
            "dkim": await _or_unknown(self._dkim(domain, records.spf, sample_message)),
            "mta-sts": judge_mta_sts(records.mta_sts, await self._policy(domain, records, found), found),
            "tls-rpt": judge_tls_rpt(records.tls_rpt, found),
        }
        signed: Signing | None = None
        try:
            signed = await signing(self._names, domain)
            said["dnssec"] = judge_signing(signed)
        except DnsUnansweredError as trouble:
            said["dnssec"] = Verdict.UNKNOWN, str(trouble)
        said["dane"] = (Verdict.UNKNOWN, str(lost)) if lost else await _or_unknown(self._dane(found, signed))
        return _findings(domain, said), found.hosts

    async def _policy(
        self, domain: str, records: DomainRecords, found: Exchangers
    ) -> Policy | MtaStsPolicyError | PolicyUnreachableError | None:
        if records.mta_sts.record is None or found.null:
            return None
        try:
            return await fetch(self._names, domain, self._policy_server, self._check_scope.bounds)
        except (MtaStsPolicyError, PolicyUnreachableError) as why:
            return why

    async def _dkim(self, domain: str, spf: RecordReading, sample_message: _Specimen | None) -> Judgement:
        if sample_message is None or sample_message.domain != domain:
            if sends_nothing(spf):
                return Verdict.PASS, "the domain sends no mail, says SPF"
            return Verdict.UNKNOWN, "no message from this domain has arrived yet"
        keys: dict[str, bytes] = {}
        for name in keys_of(sample_message.message):
            keys[name] = next(iter(await self._names.texts(name)), b"")
        return judge_dkim(domain, verified(sample_message.message, keys))

    async def _dane(self, found: Exchangers, signed: Signing | None) -> Judgement:
        records = {host: await self._names.ask(f"_25._tcp.{host}", "TLSA") for host in found.hosts}
        return judge_dane(found, records, signed)

    async def _listings(self, hosts: list[str], sample_message: _Specimen | None) -> tuple[Finding, ...]:
        outbound = None if sample_message is None else outbound_address(sample_message.message)
        addresses = [] if outbound is None else [outbound]
        for host in hosts:
            try:
                addresses += await self._names.addresses(host)
            except DnsUnansweredError:
                continue
        asked = tuple(dict.fromkeys(one for one in addresses if not one.is_loopback))[:_ADDRESSES_AT_MOST]
        findings = []
        for zone in self._lists:
            verdict, detail = await _or_unknown(self._listing(zone, asked, outbound))
            findings.append(Finding(aspect="dnsbl", subject=zone, verdict=verdict, detail=detail))
        return tuple(findings)

    async def _listing(self, zone: str, addresses: tuple[IPAddress, ...], outbound: IPAddress | None) -> Judgement:
        if not addresses:
            return Verdict.UNKNOWN, "no address of the agency's mail servers is known"
        if (doubt := await blocklist.trial(self._names, zone)) is not None:
            return Verdict.UNKNOWN, f"{doubt}; that says nothing about the agency"
        listed = []
        for address in addresses:
            standing = await blocklist.ask(self._names, zone, address)
            if standing in {Listing.REFUSED, Listing.DEAD}:
                return Verdict.UNKNOWN, f"{standing}; that says nothing about the agency"
            if standing is Listing.LISTED:
                listed.append(address)
        if outbound in listed:
            return Verdict.FAIL, f"{outbound}, from which the agency sends, is listed; others refuse its mail"
        if listed:
            told = ", ".join(map(str, listed))
            return Verdict.WARN, f"listed: {told}, which takes mail; it matters if mail is sent from there, too"
        return Verdict.PASS, f"none of {len(addresses)} addresses is listed"


def _findings(domain: str, said: dict[str, Judgement]) -> tuple[Finding, ...]:
    return tuple(
        Finding(aspect=aspect, subject=domain, verdict=said[aspect][0], detail=said[aspect][1])
        for aspect in _ASPECTS
        if aspect in said
    )


async def _or_unknown(judgement: Awaitable[Judgement]) -> Judgement:
    try:
        return await judgement
    except DnsUnansweredError as trouble:
        return Verdict.UNKNOWN, str(trouble)


KIND = CheckKind(
    name="domain",
    aspects=_ASPECTS,
    interval=timedelta(hours=1),
    within=timedelta(minutes=10),
    build=DomainCheck,
)
