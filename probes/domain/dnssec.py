"""Whether a domain is signed, and whether the signatures hold (RFC 4033, RFC 4035).

A validating name server answers that for us. Where ours does not validate, the last link of the chain is tried here: the
zone's keys against what its parent vouches for.
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
    """How a domain is signed."""

    #: Signed, and our name server says that it has checked the chain from the root.
    PROVEN = "proven"
    #: Signed, and its keys are those that its parent vouches for; our name server does not check.
    LINKED = "linked"
    #: Signed, and its parent vouches for no key: nobody can check it.
    ISLAND = "island"
    #: Not signed.
    BARE = "bare"
    #: The signatures do not hold: to everybody who checks, the domain does not exist.
    BOGUS = "bogus"


async def signing(names: Names, domain: str) -> Signing:
    """Return how *domain* is signed. Raise `DnsUnansweredError` when that cannot be found out."""
    try:
        answer = await names.ask(domain, "SOA")
    except DnsUnansweredError as trouble:
        if trouble.silence is not DnsNoAnswerReason.FAILED:
            raise
        # A validating server says the same of a forged answer and of none at all; unchecked it tells them apart.
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
    """Say whether the key set of *zone* is signed by a key that *vouched* names."""
    name = dns.name.from_text(zone)
    keys = _set(answer.message, name, dns.rdatatype.DNSKEY)
    signatures = _set(answer.message, name, dns.rdatatype.RRSIG)
    if keys is None:
        return Signing.BOGUS
    if signatures is None:
        # On the way to us signatures get lost more often than they are forgotten.
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
