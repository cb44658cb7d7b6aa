"""Check of the DNS of an agency's domains: authorized senders, protection of incoming mail, block lists.

The check queries name servers, and one web server per domain for its MTA-STS policy. It connects to no mail server, and
does not evaluate who operates the domain's mail servers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from probes.domain import blocklist
from probes.domain.blocklist import Listing
from probes.domain.dnssec import DnssecStatus, dnssec_status
from probes.domain.exchanger import Exchangers, find_exchangers
from probes.domain.mta_sts import MtaStsPolicyError, Policy, PolicyServer, PolicyUnreachableError, fetch_policy
from probes.domain.names import DnsClient, DnsNoAnswerReason, DnsUnansweredError, IPAddress
from probes.domain.records import DomainRecords, RecordReading, read_records
from probes.domain.signature import author_domain, find_key_names, verify_signatures
from probes.model.check import CheckKind, CheckScope, Finding, Verdict
from probes.run.mailbox_check import gather_limited
from probes.verdict.domain import (
    Judgement,
    declares_no_mail,
    judge_dane,
    judge_dkim,
    judge_dmarc,
    judge_dnssec,
    judge_mta_sts,
    judge_spf,
    judge_tls_rpt,
)
from probes.verdict.outbound import outbound_address

#: All but the last are examined for each domain; "dnsbl" is examined once for the agency.
_ASPECTS = ("spf", "dmarc", "dkim", "mta-sts", "tls-rpt", "dane", "dnssec", "dnsbl")
_CONCURRENCY = 4
#: Limit of addresses that are looked up in each block list: a provider's further addresses add no information.
_MAX_ADDRESSES = 10


@dataclass(frozen=True, slots=True)
class _SampleMessage:
    """Latest message from the agency that arrived in a mailbox."""

    message: bytes
    #: Domain of its author (From).
    domain: str


class DomainCheck:
    """Checks every domain, and queries the block lists once for the whole agency."""

    def __init__(
        self,
        check_scope: CheckScope,
        _now: Callable[[], datetime],
        *,
        lists: tuple[str, ...] = blocklist.DEFAULT_LISTS,
        policy_server: PolicyServer = PolicyServer(),  # noqa: B008 - a frozen value
    ) -> None:
        self._check_scope = check_scope
        self._dns_client = DnsClient(check_scope.name_servers)
        self._lists = lists
        self._policy_server = policy_server

    async def run(self) -> tuple[Finding, ...]:
        if not self._check_scope.domains:
            return ()
        message = self._check_scope.sample_message()
        sample_message = None if message is None else _SampleMessage(message, author_domain(message))
        domains = self._check_scope.domains
        results = await gather_limited(_CONCURRENCY, lambda domain: self._check_domain(domain, sample_message), domains)
        listings = await self._check_lists(sorted({host for _, hosts in results for host in hosts}), sample_message)
        return (*(finding for findings, _ in results for finding in findings), *listings)

    async def _check_domain(
        self, domain: str, sample_message: _SampleMessage | None
    ) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
        """Return the findings on *domain*, and its MX hosts."""
        mx_error: DnsUnansweredError | None = None
        try:
            mx = await find_exchangers(self._dns_client, domain)
        except DnsUnansweredError as error:
            if error.reason is not DnsNoAnswerReason.FAILED:
                # No name server answers or can be asked, so the thirty further queries would fail, too.
                judgement = (Verdict.UNKNOWN, str(error))
                return _findings(domain, dict.fromkeys(_ASPECTS[:-1], judgement)), ()
            # The name servers also fail if the signatures of the MX records are invalid. The other records can then
            # still be queried and reported.
            mx_error, mx = error, Exchangers(domain=domain, hosts=())
        records = await read_records(domain, self._check_scope.name_servers)
        judgements = {
            "spf": judge_spf(records.spf),
            "dmarc": judge_dmarc(records.dmarc, domain),
            "dkim": await _or_unknown(self._check_dkim(domain, records.spf, sample_message)),
            "mta-sts": judge_mta_sts(records.mta_sts, await self._fetch_policy(domain, records, mx), mx),
            "tls-rpt": judge_tls_rpt(records.tls_rpt, mx),
        }
        status: DnssecStatus | None = None
        try:
            status = await dnssec_status(self._dns_client, domain)
            judgements["dnssec"] = judge_dnssec(status)
        except DnsUnansweredError as error:
            judgements["dnssec"] = Verdict.UNKNOWN, str(error)
        judgements["dane"] = (
            (Verdict.UNKNOWN, str(mx_error)) if mx_error else await _or_unknown(self._check_dane(mx, status))
        )
        return _findings(domain, judgements), mx.hosts

    async def _fetch_policy(
        self, domain: str, records: DomainRecords, mx: Exchangers
    ) -> Policy | MtaStsPolicyError | PolicyUnreachableError | None:
        if records.mta_sts.record is None or mx.is_null_mx:
            return None
        try:
            return await fetch_policy(self._dns_client, domain, self._policy_server, self._check_scope.egress)
        except (MtaStsPolicyError, PolicyUnreachableError) as error:
            return error

    async def _check_dkim(self, domain: str, spf: RecordReading, sample_message: _SampleMessage | None) -> Judgement:
        if sample_message is None or sample_message.domain != domain:
            if declares_no_mail(spf):
                return Verdict.PASS, "the domain sends no mail, by its SPF record"
            return Verdict.UNKNOWN, "no message from this domain has arrived yet"
        keys: dict[str, bytes] = {}
        for name in find_key_names(sample_message.message):
            keys[name] = next(iter(await self._dns_client.query_txt(name)), b"")
        return judge_dkim(domain, verify_signatures(sample_message.message, keys))

    async def _check_dane(self, mx: Exchangers, status: DnssecStatus | None) -> Judgement:
        records = {host: await self._dns_client.query(f"_25._tcp.{host}", "TLSA") for host in mx.hosts}
        return judge_dane(mx, records, status)

    async def _check_lists(self, hosts: list[str], sample_message: _SampleMessage | None) -> tuple[Finding, ...]:
        outbound = None if sample_message is None else outbound_address(sample_message.message)
        addresses = [] if outbound is None else [outbound]
        for host in hosts:
            try:
                addresses += await self._dns_client.resolve(host)
            except DnsUnansweredError:
                continue
        queried = tuple(dict.fromkeys(candidate for candidate in addresses if not candidate.is_loopback))[
            :_MAX_ADDRESSES
        ]
        findings = []
        for zone in self._lists:
            verdict, detail = await _or_unknown(self._check_list(zone, queried, outbound))
            findings.append(Finding(aspect="dnsbl", subject=zone, verdict=verdict, detail=detail))
        return tuple(findings)

    async def _check_list(self, zone: str, addresses: tuple[IPAddress, ...], outbound: IPAddress | None) -> Judgement:
        if not addresses:
            return Verdict.UNKNOWN, "no address of the agency's mail servers is known"
        if (fault := await blocklist.test_list(self._dns_client, zone)) is not None:
            return Verdict.UNKNOWN, f"{fault}; this is no evidence about the agency"
        listed = []
        for address in addresses:
            listing = await blocklist.look_up(self._dns_client, zone, address)
            if listing in {Listing.REFUSED, Listing.INVALID}:
                return Verdict.UNKNOWN, f"{listing}; this is no evidence about the agency"
            if listing is Listing.LISTED:
                listed.append(address)
        if outbound in listed:
            return Verdict.FAIL, f"{outbound}, from which the agency sends, is listed; others refuse its mail"
        if listed:
            addresses_text = ", ".join(map(str, listed))
            return (
                Verdict.WARN,
                f"listed: {addresses_text}, which accepts mail; this matters if mail is sent from there, too",
            )
        return Verdict.PASS, f"none of {len(addresses)} addresses is listed"


def _findings(domain: str, judgements: dict[str, Judgement]) -> tuple[Finding, ...]:
    return tuple(
        Finding(aspect=aspect, subject=domain, verdict=judgements[aspect][0], detail=judgements[aspect][1])
        for aspect in _ASPECTS
        if aspect in judgements
    )


async def _or_unknown(judgement: Awaitable[Judgement]) -> Judgement:
    try:
        return await judgement
    except DnsUnansweredError as error:
        return Verdict.UNKNOWN, str(error)


KIND = CheckKind(
    name="domain",
    aspects=_ASPECTS,
    interval=timedelta(hours=1),
    within=timedelta(minutes=10),
    build=DomainCheck,
)
