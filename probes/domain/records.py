"""Retrieval and parsing of a domain's DNS records about mail: SPF, DMARC, MTA-STS, TLS-RPT.

checkdmarc blocks, so it runs in a separate thread pool: the event loop's threads resolve server names and must not wait
for a slow domain. Only checkdmarc's functions for records are used, because others connect to mail and web servers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import dns.exception
import dns.resolver
from checkdmarc.dmarc import DMARCError, DMARCRecordNotFound, parse_dmarc_record, query_dmarc_record
from checkdmarc.mta_sts import MTASTSError, MTASTSRecordNotFound, parse_mta_sts_record, query_mta_sts_record
from checkdmarc.smtp_tls_reporting import (
    SMTPTLSReportingError,
    SMTPTLSReportingRecordNotFound,
    parse_smtp_tls_reporting_record,
    query_smtp_tls_reporting_record,
)
from checkdmarc.spf import SPFError, SPFRecordNotFound, parse_spf_record, query_spf_record
from checkdmarc.utils import DNS_CACHE, DNSException

from probes.domain.names import configure_resolver
from probes.model.check import NameServers
from probes.model.reply import shorten

_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="records")
#: Timeout for one kind of record of one domain, with the records that it includes.
_TIMEOUT = timedelta(seconds=20)
_ERRORS = (
    *(SPFError, DMARCError, MTASTSError, SMTPTLSReportingError),
    *(DNSException, dns.exception.DNSException, UnicodeError, OSError),
)
_NOT_FOUND_ERRORS = (SPFRecordNotFound, DMARCRecordNotFound, MTASTSRecordNotFound, SMTPTLSReportingRecordNotFound)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReading:
    """Result for one kind of record of a domain."""

    #: Text of the record; `None` if there is no record, or several, or (other than SPF) an invalid one.
    record: str | None = None
    #: Result of checkdmarc, with the key `tags`, or for SPF `parsed` (mechanisms and `all`) and `dns_lookups`.
    parsed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    #: Error in the record; "" for a valid or missing record.
    error: str = ""
    #: Domain that has the record: for DMARC perhaps the organizational domain. "" if `record` is `None`.
    location: str = ""
    #: Name of an unanswered query on which the result depends, or why no query was sent; "" if all were answered.
    unanswered: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRecords:
    """DNS records of a domain about mail."""

    spf: RecordReading
    dmarc: RecordReading
    mta_sts: RecordReading
    tls_rpt: RecordReading


async def read_records(domain: str, servers: NameServers, *, within: timedelta = _TIMEOUT) -> DomainRecords:
    """Read the records of *domain*; *within* is the timeout of each. Errors are in the results; none is raised."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _read_all, domain, servers, within)


def _read_all(domain: str, servers: NameServers, within: timedelta) -> DomainRecords:
    # checkdmarc caches every answer for half an hour by the name alone, so it would return answers of other servers.
    with DNS_CACHE.lock:
        DNS_CACHE.clear()
    return DomainRecords(
        spf=_read(_read_spf, domain, servers, within),
        dmarc=_read(_read_dmarc, domain, servers, within),
        mta_sts=_read(_read_mta_sts, domain, servers, within),
        tls_rpt=_read(_read_tls_rpt, domain, servers, within),
    )


class _RecordingResolver(dns.resolver.Resolver):
    """Resolver that records the first unanswered query, and sends no query after the deadline.

    The resolver enforces the deadline, because a thread cannot be cancelled and one record may cause a hundred queries.
    """

    #: Name of the first unanswered query.
    unanswered = ""
    #: Seconds of the monotonic clock.
    deadline = 0.0

    def resolve(self, qname: Any, *args: Any, **options: Any) -> dns.resolver.Answer:
        if time.monotonic() >= self.deadline:
            self.unanswered = self.unanswered or str(qname)
            raise dns.resolver.LifetimeTimeout(timeout=0.0, errors=[])  # type: ignore[no-untyped-call]
        try:
            return super().resolve(qname, *args, **options)
        except (dns.resolver.LifetimeTimeout, dns.resolver.NoNameservers, OSError):
            self.unanswered = self.unanswered or str(qname)
            raise


def _read(
    read_record: Callable[[str, _RecordingResolver], RecordReading],
    domain: str,
    servers: NameServers,
    within: timedelta,
) -> RecordReading:
    try:
        dns_resolver = configure_resolver(_RecordingResolver, servers)
    except dns.resolver.NoResolverConfiguration:
        return RecordReading(unanswered="this machine has no name servers")
    dns_resolver.deadline = time.monotonic() + within.total_seconds()
    try:
        return read_record(domain, dns_resolver)
    except _ERRORS as error:
        detail = "" if isinstance(error, _NOT_FOUND_ERRORS) else shorten(str(error))
        return RecordReading(error=detail, unanswered=dns_resolver.unanswered)


def _read_spf(domain: str, dns_resolver: _RecordingResolver) -> RecordReading:
    record = query_spf_record(domain, resolver=dns_resolver)["record"]
    # The record was found, so the result does not depend on an earlier unanswered query.
    dns_resolver.unanswered = ""
    try:
        parsed = parse_spf_record(record, domain, resolver=dns_resolver)
    except SPFError as error:
        return RecordReading(
            record=record, location=domain, error=shorten(str(error)), unanswered=dns_resolver.unanswered
        )
    return RecordReading(record=record, location=domain, parsed=parsed)


def _read_dmarc(domain: str, dns_resolver: _RecordingResolver) -> RecordReading:
    answer = query_dmarc_record(domain, resolver=dns_resolver)
    parsed = parse_dmarc_record(answer["record"], answer["location"], resolver=dns_resolver)
    return RecordReading(record=answer["record"], location=answer["location"], parsed=parsed)


def _read_mta_sts(domain: str, dns_resolver: _RecordingResolver) -> RecordReading:
    record = query_mta_sts_record(domain, resolver=dns_resolver)["record"]
    return RecordReading(record=record, location=domain, parsed=parse_mta_sts_record(record))


def _read_tls_rpt(domain: str, dns_resolver: _RecordingResolver) -> RecordReading:
    record = query_smtp_tls_reporting_record(domain, resolver=dns_resolver)["record"]
    return RecordReading(record=record, location=domain, parsed=parse_smtp_tls_reporting_record(record))
