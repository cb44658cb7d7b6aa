"""Check that servers refuse sign-in without TLS, relaying for unauthenticated clients, and a wrong password.

The check resembles an attacker's first attempts, so it is opt-in and opens one connection at a time. It sends no
message. In each run it tries one wrong password for each account; a server that locks accounts counts these attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from checkdmarc.utils import get_base_domain

from probes.domain.exchanger import find_exchangers
from probes.domain.names import DnsClient, DnsUnansweredError
from probes.model.check import CheckKind, CheckScope, Finding, Verdict
from probes.model.mailbox import Password, Security, Server, UnavailableLogin
from probes.model.probe import ProbeFailedError, ProtocolError
from probes.model.result import Party, Phase
from probes.preauth.callout import Callout, make_callout, public_tls_context
from probes.preauth.forbidden_sign_in import try_clear_text_sign_in, try_wrong_password
from probes.preauth.session import Protocol, ReplyKind, ServerReply, servers_among, servers_of
from probes.protocol.cause import failure_of

_ASPECTS = ("clear-sign-in", "relay", "wrong-password")
_ATTEMPT_TIMEOUT_SECONDS = 30.0
_PORT = 25
#: Limit of MX hosts of an agency that are tried, so that the check ends in time.
_MAX_HOSTS = 6

_Result = tuple[Verdict, str]


class HardeningCheck:
    """Tests each server of the mailboxes, and each MX host, once."""

    def __init__(self, check_scope: CheckScope, _now: Callable[[], datetime], *, port: int = _PORT) -> None:
        self._check_scope = check_scope
        self._dns_client = DnsClient(check_scope.name_servers)
        self._port = port
        self._tls = public_tls_context()
        self._servers = [
            (protocol, server, f"{server.host}:{server.port}")
            for protocol, server in servers_among(check_scope.mailboxes)
        ]

    async def run(self) -> tuple[Finding, ...]:
        findings: list[Finding] = []
        reference_mx_domains, obstacle = await self._find_reference_mx_domains()
        targets = [*self._servers, *[(Protocol.SMTP, *target) for target in await self._mx_servers()]]
        for protocol, server, subject in targets:
            if server.security is Security.STARTTLS:
                result = await _or_unknown(self._check_clear_text(protocol, server))
                findings.append(_finding("clear-sign-in", subject, result))
            if protocol is Protocol.SMTP:
                result = (
                    (Verdict.UNKNOWN, obstacle) if obstacle else await self._check_relay(server, reference_mx_domains)
                )
                findings.append(_finding("relay", subject, result))
        findings += await self._check_passwords()
        return tuple(findings)

    async def _find_reference_mx_domains(self) -> tuple[frozenset[str], str]:
        """Return the organizational domains of the hosts that accept mail for our reference mailbox, and an obstacle.

        The reference mailbox is ours, outside the agencies. The obstacle is the reason why relaying cannot be checked;
        "" if there is none.
        """
        domain = self._check_scope.our_address.rpartition("@")[2].lower()
        if not domain:
            return frozenset(), "no reference mailbox is configured as the sender"
        if domain in self._check_scope.domains:
            return frozenset(), f"{domain} is one of the agency's own domains; an address outside is needed"
        try:
            mx = await find_exchangers(self._dns_client, domain)
        except DnsUnansweredError as error:
            return frozenset(), str(error)
        return frozenset(get_base_domain(host) for host in mx.hosts), ""

    async def _mx_servers(self) -> list[tuple[Server, str]]:
        """Return the server at the first address of each MX host, and its subject for findings."""
        servers: dict[str, tuple[Server, str]] = {}
        for domain in self._check_scope.domains:
            try:
                for host in (await find_exchangers(self._dns_client, domain)).hosts:
                    for address in (await self._dns_client.resolve(host))[:1]:
                        server = Server(
                            host=str(address),
                            port=self._port,
                            security=Security.STARTTLS,
                            tls=self._tls,
                            tls_name=host,
                            egress=self._check_scope.egress,
                        )
                        servers[host] = server, f"{host} [{address}]"
            except DnsUnansweredError:
                # The MX check reports that the name servers do not answer.
                continue
        return list(servers.values())[:_MAX_HOSTS]

    async def _check_clear_text(self, protocol: Protocol, server: Server) -> _Result:
        permitted = await try_clear_text_sign_in(protocol, server)
        if permitted:
            return Verdict.FAIL, f"{permitted} without TLS; passwords can be read on the way"
        return Verdict.PASS, "no sign-in without TLS"

    async def _check_relay(self, server: Server, reference_mx_domains: frozenset[str]) -> _Result:
        if get_base_domain(server.certificate_name) in reference_mx_domains:
            return (
                Verdict.UNKNOWN,
                "it also serves the domain of the reference mailbox, and may accept its mail; configure another one",
            )
        # Our address belongs to neither the server nor the agency, so mail from it to itself would be relayed.
        external_address = self._check_scope.our_address
        return judge_relay(await make_callout(server, sender=external_address, recipients=(external_address,)))

    async def _check_passwords(self) -> list[Finding]:
        findings: list[Finding] = []
        usernames: set[str] = set()
        for mailbox in self._check_scope.mailboxes:
            if not (servers := servers_of(mailbox)) or mailbox.login.username in usernames:
                continue
            usernames.add(mailbox.login.username)
            protocol, server = servers[0]
            if isinstance(mailbox.login, Password):
                result = await _or_unknown(_try_wrong_password(protocol, server, mailbox.login.username))
            elif isinstance(mailbox.login, UnavailableLogin):
                result = Verdict.UNKNOWN, mailbox.login.reason
            else:
                result = Verdict.UNKNOWN, "it signs in with access tokens, not with a password"
            findings.append(_finding("wrong-password", mailbox.name, result))
        return findings


async def _try_wrong_password(protocol: Protocol, server: Server, username: str) -> _Result:
    return judge_password(await try_wrong_password(protocol, server, username))


def judge_relay(callout: Callout) -> _Result:
    """Return the finding for a server's answer to a relay attempt between two external addresses."""
    if callout.connect_failure is not None:
        return Verdict.UNKNOWN, callout.connect_failure.summary
    if not callout.recipients:
        return Verdict.UNKNOWN, f"it broke off: {callout.break_reason or 'no reply to the envelope'}"
    (reply,) = callout.recipients.values()
    match reply.kind:
        case ReplyKind.DONE:
            return Verdict.FAIL, f"relays mail between external addresses: {reply.text}"
        case ReplyKind.TEMPORARY:
            return Verdict.UNKNOWN, f"refuses temporarily: {reply.text}"
        case _:
            return Verdict.PASS, f"refuses: {reply.text}"


def judge_password(reply: ServerReply | None) -> _Result:
    """Return the finding for the answer to a wrong password."""
    if reply is None:
        return Verdict.UNKNOWN, "the server offers no sign-in with a password"
    match reply.kind:
        case ReplyKind.DONE:
            return Verdict.FAIL, "a wrong password is accepted"
        case ReplyKind.PERMANENT:
            return Verdict.PASS, "a wrong password is refused"
        case _:
            return Verdict.UNKNOWN, f"no verdict on the password: {reply.text}"


async def _or_unknown(attempt: Awaitable[_Result]) -> _Result:
    """Return the result of *attempt*; UNKNOWN if the attempt fails."""
    try:
        async with asyncio.timeout(_ATTEMPT_TIMEOUT_SECONDS):
            return await attempt
    except TimeoutError:
        return Verdict.UNKNOWN, "it did not answer in time"
    except ProbeFailedError as error:
        return Verdict.UNKNOWN, error.failure.summary
    except (OSError, ProtocolError) as error:
        return Verdict.UNKNOWN, failure_of(error, Phase.CONNECT, Party.SENDER).failure.summary


def _finding(aspect: str, subject: str, result: _Result) -> Finding:
    return Finding(aspect=aspect, subject=subject, verdict=result[0], detail=result[1])


KIND = CheckKind(
    name="hardening",
    aspects=_ASPECTS,
    interval=timedelta(hours=24),
    within=timedelta(minutes=15),
    build=HardeningCheck,
    opt_in=True,
)
