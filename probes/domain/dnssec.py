"""DNSSEC status of a domain: whether it is signed, and whether the signatures are valid (RFC 4033, RFC 4035).

A validating name server checks the signatures. If our name server does not validate, this module checks only the last
link of the chain: the zone's keys against its parent's DS records.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import cast

import dns.dnssec
import dns.exception
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.DNSKEY import DNSKEY
from dns.rdtypes.ANY.DS import DS

from probes.domain.names import DnsAnswer, DnsClient, DnsNoAnswerReason, DnsUnansweredError


class DnssecStatus(StrEnum):
    """DNSSEC status of a domain."""

    #: Signed, and our name server has validated the chain from the root.
    VALIDATED = "validated"
    #: Signed, and a key matches the parent's DS records; our name server does not validate.
    MATCHES_DS = "matches DS"
    #: Signed, but the parent zone has no DS record: no resolver can validate it.
    ISLAND = "island"
    #: Not signed.
    UNSIGNED = "unsigned"
    #: The signatures are invalid: for every validating resolver the domain does not exist.
    BOGUS = "bogus"


async def dnssec_status(dns_client: DnsClient, domain: str) -> DnssecStatus:
    """Return the DNSSEC status of *domain*. Raise `DnsUnansweredError` if it cannot be determined."""
    try:
        answer = await dns_client.query(domain, "SOA")
    except DnsUnansweredError as error:
        if error.reason is not DnsNoAnswerReason.FAILED:
            raise
        # A validating server answers SERVFAIL both for forged records and if it cannot find any records. With
        # checking disabled, it returns forged records; if it finds none, the query raises again.
        await dns_client.query(domain, "SOA", checking_disabled=True)
        return DnssecStatus.BOGUS
    if answer.is_validated:
        return DnssecStatus.VALIDATED
    zone = _find_zone(answer)
    if zone is None:
        raise DnsUnansweredError(domain, DnsNoAnswerReason.FAILED)
    ds_answer = await dns_client.query(zone, "DS")
    key_answer = await dns_client.query(zone, "DNSKEY")
    if not ds_answer.records:
        return DnssecStatus.ISLAND if key_answer.records else DnssecStatus.UNSIGNED
    return _check_keys(zone, cast("tuple[DS, ...]", ds_answer.records), key_answer)


def _find_zone(answer: DnsAnswer) -> str | None:
    """Return the name of the zone that answered: the owner of the SOA record in the answer."""
    message = answer.message
    rrsets = () if message is None else (*message.answer, *message.authority)
    return next((rrset.name.to_text() for rrset in rrsets if rrset.rdtype == dns.rdatatype.SOA), None)


def _check_keys(zone: str, ds_records: tuple[DS, ...], key_answer: DnsAnswer) -> DnssecStatus:
    """Return MATCHES_DS if a key that *ds_records* confirm has signed the key set of *zone*, otherwise BOGUS."""
    name = dns.name.from_text(zone)
    keys = _find_rrset(key_answer.message, name, dns.rdatatype.DNSKEY)
    signatures = _find_rrset(key_answer.message, name, dns.rdatatype.RRSIG)
    if keys is None:
        return DnssecStatus.BOGUS
    if signatures is None:
        # A firewall has more likely dropped the signatures than the zone lacks them, so the status is undetermined.
        raise DnsUnansweredError(zone, DnsNoAnswerReason.FAILED)
    trusted_keys = [
        key for key in cast("Iterable[DNSKEY]", keys) if any(_matches_ds(name, key, ds) for ds in ds_records)
    ]
    if not trusted_keys:
        return DnssecStatus.BOGUS
    try:
        dns.dnssec.validate(keys, signatures, {name: dns.rrset.from_rdata_list(name, keys.ttl, trusted_keys)})
    except dns.exception.UnsupportedAlgorithm as error:
        raise DnsUnansweredError(zone, DnsNoAnswerReason.UNASKED) from error
    except dns.exception.ValidationFailure:
        return DnssecStatus.BOGUS
    return DnssecStatus.MATCHES_DS


def _matches_ds(name: dns.name.Name, key: DNSKEY, ds: DS) -> bool:
    try:
        return bool(dns.dnssec.make_ds(name, key, ds.digest_type, validating=True) == ds)
    except dns.exception.DNSException:
        return False


def _find_rrset(
    message: dns.message.Message | None, name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    # Signatures (RRSIG) are grouped by the type of record that they cover.
    covers = dns.rdatatype.DNSKEY if kind is dns.rdatatype.RRSIG else dns.rdatatype.NONE
    if message is None:
        return None
    return message.get_rrset(message.answer, name, dns.rdataclass.IN, kind, covers)
