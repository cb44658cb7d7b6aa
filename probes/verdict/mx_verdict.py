"""Verdicts on callouts (sessions without a message) to an MX host. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from dns.rdtypes.ANY.TLSA import TLSA

from probes.domain.x509 import RENEW_AHEAD, matches_chain, parse_chain
from probes.model.check import CheckScope, Verdict
from probes.model.reply import Reason
from probes.preauth.callout import Callout, TlsResult
from probes.preauth.session import ReplyKind, ServerReply


def judge_connection(callout: Callout, ip_version: int, *, is_open: bool) -> tuple[Verdict, str]:
    """Return the verdict on a greeting or its absence; *is_open*: outgoing port 25 is open for this IP version."""
    if callout.connect_failure is not None:
        if callout.connect_failure.reason is Reason.EGRESS_DENIED:
            return Verdict.UNKNOWN, f"we do not connect there: it is {callout.connect_failure.detail}"
        if callout.is_local_fault:
            return Verdict.UNKNOWN, f"IPv{ip_version} is not available here"
        if not is_open:
            return Verdict.UNKNOWN, f"port 25 seems blocked here: no server answers over IPv{ip_version}"
        return Verdict.FAIL, f"no mail server answers: {callout.connect_failure.summary}"
    reply = cast(ServerReply, callout.greeting)
    match reply.kind:
        case ReplyKind.DONE:
            return Verdict.PASS, "greets"
        case ReplyKind.TEMPORARY:
            return Verdict.WARN, f"refuses temporarily: {reply.text}"
        case _ if concerns_client(reply):
            return Verdict.UNKNOWN, f"refuses only us: {reply.text}"
        case _:
            return Verdict.FAIL, f"refuses all clients: {reply.text}"


def judge_tls(callout: Callout, required_by: str) -> tuple[Verdict, str]:
    """Return the verdict on TLS. *required_by* names the policy that makes senders require TLS; "" for none."""
    match callout.tls:
        case TlsResult.ABSENT if required_by:
            return Verdict.FAIL, f"STARTTLS is not offered, but {required_by} requires it: senders do not deliver"
        case TlsResult.ABSENT:
            return Verdict.WARN, "STARTTLS is not offered; mail arrives unencrypted"
        case TlsResult.BROKEN:
            return Verdict.FAIL, f"STARTTLS is offered and fails: {callout.tls_detail}"
        case _:
            return Verdict.PASS, "STARTTLS works"


def judge_certificate(
    callout: Callout, host: str, tlsa_records: Sequence[TLSA], required_by: str, now: datetime
) -> tuple[Verdict, str, datetime | None]:
    """Return the verdict on the certificate of *host* for other mail servers, and its expiry.

    Mail servers deliver to a host with any certificate (RFC 7435), unless its *tlsa_records* require another one, or
    the policy *required_by* requires a trusted one.
    """
    if not callout.chain:
        return Verdict.UNKNOWN, "no certificate was shown", None
    try:
        expires_at = parse_chain(callout.chain).not_after
        has_match = any(matches_chain(record, callout.chain, host) for record in tlsa_records)
    except ValueError:
        return Verdict.UNKNOWN, "the certificate cannot be read", None
    if tlsa_records and not has_match:
        detail = (
            "no TLSA record matches it: senders that use DANE do not deliver; publish the record before its certificate"
        )
        return Verdict.FAIL, detail, expires_at
    if callout.tls is TlsResult.DISTRUSTED and not has_match:
        consequence = f", but {required_by} requires a trusted one" if required_by else "; other servers still deliver"
        return (
            (Verdict.FAIL if required_by else Verdict.WARN),
            f"it is not trusted: {callout.tls_detail}{consequence}",
            expires_at,
        )
    if expires_at - now < RENEW_AHEAD:
        return Verdict.WARN, f"it expires on {expires_at:%Y-%m-%d}; renew it {RENEW_AHEAD.days} days ahead", expires_at
    return (
        Verdict.PASS,
        f"{'a TLSA record matches it' if has_match else 'trusted'}, valid until {expires_at:%Y-%m-%d}",
        expires_at,
    )


def judge_recipients(callout: Callout, check_scope: CheckScope) -> tuple[Verdict, str]:
    """Return the verdict on the replies to RCPT for the mailboxes that Pantau uses; the worst reply counts."""
    if not check_scope.ask_recipients:
        return Verdict.UNKNOWN, "not asked: ask_recipients is off"
    if not check_scope.our_address:
        return Verdict.UNKNOWN, "not asked: no reference mailbox is configured as the sender"
    if not callout.recipients:
        return (
            Verdict.UNKNOWN,
            f"it broke off: {callout.break_reason}"
            if callout.break_reason
            else "no configured mailbox is in the domain",
        )
    verdicts = [_judge_recipient(address, reply) for address, reply in callout.recipients.items()]
    order = (Verdict.FAIL, Verdict.WARN, Verdict.UNKNOWN, Verdict.PASS)
    return min(verdicts, key=lambda verdict: order.index(verdict[0]))


def _judge_recipient(address: str, reply: ServerReply) -> tuple[Verdict, str]:
    match reply.kind:
        case ReplyKind.DONE:
            return Verdict.PASS, f"accepts mail for {address}"
        case ReplyKind.TEMPORARY:
            return Verdict.WARN, f"refuses mail for {address} temporarily (as greylisting does once): {reply.text}"
        case _ if concerns_client(reply):
            return Verdict.UNKNOWN, f"refuses only us: {reply.text}"
        case _:
            return Verdict.FAIL, f"refuses mail for {address}: {reply.text}"


def concerns_client(reply: ServerReply) -> bool:
    """Return whether a refusal concerns the client and not the mailbox.

    5.7.x is policy (RFC 3463): our address is on a block list, or fails SPF. "Relaying denied" also has 5.7.x, but
    means that the server is not configured for the domain, so it is excluded.
    """
    text = reply.text.lower()
    return reply.kind is ReplyKind.PERMANENT and " 5.7." in text and "relay" not in text
