"""Verdicts on the callouts to an MX host. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from dns.rdtypes.ANY.TLSA import TLSA

from probes.domain.x509 import RENEW_AHEAD, matches, read
from probes.model.check import CheckScope, Verdict
from probes.model.reply import Reason
from probes.preauth.callout import Callout, TlsStage
from probes.preauth.session import ReplyKind, ServerReply


def judge_connection(seen: Callout, version: int, *, is_open: bool) -> tuple[Verdict, str]:
    """Return the verdict on a greeting or its absence; *is_open*: outgoing port 25 is open for this IP version."""
    if seen.unmet is not None:
        if seen.unmet.reason is Reason.OUT_OF_BOUNDS:
            return Verdict.UNKNOWN, f"we do not call there: it is {seen.unmet.detail}"
        if seen.ours:
            return Verdict.UNKNOWN, f"there is no way over IPv{version} from here"
        if not is_open:
            return Verdict.UNKNOWN, f"port 25 seems blocked from here: nobody answers over IPv{version}"
        return Verdict.FAIL, f"no mail server answers: {seen.unmet.words}"
    reply = cast(ServerReply, seen.greeting)
    match reply.kind:
        case ReplyKind.DONE:
            return Verdict.PASS, "greets"
        case ReplyKind.LATER:
            return Verdict.WARN, f"asks to come again: {reply.text}"
        case _ if is_about_us(reply):
            return Verdict.UNKNOWN, f"refuses us in particular: {reply.text}"
        case _:
            return Verdict.FAIL, f"turns everybody away: {reply.text}"


def judge_tls(seen: Callout, must: str) -> tuple[Verdict, str]:
    """Return the verdict on TLS; *must* names the policy that makes senders require it."""
    match seen.tls:
        case TlsStage.ABSENT if must:
            return Verdict.FAIL, f"STARTTLS is not offered, and {must} asks for it: senders do not deliver"
        case TlsStage.ABSENT:
            return Verdict.WARN, "STARTTLS is not offered; mail comes in clear"
        case TlsStage.BROKEN:
            return Verdict.FAIL, f"STARTTLS is offered and fails: {seen.tls_detail}"
        case _:
            return Verdict.PASS, "STARTTLS works"


def judge_certificate(
    seen: Callout, host: str, dane: Sequence[TLSA], must: str, now: datetime
) -> tuple[Verdict, str, datetime | None]:
    """Return the verdict on the certificate of *host* for other mail servers, and its expiry.

    They deliver with any certificate (RFC 7435), unless TLSA records match it or *must* names a policy that requires a
    trusted one.
    """
    if not seen.chain:
        return Verdict.UNKNOWN, "no certificate was shown", None
    try:
        end = read(seen.chain).not_after
        vouched = any(matches(one, seen.chain, host) for one in dane)
    except ValueError:
        return Verdict.UNKNOWN, "the certificate cannot be read", None
    if dane and not vouched:
        told = "no TLSA record fits it: senders that heed DANE do not deliver; publish the new one before it is used"
        return Verdict.FAIL, told, end
    if seen.tls is TlsStage.DISTRUSTED and not vouched:
        severe = f", and {must} asks for one that is" if must else "; other servers deliver all the same"
        return (Verdict.FAIL if must else Verdict.WARN), f"it is not trusted: {seen.tls_detail}{severe}", end
    if end - now < RENEW_AHEAD:
        return Verdict.WARN, f"it ends on {end:%Y-%m-%d}; renew it {RENEW_AHEAD.days} days ahead", end
    return Verdict.PASS, f"{'a TLSA record fits it' if vouched else 'trusted'}, valid until {end:%Y-%m-%d}", end


def judge_recipients(seen: Callout, check_scope: CheckScope) -> tuple[Verdict, str]:
    """Return the verdict on the replies for our mailboxes; the worst reply counts."""
    if not check_scope.ask_recipients:
        return Verdict.UNKNOWN, "not asked: ask_recipients is off"
    if not check_scope.our_address:
        return Verdict.UNKNOWN, "not asked: no address of ours is configured to ask with"
    if not seen.recipients:
        return Verdict.UNKNOWN, f"it broke off: {seen.broken}" if seen.broken else "no mailbox of ours is in the domain"
    verdicts = [_recipient(address, reply) for address, reply in seen.recipients.items()]
    order = (Verdict.FAIL, Verdict.WARN, Verdict.UNKNOWN, Verdict.PASS)
    return min(verdicts, key=lambda one: order.index(one[0]))


def _recipient(address: str, reply: ServerReply) -> tuple[Verdict, str]:
    match reply.kind:
        case ReplyKind.DONE:
            return Verdict.PASS, f"takes mail for {address}"
        case ReplyKind.LATER:
            return Verdict.WARN, f"asks to come again with mail for {address} (greylisting does so once): {reply.text}"
        case _ if is_about_us(reply):
            return Verdict.UNKNOWN, f"refuses us in particular: {reply.text}"
        case _:
            return Verdict.FAIL, f"refuses mail for {address}: {reply.text}"


def is_about_us(reply: ServerReply) -> bool:
    """Return whether a refusal concerns the client and not the mailbox.

    5.7.x is policy (RFC 3463): our address on a block list, our SPF. "Relaying denied" has it, too, and there it means
    that the server is not configured for the domain.
    """
    text = reply.text.lower()
    return reply.kind is ReplyKind.NO and " 5.7." in text and "relay" not in text
