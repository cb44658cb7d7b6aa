"""Failures on the way to a server: its name, its port, its TLS."""

from __future__ import annotations

from monitor.advice.case import Case
from monitor.advice.row import Row, Who
from probes.model.mailbox import Security
from probes.model.reply import Reason
from probes.model.result import Outcome, Phase

_SHOW = "{openssl} </dev/null 2>/dev/null | openssl x509 -noout -subject -issuer -dates -ext subjectAltName"


def _greeted_too_late(case: Case) -> bool:
    """Whether a port for TLS from the first byte was met in clear: both sides wait for the other to begin."""
    server = case.server
    return (
        case.failure.phase is Phase.CONNECT
        and case.result.outcome is Outcome.TIMEOUT
        and server is not None
        and server.security is Security.STARTTLS
    )


def _unopened(case: Case) -> bool:
    return case.failure.phase is Phase.CONNECT and case.result.outcome is Outcome.CONNECT


def _in_clear(case: Case) -> bool:
    return case.server is not None and case.server.port in {25, 110, 143, 587}


ROWS = (
    Row(
        reason=Reason.NAME_UNKNOWN,
        what="There is no address for the name {host}.",
        do="Check the spelling of {setting}.host; if it is right, {owner} must put the DNS record back.",
        steps=(
            "{setting}.host in {file}: is it what the administrators call the server today?",
            (
                "`dig +short {host} A` and `dig +short {host} AAAA`: an empty answer from every name server means that the "
                "record is gone."
            ),
            "`dig +trace {host}`: does the domain still have name servers, and has it been renewed?",
        ),
    ),
    Row(
        reason=Reason.NAME_SERVER_SILENT,
        what="No name server answered when we asked for {host}; nothing is known of the mail server itself.",
        do="Try `dig gov.my` on this machine: if that hangs too, it is our resolver, otherwise the domain's name servers.",
        who=Who.NETWORK,
        steps=(
            "`dig gov.my`: no answer means that this machine's resolver (/etc/resolv.conf) or the way to it is down.",
            "`dig +trace {host}`: if only this name hangs, {owner} must look at the name servers of the domain.",
        ),
    ),
    Row(
        reason=Reason.PORT_REFUSED,
        what="The machine {host} answers, but nothing listens on its port {port}.",
        do="Ask {owner} whether the {protocol} service runs; check {setting}.port if it should.",
        steps=(
            "`nc -vz {host} {port}` from another network: refused there as well means that the service is stopped.",
            "On the server: `ss -ltn` shows what listens; `systemctl status postfix dovecot` what was stopped.",
            (
                "{setting}.port in {file}: {protocol} is at {implicit_port} (security: implicit) or {starttls_port} "
                "(security: starttls)."
            ),
            "A firewall may reject us alone: compare from a second machine.",
        ),
    ),
    Row(
        reason=Reason.UNREACHABLE,
        what="No network path leads from here to {host}.",
        do="Run `traceroute {host}`: where it ends is who has to look.",
        who=Who.NETWORK,
        steps=(
            "`ip route get` with the server's address: does this machine have a route, for IPv6 as well?",
            "`traceroute {host}`: inside our network it is ours, behind it the provider's.",
            "A VPN or a leased line to the agency that is down looks like this.",
        ),
    ),
    Row(
        reason=Reason.NO_ANSWER,
        when=lambda case: _unopened(case) and case.server is not None and case.server.port == 25,
        what="Nothing came back from {server}: port 25 is blocked, as in most clouds and office networks.",
        do="Submit on port 587 or 465 instead ({setting}.port), or have outgoing port 25 opened.",
        who=Who.NETWORK,
        steps=(
            "`nc -vz -w 5 {host} 25` here and from a network without such a block.",
            "{setting}: port: 587 with security: starttls, or port: 465 with security: implicit.",
        ),
    ),
    Row(
        reason=Reason.NO_ANSWER,
        when=_unopened,
        what="Nothing came back from {server}: a firewall drops port {port} on the way, or the machine is down.",
        do="Run `nc -vz -w 5 {host} {port}` here and from another network; if only we hang, have the port opened.",
        who=Who.NETWORK,
        steps=(
            "`ping {host}` and `nc -vz -w 5 {host} {port}` on this machine: is another port of it open?",
            "The same from another network: it opens there, so our firewall must let TCP {port} out.",
            "It hangs there as well: {owner} must look whether the machine is up and who may reach it.",
        ),
    ),
    Row(
        reason=Reason.NO_ANSWER,
        when=_greeted_too_late,
        what="{server} took the connection and fell silent: it may expect TLS from the first byte.",
        do="If port {port} is one with TLS from the start, set {setting}.security to implicit; "
        "otherwise the service hangs.",
        steps=(
            (
                "`openssl s_client -connect {server} </dev/null`: a certificate means that the port speaks TLS at once: "
                "security: implicit, or port: {starttls_port} for starttls."
            ),
            "No certificate either: {owner} must restart the service and look into its log; it may be overloaded.",
        ),
    ),
    Row(
        reason=Reason.NO_ANSWER,
        when=lambda case: case.says("without an end"),
        what="{server} began an answer {phase}, and did not come to its end.",
        do="Ask {owner} whether the service is overloaded or slows us down on purpose (tarpit); the log has the time.",
        steps=(
            "Run this command again, and from another network: is it so slow with everybody?",
            "A middlebox that inspects mail may hold back the rest of an answer.",
        ),
    ),
    Row(
        reason=Reason.NO_ANSWER,
        when=lambda case: case.failure.phase is Phase.TLS,
        what="{server} did not come to terms on TLS in time: it fell silent, or said what is too short for TLS.",
        do="Run `{openssl}`: if that hangs too, {owner} must look at the service and its certificate.",
        steps=(
            "`nc {host} {port}` and a few letters: an answer in clear means that this port speaks no TLS at once.",
            "The same from another network: a firewall that opens TLS may swallow the handshake.",
        ),
    ),
    Row(
        reason=Reason.NO_ANSWER,
        what="{server} stopped answering {phase}.",
        do="Ask {owner} whether the {protocol} service is overloaded or hangs; the log has the time of this run.",
        steps=(
            "Run this command again: does it hang at the same place?",
            "On the server: load, disk space, and what the service waits for (name server, directory, mail store).",
            "A middlebox that inspects TLS or mail may swallow answers: compare from another network.",
        ),
    ),
    Row(
        reason=Reason.CONNECTION_CLOSED,
        when=lambda case: case.failure.phase in {Phase.CONNECT, Phase.TLS},
        what="{server} hung up {phase}.",
        do="Ask {owner} whether our address is blocked or the service is failing; its log says why it hung up.",
        steps=(
            "The server's log at the time of this run: a block list, too many connections, a crash at the start.",
            (
                "{setting}: is {port} the right port for security: {security}? {protocol} is at {implicit_port} (implicit) or "
                "{starttls_port} (starttls)."
            ),
            "The same from another network: if it works there, our address is blocked.",
        ),
    ),
    Row(
        reason=Reason.CONNECTION_CLOSED,
        what="{server} hung up {phase}.",
        do="Ask {owner} to look into the server's log at this time: the service is failing or was restarted.",
        steps=(
            "Run this command again: once is a restart, always is a crash.",
            "The server's log at the time of this run.",
        ),
    ),
    Row(
        reason=Reason.UNEXPECTED_ANSWER,
        when=lambda case: case.says("response too long", "does not stop talking"),
        what="{server} does not stop talking {phase}: its answer is longer than any {protocol} server's.",
        do="{owner} must look what answers there; run this command with --verbose to see how it begins.",
        steps=("`nc {host} {port}`: is that the mail service at all?",),
    ),
    Row(
        reason=Reason.UNEXPECTED_ANSWER,
        what="What answers at {server} does not speak {protocol} as it should.",
        do="Check {setting}.host and .port; run this command with --verbose to see what was said.",
        steps=(
            "`nc {host} {port}`: does another service (a web server, a proxy, a captive portal) answer there?",
            "{setting} in {file}: {protocol} is at {implicit_port} (implicit) or {starttls_port} (starttls).",
            "If the port is right, {owner} must look what stands before the service.",
        ),
    ),
    Row(
        reason=Reason.SERVICE_REFUSED,
        when=lambda case: case.is_not_understood,
        what="{server} does not understand how we greet it (EHLO), as every submission server does.",
        do="Check {setting}; if it is right, {owner} must look what rewrites the greeting on the way.",
        steps=(
            "A firewall that inspects SMTP (such as Cisco's `inspect esmtp`) turns EHLO into XXXX.",
            "Run this command with --verbose to see what was said.",
        ),
    ),
    Row(
        reason=Reason.SERVICE_REFUSED,
        when=lambda case: case.failure.code == 521 or case.is_closing,
        what="{server} says that it takes no mail at all.",
        do="Check {setting}.host: is it the server that people are told to use? If it is, {owner} must switch it on.",
        steps=("521 (RFC 7504) is for machines that are not meant to take mail.",),
    ),
    Row(
        reason=Reason.SERVICE_REFUSED,
        what="{server} turned us away before we had said anything: it serves nobody, or not us.",
        do="Ask {owner} whether the service is switched off or our address is on one of its block lists.",
        steps=(
            "The same from another network: if it is served there, our address is refused by name or by a block list.",
            "The words of the server above often name the list and the page where to be taken off.",
        ),
    ),
    Row(
        reason=Reason.TLS_NOT_OFFERED,
        what="{server} offers no STARTTLS, so passwords and mail would pass in clear: Pantau stops there.",
        do="{owner} must switch TLS on; or set {setting} to port {implicit_port} with security: implicit.",
        steps=(
            (
                "`openssl s_client -connect {server} -starttls smtp` (or imap, pop3) here and from another network: if it "
                "is offered there, something on our way removes the offer."
            ),
            (
                "Postfix: `smtpd_tls_security_level = may` with a certificate in `smtpd_tls_chain_files`; Dovecot: "
                "`ssl = required`."
            ),
            "A firewall that inspects SMTP (such as Cisco's `inspect esmtp`) must let STARTTLS pass.",
        ),
    ),
    Row(
        reason=Reason.TLS_UNAVAILABLE,
        what="{server} offers STARTTLS and, asked for it, says no: usually it cannot read its certificate or key.",
        do="{owner} must look into the server's log at this time; 4xx is for now, 5xx until it is mended.",
        steps=(
            'Postfix: "cannot load" in the log; `postconf smtpd_tls_chain_files`: do the files exist, and belong together?',
            "Was the certificate renewed a short while ago, with a key that the service may not read?",
            "`{openssl}` from another network: what is refused here only is refused by something on our way.",
        ),
    ),
    Row(
        reason=Reason.TLS_REFUSED,
        what="{server} and we could not agree on TLS: usually its versions or ciphers are too old.",
        do="{owner} must allow TLS 1.2 or newer; `{openssl}` shows what it offers.",
        steps=(
            "`{openssl} -tls1_2` and the same with `-tls1_3`: one of them has to work.",
            "Postfix: `smtpd_tls_mandatory_protocols = >=TLSv1.2`; Dovecot: `ssl_min_protocol = TLSv1.2`.",
            "The server's log: a certificate file that cannot be read ends the handshake too.",
        ),
    ),
    Row(
        reason=Reason.TLS_TAMPERED,
        what="{server} granted TLS, and more was said in clear behind that: somebody on the way may put words into its mouth.",
        do="Compare from another network with `{openssl}`: what happens here only is done by something on our way.",
        who=Who.NETWORK,
        steps=(
            "A proxy, firewall or captive portal between us and {host} that reads mail has to go, or let it pass unread.",
            "The same everywhere: the server mixes up its answers; {owner} must update it (CVE-2011-0411).",
            "{setting} with port {implicit_port} and security: implicit leaves nothing in clear to tamper with.",
        ),
    ),
    Row(
        reason=Reason.TLS_NOT_SPOKEN,
        when=_in_clear,
        what="Port {port} of {host} begins in clear, but {setting} says security: implicit.",
        do="Set {setting}.security to starttls, or its port to {implicit_port}.",
        who=Who.US,
        steps=(
            "{setting} in {file}: port: {starttls_port} goes with security: starttls, port: {implicit_port} with implicit.",
            "`{openssl} -starttls smtp` (or imap, pop3) shows whether it can be upgraded.",
        ),
    ),
    Row(
        reason=Reason.TLS_NOT_SPOKEN,
        what="{server} was asked for TLS and answered with something else.",
        do="Check whether the port belongs to security: {security}; if it does, {owner} must switch TLS on there.",
        steps=(
            "{setting} in {file}: {implicit_port} goes with implicit, {starttls_port} with starttls.",
            "`nc {host} {port}`: a greeting in clear means that the port wants security: starttls.",
            "Postfix: `smtpd_tls_wrappermode = yes` for port 465; Dovecot: `ssl = yes` in the inet_listener.",
        ),
    ),
    Row(
        reason=Reason.CERTIFICATE_EXPIRED,
        what="The certificate of {server} is not valid today: mail programs warn or refuse.",
        do="{owner} must renew it and restart the service; do not switch the check off.",
        steps=(
            f"`{_SHOW}`: notAfter in the past is an expired one.",
            "Was it renewed, and the service not reloaded? `systemctl reload postfix dovecot`.",
            "`date -u` on this machine: a wrong clock makes every certificate look like this.",
        ),
    ),
    Row(
        reason=Reason.CERTIFICATE_OF_ANOTHER,
        what="The certificate of {server} is for another name, not for {tls_name}.",
        do="Set {setting}.host (or tls_name) to a name in the certificate, or let {owner} get one for {tls_name}.",
        steps=(
            (f'`pantau probe {{agency}} --check certificate`, or `{_SHOW}`: the names are behind "DNS:".'),
            "{setting} in {file}: is {host} a name that users are told to use? If users use another, write that one.",
            "A server that is met by its address needs tls_name with the name in its certificate.",
        ),
    ),
    Row(
        reason=Reason.CERTIFICATE_UNTRUSTED,
        what="The certificate of {server} is not from an issuer that this machine trusts.",
        do="If it is the agency's own authority, name it in {section}.ca_file; otherwise {owner} must send the whole chain.",
        steps=(
            f"`{_SHOW}`: an issuer that equals the subject is self-signed.",
            "A public issuer and still not trusted: the intermediate certificate is missing (`{openssl} -showcerts`).",
            "An authority of the agency's own: get its PEM file by a trusted way, and write {section}.ca_file in {file}.",
            "A known issuer everywhere else and a strange one here: something on our way opens TLS.",
        ),
    ),
)
