"""Check that servers refuse sign-in without TLS, relaying for unauthenticated clients, and a wrong password.

It resembles an attacker's first attempts, so it is opt-in, with one connection at a time. No message is ever sent. Each
account is tried with one wrong password a run: a server that locks accounts counts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from checkdmarc.utils import get_base_domain

from probes.domain.exchanger import exchangers
from probes.domain.names import DnsUnansweredError, Names
from probes.model.check import CheckKind, CheckScope, Finding, Verdict
from probes.model.mailbox import Password, Security, Server, UnavailableLogin
from probes.model.probe import ProbeFailedError, ProtocolError
from probes.model.result import Party, Phase
from probes.preauth.callout import Callout, call, public
from probes.preauth.forbidden_sign_in import sign_in_in_clear, try_wrong_password
from probes.preauth.session import Protocol, ReplyKind, ServerReply, servers_among, servers_of
from probes.protocol.cause import failure_of

_ASPECTS = ("clear-sign-in", "relay", "wrong-password")
_SECONDS = 30.0
_PORT = 25
#: Further MX hosts of an agency are not tried, so that the check ends.
_HOSTS_AT_MOST = 6

_Said = tuple[Verdict, str]


class HardeningCheck:
    """Tries each server of the mailboxes, and each MX host, once."""

    def __init__(self, check_scope: CheckScope, _now: Callable[[], datetime], *, port: int = _PORT) -> None:
        self._check_scope = check_scope
        self._names = Names(check_scope.name_servers)
        self._port = port
        self._tls = public()
        self._servers = [
            (protocol, server, f"{server.host}:{server.port}")
            for protocol, server in servers_among(check_scope.mailboxes)
        ]

    async def run(self) -> tuple[Finding, ...]:
        findings: list[Finding] = []
        ours, why = await self._our_hosts()
        tried = [*self._servers, *[(Protocol.SMTP, *door) for door in await self._doors()]]
        for protocol, server, subject in tried:
            if server.security is Security.STARTTLS:
                said = await _looked(self._clear(protocol, server))
                findings.append(_finding("clear-sign-in", subject, said))
            if protocol is Protocol.SMTP:
                said = (Verdict.UNKNOWN, why) if why else await self._relay(server, ours)
                findings.append(_finding("relay", subject, said))
        findings += await self._passwords()
        return tuple(findings)

    async def _our_hosts(self) -> tuple[frozenset[str], str]:
        """Return the organizations of the MX hosts of our own address, or why the relay check is not possible."""
        domain = self._check_scope.our_address.rpartition("@")[2].lower()
        if not domain:
            return frozenset(), "no address of ours is configured to ask with"
        if domain in self._check_scope.domains:
            return frozenset(), f"{domain} is one of the agency's own; an address outside is needed"
        try:
            found = await exchangers(self._names, domain)
        except DnsUnansweredError as trouble:
            return frozenset(), str(trouble)
        return frozenset(get_base_domain(host) for host in found.hosts), ""

    async def _doors(self) -> list[tuple[Server, str]]:
        """Return each MX host with its first address."""
        doors: dict[str, tuple[Server, str]] = {}
        for domain in self._check_scope.domains:
            try:
                for host in (await exchangers(self._names, domain)).hosts:
                    for address in (await self._names.addresses(host))[:1]:
                        server = Server(
                            host=str(address),
                            port=self._port,
                            security=Security.STARTTLS,
                            tls=self._tls,
                            tls_name=host,
                            bounds=self._check_scope.bounds,
                        )
                        doors[host] = server, f"{host} [{address}]"
            except DnsUnansweredError:
                # The check of the MX hosts reports it.
                continue
        return list(doors.values())[:_HOSTS_AT_MOST]

    async def _clear(self, protocol: Protocol, server: Server) -> _Said:
        how = await sign_in_in_clear(protocol, server)
        if how:
            return Verdict.FAIL, f"{how} without TLS; passwords can be read on the way"
        return Verdict.PASS, "no sign-in without TLS"

    async def _relay(self, server: Server, ours: frozenset[str]) -> _Said:
        if get_base_domain(server.certificate_name) in ours:
            return Verdict.UNKNOWN, "it takes mail for our own address, too, and rightly; ask with an address elsewhere"
        stranger = self._check_scope.our_address
        return judge_relay(await call(server, sender=stranger, recipients=(stranger,)))

    async def _passwords(self) -> list[Finding]:
        findings: list[Finding] = []
        tried: set[str] = set()
        for mailbox in self._check_scope.mailboxes:
            if not (servers := servers_of(mailbox)) or mailbox.login.username in tried:
                continue
            tried.add(mailbox.login.username)
            protocol, server = servers[0]
            if isinstance(mailbox.login, Password):
                said = await _looked(_wrong(protocol, server, mailbox.login.username))
            elif isinstance(mailbox.login, UnavailableLogin):
                said = Verdict.UNKNOWN, mailbox.login.reason
            else:
                said = Verdict.UNKNOWN, "it signs in with access tokens; there is no password to get wrong"
            findings.append(_finding("wrong-password", mailbox.name, said))
        return findings


async def _wrong(protocol: Protocol, server: Server, username: str) -> _Said:
    return judge_password(await try_wrong_password(protocol, server, username))


def judge_relay(seen: Callout) -> _Said:
    """Return the finding for a server's answer to a relay attempt between two external addresses."""
    if seen.unmet is not None:
        return Verdict.UNKNOWN, seen.unmet.words
    if not seen.recipients:
        return Verdict.UNKNOWN, f"it broke off: {seen.broken or 'nothing was said to the envelope'}"
    (reply,) = seen.recipients.values()
    match reply.kind:
        case ReplyKind.DONE:
            return Verdict.FAIL, f"takes mail from strangers for strangers: {reply.text}"
        case ReplyKind.LATER:
            return Verdict.UNKNOWN, f"asks to come again: {reply.text}"
        case _:
            return Verdict.PASS, f"refuses: {reply.text}"


def judge_password(reply: ServerReply | None) -> _Said:
    """Return the finding for the answer to a wrong password."""
    if reply is None:
        return Verdict.UNKNOWN, "there is no way to sign in with a password"
    match reply.kind:
        case ReplyKind.DONE:
            return Verdict.FAIL, "a wrong password is let in"
        case ReplyKind.NO:
            return Verdict.PASS, "a wrong password is refused"
        case _:
            return Verdict.UNKNOWN, f"no verdict on the password: {reply.text}"


async def _looked(look: Awaitable[_Said]) -> _Said:
    """Return the result of an attempt; one that failed is unknown."""
    try:
        async with asyncio.timeout(_SECONDS):
            return await look
    except TimeoutError:
        return Verdict.UNKNOWN, "it did not answer in time"
    except ProbeFailedError as failure:
        return Verdict.UNKNOWN, failure.failure.words
    except (OSError, ProtocolError) as error:
        return Verdict.UNKNOWN, failure_of(error, Phase.CONNECT, Party.SENDER).failure.words


def _finding(aspect: str, subject: str, said: _Said) -> Finding:
    return Finding(aspect=aspect, subject=subject, verdict=said[0], detail=said[1])


KIND = CheckKind(
    name="hardening",
    aspects=_ASPECTS,
    interval=timedelta(hours=24),
    within=timedelta(minutes=15),
    build=HardeningCheck,
    opt_in=True,
)
