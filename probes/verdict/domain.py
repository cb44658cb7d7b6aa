"""Verdicts on a domain's DNS records, each with a line of text for people. Pure.

`RecordReading.parsed` is the result of the library checkdmarc.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from dns.rdtypes.ANY.TLSA import TLSA

from probes.domain.dnssec import DnssecStatus
from probes.domain.exchanger import Exchangers
from probes.domain.mta_sts import Mode, MtaStsPolicyError, Policy, PolicyUnreachableError
from probes.domain.names import DnsAnswer
from probes.domain.records import RecordReading
from probes.domain.signature import NOT_CHECKED, Signature
from probes.domain.x509 import is_usable
from probes.model.check import Verdict

#: Verdict, and the text that explains it: both parts of a `Finding`.
Judgement = tuple[Verdict, str]

#: Record of a domain that sends no mail (RFC 7208 10.1.2, M3AAWG).
_NO_MAIL_RECORD = "v=spf1 -all"
#: Bits of an RSA key that signers should use at least (RFC 8301 3.2).
_MIN_KEY_BITS = 2048


def declares_no_mail(spf: RecordReading) -> bool:
    """Return whether the SPF record declares that the domain sends no mail."""
    return (spf.record or "").strip().lower() == _NO_MAIL_RECORD


def judge_spf(spf: RecordReading) -> Judgement:
    """Return the verdict on SPF (RFC 7208)."""
    if (unusable := _unusable(spf, "SPF", "receivers")) is not None:
        return unusable
    if spf.record is None:
        return Verdict.FAIL, 'there is no SPF record; "v=spf1 ... -all" is expected'
    if declares_no_mail(spf):
        return Verdict.PASS, "SPF says that the domain sends no mail"
    parsed = cast("Mapping[str, Any]", spf.parsed["parsed"])
    lookups = spf.parsed["dns_lookups"]
    if (unrestricted := next(_unrestricted_terms(parsed), None)) is not None:
        return Verdict.FAIL, f"SPF allows everyone to send for the domain: {unrestricted}; -all or ~all is expected"
    if parsed["all"] == "neutral":
        return Verdict.WARN, "SPF is neutral about other senders; -all or ~all is expected at its end"
    if any(mechanism["mechanism"] == "ptr" for mechanism in parsed["mechanisms"]):
        return Verdict.WARN, "SPF uses ptr, which receivers are told to ignore (RFC 7208 5.5); use ip4, ip6, a or mx"
    end = "-all" if parsed["all"] == "fail" else "~all"
    return Verdict.PASS, f"SPF ends with {end} and needs {lookups} of 10 look-ups"


def _unrestricted_terms(parsed: Mapping[str, Any]) -> Iterator[str]:
    """Yield the terms of an SPF record and its included records that let all addresses pass, or half of them."""
    if parsed["all"] == "pass":
        yield "+all"
    for mechanism in parsed["mechanisms"]:
        if mechanism["action"] != "pass":
            continue
        if mechanism["mechanism"] in {"ip4", "ip6"} and _prefix_length(str(mechanism["value"])) <= 1:
            yield f"{mechanism['mechanism']}:{mechanism['value']}"
        if mechanism["mechanism"] == "include" and mechanism.get("parsed"):
            yield from (f"{term} in {mechanism['value']}" for term in _unrestricted_terms(mechanism["parsed"]))


def _prefix_length(network: str) -> int:
    try:
        return ipaddress.ip_network(network, strict=False).prefixlen
    except ValueError:
        return 128


def judge_dmarc(dmarc: RecordReading, domain: str) -> Judgement:
    """Return the verdict on DMARC (RFC 7489 and RFC 9989)."""
    if (unusable := _unusable(dmarc, "DMARC", "receivers")) is not None:
        return unusable
    if dmarc.record is None:
        return Verdict.FAIL, 'there is no DMARC record; "v=DMARC1; p=reject; rua=..." is expected'
    tags = dmarc.parsed["tags"]
    is_inherited = dmarc.location != domain
    policy = tags["sp" if is_inherited else "p"]["value"]
    source = f" (from {dmarc.location})" if is_inherited else ""
    if policy == "none":
        return Verdict.WARN, f"DMARC only monitors: the policy is none{source}; quarantine or reject is expected"
    if tags.get("t", {}).get("value") == "y":
        return Verdict.WARN, f"DMARC is marked as a test (t=y){source}, so receivers do not apply {policy} in full"
    reports = "" if "rua" in tags else "; without rua= nobody receives reports of failures"
    return Verdict.PASS, f"the DMARC policy is {policy}{source}{reports}"


def judge_mta_sts(
    record: RecordReading, policy: Policy | MtaStsPolicyError | PolicyUnreachableError | None, exchangers: Exchangers
) -> Judgement:
    """Return the verdict on MTA-STS (RFC 8461): the record, and the policy (or the error of fetching it)."""
    if exchangers.is_null_mx:
        return Verdict.PASS, "the domain takes no mail (null MX)"
    if (unusable := _unusable(record, "MTA-STS", "senders")) is not None:
        return unusable
    match policy:
        case _ if record.record is None:
            return Verdict.WARN, "there is no MTA-STS record; attackers may redirect mail, or make senders skip TLS"
        case MtaStsPolicyError():
            return Verdict.FAIL, f"MTA-STS is announced, and there is no valid policy: {policy}"
        case Policy(mode=Mode.ENFORCE):
            uncovered = [host for host in exchangers.hosts if not policy.covers(host)]
            if uncovered:
                return (
                    Verdict.FAIL,
                    f"the MTA-STS policy leaves out {', '.join(uncovered)}: senders do not deliver there",
                )
            return Verdict.PASS, "MTA-STS is enforced for every MX host"
        case Policy():
            return Verdict.WARN, f"the MTA-STS policy is {policy.mode}; enforce is expected"
        case _:
            return Verdict.UNKNOWN, f"the MTA-STS policy could not be fetched: {policy}"


def judge_tls_rpt(record: RecordReading, exchangers: Exchangers) -> Judgement:
    """Return the verdict on TLS-RPT (RFC 8460)."""
    if exchangers.is_null_mx:
        return Verdict.PASS, "the domain takes no mail (null MX)"
    if (unusable := _unusable(record, "TLS-RPT", "senders")) is not None:
        return unusable
    if record.record is None:
        return Verdict.WARN, "there is no TLS-RPT record; nobody receives reports when TLS fails"
    return Verdict.PASS, "failures of TLS are reported"


def judge_dnssec(signing: DnssecStatus) -> Judgement:
    """Return the verdict on DNSSEC (RFC 4033)."""
    match signing:
        case DnssecStatus.VALIDATED:
            return Verdict.PASS, "signed and validated by our name server"
        case DnssecStatus.MATCHES_DS:
            return (
                Verdict.PASS,
                "signed with the keys that the parent zone vouches for; our name server does not validate",
            )
        case DnssecStatus.ISLAND:
            return Verdict.WARN, "signed, but the parent zone has no DS record for it, so nobody can check"
        case DnssecStatus.UNSIGNED:
            return Verdict.WARN, "not signed; answers about the domain can be forged"
        case DnssecStatus.BOGUS:
            return Verdict.FAIL, "the signatures are invalid: validating resolvers cannot find the domain"


def judge_dane(exchangers: Exchangers, records: Mapping[str, DnsAnswer], signing: DnssecStatus | None) -> Judgement:
    """Return the verdict on DANE for mail (RFC 7672): the TLSA records of every MX host, and their validation.

    *records*: the TLSA answer for each MX host. *signing*: DNSSEC status of the domain; `None` if it is undetermined.
    """
    if exchangers.is_null_mx:
        return Verdict.PASS, "the domain takes no mail (null MX)"
    without = [host for host in exchangers.hosts if not records[host].records]
    if without or not exchangers.hosts:
        return Verdict.WARN, f"no TLSA records for {', '.join(without) or 'any MX host'}"
    unusable = [
        host
        for host in exchangers.hosts
        if records[host].is_validated and not any(map(is_usable, cast("Sequence[TLSA]", records[host].records)))
    ]
    if unusable:
        return (
            Verdict.FAIL,
            f"the TLSA records of {', '.join(unusable)} are not usable for mail; DANE-EE (3 1 1) is expected",
        )
    if signing is DnssecStatus.MATCHES_DS:
        return Verdict.UNKNOWN, "there are TLSA records, and our name server does not validate DNSSEC"
    unvalidated = [host for host in exchangers.hosts if not records[host].is_validated]
    if not exchangers.is_validated or unvalidated:
        names = ", ".join(unvalidated) or exchangers.domain
        return Verdict.WARN, f"the TLSA records have no effect: DNSSEC does not prove the records of {names}"
    return Verdict.PASS, "every MX host has usable TLSA records"


def judge_dkim(domain: str, signatures: Sequence[Signature]) -> Judgement:
    """Return the verdict on the DKIM signatures (RFC 6376) of a message that arrived from *domain*."""
    if not signatures:
        return Verdict.FAIL, "the latest message arrived without a DKIM signature"
    aligned = [signature for signature in signatures if signature.is_valid and signature.is_aligned(domain)]
    if not aligned:
        valid_domains = [signature.domain for signature in signatures if signature.is_valid]
        if valid_domains:
            return Verdict.FAIL, f"signed only for {', '.join(valid_domains)}; a signature with d={domain} is expected"
        if any(signature.fault == NOT_CHECKED for signature in signatures):
            return Verdict.UNKNOWN, NOT_CHECKED
        return Verdict.FAIL, f"no valid DKIM signature: {signatures[0].fault}"
    best = max(aligned, key=lambda signature: (not signature.testing, signature.bits or 0))
    if best.testing:
        return Verdict.WARN, f"the key {best.selector} is marked as one for testing (t=y), so receivers ignore it"
    # A key of 256 bits is an Ed25519 key, which is as strong as the strongest RSA keys.
    if best.bits is not None and best.bits != 256 and best.bits < _MIN_KEY_BITS:
        return Verdict.WARN, f"the key {best.selector} has {best.bits} bits; {_MIN_KEY_BITS} are expected"
    return Verdict.PASS, f"signed for {best.domain} with the key {best.selector}"


def _unusable(reading: RecordReading, what: str, readers: str) -> Judgement | None:
    """Return the verdict on a record that cannot be judged, or that its *readers* cannot use; otherwise `None`.

    *what*: kind of record. *readers*: "receivers" or "senders".
    """
    # A record that was found and is valid is judged even if a related query had no answer.
    if reading.unanswered and (reading.error or reading.record is None):
        return Verdict.UNKNOWN, f"no answer about {reading.unanswered}"
    if reading.error:
        return Verdict.FAIL, f"{readers} cannot use the {what} record: {reading.error}"
    return None
