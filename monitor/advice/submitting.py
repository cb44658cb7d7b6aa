"""Failures of handing a message over: refused for good, or for now, or taken without a word."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from monitor.advice.case import Case, owner
from monitor.advice.row import LOG, Advice, Row
from probes.model.probe import Route
from probes.model.reply import Reason
from probes.model.result import Phase, ProbeResult


def _greylisted(case: Case) -> bool:
    return case.says("greylist", "graylist", "postgrey") or (
        case.failure.code in {450, 451} and case.has_status("4.7.1", "4.2.0", "4.7.0") and not _throttled(case)
    )


def _throttled(case: Case) -> bool:
    return case.is_limited or case.has_sent_too_much or (case.failure.code == 421 and case.has_status("4.7."))


def _may_not_send_as(case: Case) -> bool:
    # Exchange Online says so only after it has the message.
    return case.has_status("5.7.60", "5.2.252") or case.says("send as this sender", "sendasdenied")


_TOO_MUCH = tuple(
    Row(
        reason=reason,
        when=lambda case: case.has_sent_too_much,
        what="{server} takes no more messages from {username}: the account has sent all that it may.",
        do="Wait until tomorrow; then raise probing.interval, or have {owner} raise the limit for {sender}.",
        steps=(
            "Providers count a day: 5 minutes are 288 messages on each route.",
            "Does anybody else send with this account? Give Pantau one of its own.",
        ),
    )
    for reason in (Reason.SENDER_REFUSED, Reason.RECIPIENT_REFUSED, Reason.MESSAGE_REFUSED)
)

_NOT_AS = Row(
    reason=Reason.SENDER_REFUSED,
    what="{server} does not let {username} send as {sender}.",
    do="Make {section}.address the account's own address, or have {owner} allow this account to send as it.",
    steps=(
        "{section} in {file}: do login.username and address belong together?",
        "Postfix: `smtpd_sender_login_maps`; Exchange: the permission Send As.",
        "The server's words above may tell of something else, such as a rule for its senders.",
    ),
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
    *_TOO_MUCH,
    Row(
        reason=Reason.SENDER_REFUSED,
        when=lambda case: case.failure.code == 530 or case.says("authentication required", "must issue a starttls"),
        what="{server} asks for a sign-in or TLS that this connection has had already: something between does not pass it on.",
        do="{owner} must look what stands before the service (proxy, load balancer), and whether it forwards the sign-in.",
        steps=("Run this command with --verbose: was there a sign-in (AUTH, 235) before the refusal?",),
    ),
    Row(
        reason=Reason.SENDER_REFUSED,
        when=lambda case: case.has_status("5.1.7", "5.1.8"),
        what="{server} takes {sender} for no valid sender: it finds no mail domain there.",
        do="Check the domain of {sender} in the DNS: `dig MX` and `dig A` of it; if they are gone, put them back.",
        steps=(
            "{section}.address in {file}, letter by letter.",
            "`pantau probe {agency} --check posture` shows what the domain publishes.",
        ),
    ),
    Row(
        reason=Reason.SENDER_REFUSED,
        when=lambda case: case.is_full,
        what="{server} takes nothing from {sender}: a mailbox or a disk is full there.",
        do="Have {sender} emptied or its quota raised, and the disk looked at (`df -h`).",
        steps=("Webmail of {sender}: what fills it?", "Dovecot: `doveadm quota get -u {sender}`.", LOG),
    ),
    _NOT_AS,
    replace(_NOT_AS, reason=Reason.MESSAGE_REFUSED, when=_may_not_send_as),
    Row(
        reason=Reason.RECIPIENT_REFUSED,
        when=lambda case: case.has_status("5.1.2", "5.1.10", "5.4.4", "5.4.14") or case.failure.code == 556,
        what="{server} finds no server that takes mail for {to}.",
        do="Check the MX records of the domain: `dig MX` of the domain of {to}; if they are gone, put them back.",
        steps=(
            "A null MX (556, 5.1.10; RFC 7505) says that the domain takes no mail at all.",
            "Does {host} ask a name server that sees the same records as others do?",
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
        when=lambda case: case.has_status("5.2.1"),
        what="The mailbox {to} is switched off: nobody can write to it.",
        do="Have it switched on again, or take it out of the configuration.",
        steps=("The account's state: disabled, without a licence, or locked for sending and receiving.", LOG),
    ),
    Row(
        reason=Reason.RECIPIENT_REFUSED,
        when=lambda case: case.is_blocked,
        what="{server} refuses us by a block list: our address, {sender}, or its domain is on it.",
        do="Have it taken off the list that the words above name, or {owner} exempt who signs in from it.",
        steps=(
            "Postfix: `permit_sasl_authenticated` must stand before `reject_rbl_client`.",
            "The same from another network: served there, our address is on the list.",
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
        when=lambda case: case.has_status("5.3.4", "5.2.3"),
        what="{server} says that the message is too large; it has 6 KiB.",
        do="{owner} must raise the limit of size: hardly any mail passes it.",
        steps=("Postfix: `postconf message_size_limit`; Exchange: `Get-TransportConfig | Format-List MaxSendSize`.",),
    ),
    Row(
        reason=Reason.MESSAGE_REFUSED,
        when=lambda case: case.has_status("5.4.6") or case.says("loop", "too many hops"),
        what="{server} says that the message goes round in a circle.",
        do="{owner} must look which two servers hand it to each other.",
        steps=("`postconf mydestination relay_domains transport_maps` on both.", LOG),
    ),
    Row(
        reason=Reason.MESSAGE_REFUSED,
        when=lambda case: case.is_closing,
        what="{server} takes no messages at all: the service is switched off, or refuses everybody.",
        do="Ask {owner} whether this is planned; if not, the server's log says why.",
        steps=("`postfix status`, `df -h` and the log on {host}.", LOG),
    ),
    Row(
        reason=Reason.MESSAGE_REFUSED,
        when=lambda case: case.is_not_understood,
        what="{server} did not understand the end of the submission, after it had taken sender and recipient.",
        do="{owner} must look what stands before the service: a proxy that inspects SMTP breaks it so.",
        steps=("Run this command with --verbose to see what was said.", LOG),
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
        when=lambda case: case.is_closing,
        what="{server} takes nothing from anybody for now: it is being shut down, maintained, or overloaded.",
        do="Ask {owner} whether this is planned (then enter it as maintenance); if not, the server's log says why.",
        steps=(
            "`systemctl status postfix`, load and `df -h` on the server; Exchange: `Get-ServerComponentState`, back pressure.",
            "A server that has taken on too many connections answers so, too: `ss -tn state established` on it.",
        ),
    ),
    Row(
        reason=Reason.COME_AGAIN,
        what="{server} does not take the message now and asks to come again.",
        do="Run the command again in ten minutes; if it lasts, {owner} must look at the queue and the log.",
        steps=("`postqueue -p | tail -1` and `df -h` on the server.", LOG),
    ),
)
