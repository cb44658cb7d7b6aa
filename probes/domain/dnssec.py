"""Whether a domain is signed, and whether the signatures are valid (RFC 4033, RFC 4035).

A validating name server checks that. If ours does not validate, the last link of the chain is checked here: the zone's
keys against its parent's DS records.
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

from probes.domain.names import DnsAnswer, DnsNoAnswerReason, DnsUnansweredError, Names


class Signing(StrEnum):
    """DNSSEC status of a domain."""

    #: Signed, and our name server has validated the chain from the root.
    PROVEN = "proven"
    #: Signed, and its keys match its parent's DS records; our name server does not validate.
    LINKED = "linked"
    #: Signed, and its parent has no DS record: no resolver can validate it.
    ISLAND = "island"
    #: Not signed.
    BARE = "bare"
    #: The signatures are invalid: for every validating resolver the domain does not exist.
    BOGUS = "bogus"


async def signing(names: Names, domain: str) -> Signing:
    """Return the DNSSEC status of *domain*. Raise `DnsUnansweredError` when it cannot be determined."""
    try:
        answer = await names.ask(domain, "SOA")
    except DnsUnansweredError as trouble:
        if trouble.silence is not DnsNoAnswerReason.FAILED:
            raise
        # A validating server reports a forged answer and no answer alike; with checking disabled they differ.
        await names.ask(domain, "SOA", unchecked=True)
        return Signing.BOGUS
    if answer.validated:
        return Signing.PROVEN
    zone = _zone(answer)
    if zone is None:
        raise DnsUnansweredError(domain, DnsNoAnswerReason.FAILED)
    vouched = await names.ask(zone, "DS")
    keys = await names.ask(zone, "DNSKEY")
    if not vouched.records:
        return Signing.ISLAND if keys.records else Signing.BARE
    return _linked(zone, cast("tuple[DS, ...]", vouched.records), keys)


def _zone(answer: DnsAnswer) -> str | None:
    message = answer.message
    found = () if message is None else (*message.answer, *message.authority)
    return next((rrset.name.to_text() for rrset in found if rrset.rdtype == dns.rdatatype.SOA), None)


def _linked(zone: str, vouched: tuple[DS, ...], answer: DnsAnswer) -> Signing:
    """Return whether the key set of *zone* is signed by a key that *vouched* contains."""
    name = dns.name.from_text(zone)
    keys = _set(answer.message, name, dns.rdatatype.DNSKEY)
    signatures = _set(answer.message, name, dns.rdatatype.RRSIG)
    if keys is None:
        return Signing.BOGUS
    if signatures is None:
        # Signatures are lost in transit more often than they are missing.
        raise DnsUnansweredError(zone, DnsNoAnswerReason.FAILED)
    known = [key for key in cast("Iterable[DNSKEY]", keys) if any(_is_vouched(name, key, one) for one in vouched)]
    if not known:
        return Signing.BOGUS
    try:
        dns.dnssec.validate(keys, signatures, {name: dns.rrset.from_rdata_list(name, keys.ttl, known)})
    except dns.exception.UnsupportedAlgorithm as error:
        raise DnsUnansweredError(zone, DnsNoAnswerReason.UNASKED) from error
    except dns.exception.ValidationFailure:
        return Signing.BOGUS
    return Signing.LINKED


def _is_vouched(name: dns.name.Name, key: DNSKEY, vouched: DS) -> bool:
    try:
        return bool(dns.dnssec.make_ds(name, key, vouched.digest_type, validating=True) == vouched)
    except dns.exception.DNSException:
        return False


def _set(
    message: dns.message.Message | None, name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    covers = dns.rdatatype.DNSKEY if kind is dns.rdatatype.RRSIG else dns.rdatatype.NONE
    if message is None:
        return None
    return message.get_rrset(message.answer, name, dns.rdataclass.IN, kind, covers)
