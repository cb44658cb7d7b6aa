"""Parser of a domain's mail records: SPF, DMARC, MTA-STS, TLS-RPT.

Uses checkdmarc. It blocks, so it runs in a few threads of its own: the loop's threads resolve server names, and must
not wait for a slow domain. Only its functions for records are used, and only here: others of it connect to mail and web
servers.
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

from probes.domain.names import configured
from probes.model.check import NameServers
from probes.model.reply import shortened

_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="records")
#: Timeout for one kind of record of one domain, with everything that it includes.
_WITHIN = timedelta(seconds=20)
_ERRORS = (
    *(SPFError, DMARCError, MTASTSError, SMTPTLSReportingError),
    *(DNSException, dns.exception.DNSException, UnicodeError, OSError),
)
_ABSENT = (SPFRecordNotFound, DMARCRecordNotFound, MTASTSRecordNotFound, SMTPTLSReportingRecordNotFound)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReading:
    """One parsed record of a domain."""

    #: Text of the record; `None` without one, or with several.
    record: str | None = None
    #: Result of checkdmarc: `tags`, or for SPF `parsed` and `dns_lookups`.
    meaning: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    #: Error in the record.
    error: str = ""
    #: Domain that has the record.
    location: str = ""
    #: Query on which the result depends, and that the name servers did not answer.
    unanswered: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRecords:
    """Mail records of a domain."""

    spf: RecordReading
    dmarc: RecordReading
    mta_sts: RecordReading
    tls_rpt: RecordReading


async def read_records(domain: str, servers: NameServers, *, within: timedelta = _WITHIN) -> DomainRecords:
    """Read the records of *domain*, each *within* a span; a record without an answer is undetermined."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _read_all, domain, servers, within)


def _read_all(domain: str, servers: NameServers, within: timedelta) -> DomainRecords:
    # The library caches every answer for half an hour, by the name alone; the cached answer may be another name
    # server's.
    with DNS_CACHE.lock:
        DNS_CACHE.clear()
    return DomainRecords(
        spf=_read(_spf, domain, servers, within),
        dmarc=_read(_dmarc, domain, servers, within),
        mta_sts=_read(_mta_sts, domain, servers, within),
        tls_rpt=_read(_tls_rpt, domain, servers, within),
    )


class _Asker(dns.resolver.Resolver):
    """Resolver that records unanswered queries, and sends none after the deadline.

    A thread cannot be cancelled, and one record may cause a hundred queries: so the deadline is here.
    """

    unanswered = ""
    until = 0.0

    def resolve(self, qname: Any, *args: Any, **options: Any) -> dns.resolver.Answer:
        if time.monotonic() >= self.until:
            self.unanswered = self.unanswered or str(qname)
            raise dns.resolver.LifetimeTimeout(timeout=0.0, errors=[])  # type: ignore[no-untyped-call]
        try:
            return super().resolve(qname, *args, **options)
        except (dns.resolver.LifetimeTimeout, dns.resolver.NoNameservers, OSError):
            self.unanswered = self.unanswered or str(qname)
            raise


def _read(
    read: Callable[[str, _Asker], RecordReading], domain: str, servers: NameServers, within: timedelta
) -> RecordReading:
    try:
        asker = configured(_Asker, servers)
    except dns.resolver.NoResolverConfiguration:
        return RecordReading(unanswered="this machine has no name servers")
    asker.until = time.monotonic() + within.total_seconds()
    try:
        return read(domain, asker)
    except _ERRORS as error:
        wrong = "" if isinstance(error, _ABSENT) else shortened(str(error))
        return RecordReading(error=wrong, unanswered=asker.unanswered)


def _spf(domain: str, asker: _Asker) -> RecordReading:
    record = query_spf_record(domain, resolver=asker)["record"]
    # An answer that is missing although the record was found may be one on which nothing depends.
    asker.unanswered = ""
    try:
        meaning = parse_spf_record(record, domain, resolver=asker)
    except SPFError as error:
        return RecordReading(record=record, location=domain, error=shortened(str(error)), unanswered=asker.unanswered)
    return RecordReading(record=record, location=domain, meaning=meaning)


def _dmarc(domain: str, asker: _Asker) -> RecordReading:
    found = query_dmarc_record(domain, resolver=asker)
    meaning = parse_dmarc_record(found["record"], found["location"], resolver=asker)
    return RecordReading(record=found["record"], location=found["location"], meaning=meaning)


def _mta_sts(domain: str, asker: _Asker) -> RecordReading:
    record = query_mta_sts_record(domain, resolver=asker)["record"]
    return RecordReading(record=record, location=domain, meaning=parse_mta_sts_record(record))


def _tls_rpt(domain: str, asker: _Asker) -> RecordReading:
    record = query_smtp_tls_reporting_record(domain, resolver=asker)["record"]
    return RecordReading(record=record, location=domain, meaning=parse_smtp_tls_reporting_record(record))
