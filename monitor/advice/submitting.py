"""Failures of handing a message over: refused for good, or for now, or taken without a word."""

from __future__ import annotations

from datetime import timedelta

from monitor.advice.case import Case, owner
from monitor.advice.row import LOG, Advice, Row
from probes.probe import Route
from probes.reply import Reason
from probes.result import Phase, ProbeResult


def _greylisted(case: Case) -> bool:
    return case.says("greylist", "graylist", "postgrey") or (
        case.failure.code in {450, 451} and case.has_status("4.7.1", "4.2.0", "4.7.0") and not _throttled(case)
    )


def _throttled(case: Case) -> bool:
    return case.says("rate", "too many", "limit", "throttl") or (
        case.failure.code in {421, 454} and case.has_status("4.7.", "4.3.2", "4.2.1")
    )


#: What takes long, or breaks, between the message and the answer.
_BEFORE_THE_ANSWER = (
    "A scanner that looks at the message before it is taken (milter, proxy filter) may be what takes too long.",
    "Postfix: `postconf smtpd_milters smtpd_proxy_filter`; `content_filter` scans after the message was taken.",
    "A firewall that inspects SMTP or cuts idle connections between the users and the server does the same.",
)


def unanswered(route: Route, result: ProbeResult) -> Advice:
    """Say what it means that a message arrived and its sender's server never said that it had taken it."""
    took = result.phases.get(Phase.DATA, timedelta()).total_seconds()
    return Advice(
        what=f"Mail arrives, but the server of {route.sender.address} did not say that it had taken the message (after "
        f"{took:.1f} s): mail programs report an error, and people send again.",
        do=f"{owner(route.sender)} must look what ends the connection before the answer; tell users that mail which they "
        "were shown an error for has arrived, perhaps twice.",
        who=owner(route.sender),
        steps=(
            "The server's log at this time: the message was queued; what ended the session before it said so (250)?",
            *_BEFORE_THE_ANSWER,
        ),
    )


def answered_late(route: Route, result: ProbeResult, slow_data: timedelta) -> Advice:
    """Say what it means that a message arrived and its sender's server took long to say that it had taken it."""
    took = result.phases.get(Phase.DATA, timedelta()).total_seconds()
    return Advice(
        what=f"Mail arrives, but the server of {route.sender.address} took {took:.0f} s to say that it had taken the "
        f"message, more than {slow_data.total_seconds():.0f} s: mail programs give up after a minute or less, and people "
        "send again.",
        do=f"{owner(route.sender)} must have it answer sooner: larger messages, which it looks at for longer, end in an "
        "error already.",
        who=owner(route.sender),
        steps=(
            "The server's load and disk, and its log at this time: `delay=` tells how long each message took.",
            *_BEFORE_THE_ANSWER,
        ),
    )


#: Either end of the connection breaks or falls silent after the message was sent.
_DOUBTFUL = tuple(
    Row(
        reason=reason,
        when=lambda case: case.result.uncertain,
        what="The connection broke after the message was sent: nobody knows whether it was taken, and it did not come.",
        do="Run the command again: if it repeats, {owner} must look why the server does not end what it begins.",
        steps=(
            "The server's log at this time: was the message queued, or what ended the session?",
            *_BEFORE_THE_ANSWER,
            LOG,
        ),
    )
    for reason in (Reason.CONNECTION_CLOSED, Reason.NO_ANSWER)
)

ROWS = (
    *_DOUBTFUL,
    Row(
        reason=Reason.SENDER_REFUSED,
        what="{server} does not let {username} send as {sender}.",
        do="Make {section}.address the account's own address, or have {owner} allow this account to send as it.",
        steps=(
            "{section} in {file}: do login.username and address belong together?",
            "Postfix: `smtpd_sender_login_maps`; Exchange: the permission Send As.",
            "A quota of messages a day answers like this as well: the server's words above tell.",
        ),
    ),
    Row(
        reason=Reason.RECIPIENT_REFUSED,
        when=lambda case: case.names_nobody,
        what="There is no mailbox {to}, says {server}.",
        do="Check the address; if it is right, the mailbox or its alias was removed and must be made again.",
        steps=("The address in the configuration, letter by letter.", LOG),
    ),
    Row(
        reason=Reason.RECIPIENT_REFUSED,
        when=lambda case: case.is_full,
        what="The mailbox {to} is full: nobody can write to it.",
        do="Have it emptied or its quota raised. Pantau deletes its own messages; see what else lies there.",
        steps=(
            "Webmail of {to}: what fills it? A probe mailbox should hold nothing.",
            "Dovecot: `doveadm quota get -u {to}`.",
        ),
    ),
    Row(
        reason=Reason.RECIPIENT_REFUSED,
        when=lambda case: case.says("relay") or case.failure.code == 554,
        what="{server} does not pass on mail from {sender} to {to} (relaying denied).",
        do="Check {setting}: it must be the submission server, after sign-in; otherwise {owner} must allow relaying for it.",
        steps=(
            "Run this command with --verbose: was there a sign-in (AUTH, 235) before the refusal?",
            "Postfix: `smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination`.",
            "Does {host} think that it is itself responsible for the domain of {to} (`mydestination`)?",
        ),
    ),
    Row(
        reason=Reason.RECIPIENT_REFUSED,
        what="{server} does not take mail to {to}; its words are above.",
        do="Ask {owner} which rule refuses it: people who write there are refused as well.",
        steps=("The words of the server above often name the rule.", LOG),
    ),
    Row(
        reason=Reason.MESSAGE_REFUSED,
        when=lambda case: case.is_full,
        what="{server} has no room for the message: a quota or a disk is full, or it is over a limit of size.",
        do="{owner} must look at the disk and the quotas; the probe message has 6 KiB, so it is not the size.",
        steps=("`df -h` for the queue and the mail store; `postqueue -p | tail -1`.", LOG),
    ),
    Row(
        reason=Reason.MESSAGE_REFUSED,
        when=lambda case: case.has_status("5.7.26", "5.7.25", "5.7.27") or case.says("dmarc", "spf", "dkim"),
        what="{server} refuses the message because SPF, DKIM or DMARC does not vouch for {sender}.",
        do="Check the domain's records: `pantau probe {agency} --check posture`.",
        steps=(
            "Is the sending server in the domain's SPF record, and does it sign with DKIM?",
            "A reverse DNS name is asked for by Google (5.7.25).",
        ),
    ),
    Row(
        reason=Reason.MESSAGE_REFUSED,
        what="{server} read the message and refused it for what it holds: a filter takes it for spam or a virus.",
        do="Ask {owner} which rule it was, and have the probe's sender {sender} allowed if it is about the probe only.",
        steps=(
            "The words of the server above often name the filter.",
            "Is ordinary mail with an attachment refused as well? Then it is an outage, not the probe.",
            "The attachment is semakan.dat, 1.5 KiB; some gateways refuse every octet-stream.",
        ),
    ),
    Row(
        reason=Reason.COME_AGAIN,
        when=_throttled,
        what="{server} takes no more from us for now: a limit of messages or connections is reached.",
        do="Wait; if it comes back, raise probing.interval or have {owner} raise the limit for {sender}.",
        steps=(
            "Providers count a day: 5 minutes are 288 messages on each route.",
            "Postfix: `smtpd_client_message_rate_limit`, `smtpd_client_connection_rate_limit`.",
        ),
    ),
    Row(
        reason=Reason.COME_AGAIN,
        when=lambda case: case.is_full,
        what="{server} has no room for {to} for now: the mailbox or a disk is full.",
        do="Have the mailbox emptied or its quota raised, and the disk looked at (`df -h`).",
        steps=("`df -h` for the queue and the mail store.", "Dovecot: `doveadm quota get -u {to}`.", LOG),
    ),
    Row(
        reason=Reason.COME_AGAIN,
        when=_greylisted,
        what="{server} asks to come again later: it greylists senders that it does not know yet.",
        do="Run the command again in ten minutes; the service allows for this (probing.deferred_budget).",
        steps=(
            "Once the sender is known the delay goes away. If it stays, have {sender} allowed there.",
            "A 4xx that lasts longer than probing.deferred_budget counts as an outage.",
        ),
    ),
    Row(
        reason=Reason.COME_AGAIN,
        what="{server} does not take the message now and asks to come again.",
        do="Run the command again in ten minutes; if it lasts, {owner} must look at the queue and the log.",
        steps=("`postqueue -p | tail -1` and `df -h` on the server.", LOG),
    ),
)
