"""Fetches the MTA-STS policy of a domain (RFC 8461 3.2 and 3.3)."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import httpx
from checkdmarc.mta_sts import MTASTSPolicySyntaxError, mx_in_mta_sts_patterns, parse_mta_sts_policy

from probes.domain.names import DnsUnansweredError, Names
from probes.model.egress import EgressPolicy
from probes.model.reply import shortened

_WITHIN_SECONDS = 20.0
#: RFC 8461 3.3 suggests this limit.
_SIZE_AT_MOST = 64 * 1024


class Mode(StrEnum):
    """What senders are to do when a host does not satisfy the policy."""

    ENFORCE = "enforce"
    #: Only report it.
    TESTING = "testing"
    #: The domain gives MTA-STS up.
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which hosts take mail for a domain, says its web server."""

    mode: Mode
    patterns: tuple[str, ...]

    def covers(self, host: str) -> bool:
        """Return whether the mail server *host* is one of those; "*" stands for one whole label."""
        return bool(mx_in_mta_sts_patterns(host, list(self.patterns)))


class MtaStsPolicyError(Exception):
    """There is no valid policy where one must be: senders act as if there were none."""


class PolicyUnreachableError(Exception):
    """We could not look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyServer:
    """How the web server with a policy is met: as every sender meets it, but for tests."""

    port: int = 443
    #: `None`: the authorities that this machine trusts.
    tls: ssl.SSLContext | None = None


async def fetch(names: Names, domain: str, server: PolicyServer, bounds: EgressPolicy | None = None) -> Policy:
    """Return the policy of *domain*. Raise `MtaStsPolicyError` or `PolicyUnreachableError`.

    It is fetched from the address that was asked for and held against *bounds*, and no redirection is followed.
    """
    host = f"mta-sts.{domain}"
    try:
        addresses = await names.addresses(host)
    except DnsUnansweredError as trouble:
        raise PolicyUnreachableError(str(trouble)) from trouble
    if not addresses:
        raise MtaStsPolicyError(f"{host} has no address")
    if bounds is not None and (why := bounds.at({server.port}).refusal(str(addresses[0]), server.port)) is not None:
        raise PolicyUnreachableError(f"{host} is not asked: it leads to {why}")
    try:
        async with asyncio.timeout(_WITHIN_SECONDS):
            text = await _get(str(addresses[0]), host, server)
    except (TimeoutError, httpx.TimeoutException) as error:
        raise PolicyUnreachableError(f"{host} does not answer") from error
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise _why(error, host) from error
    return parsed(text)


def parsed(text: str) -> Policy:
    """Read a policy. Raise `MtaStsPolicyError`."""
    try:
        policy = parse_mta_sts_policy(text)["policy"]
    except MTASTSPolicySyntaxError as error:
        raise MtaStsPolicyError(f"the policy is not valid: {shortened(str(error))}") from error
    return Policy(mode=Mode(policy["mode"]), patterns=tuple(policy["mx"]))


async def _get(address: str, host: str, server: PolicyServer) -> str:
    tls = server.tls or _public()
    literal = f"[{address}]" if ":" in address else address
    url = f"https://{literal}:{server.port}/.well-known/mta-sts.txt"
    headers = {"Host": host, "Accept-Encoding": "identity"}
    # Met by the address that the domain's own name servers gave, under its name: the certificate must be for the name.
    async with (
        httpx.AsyncClient(verify=tls, trust_env=False, follow_redirects=False, timeout=_WITHIN_SECONDS) as client,
        client.stream("GET", url, headers=headers, extensions={"sni_hostname": host}) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise MtaStsPolicyError(f"{host} answers {response.status_code}; 200 and no redirection is expected")
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            # A little that is packed may unpack to more than memory holds.
            raise MtaStsPolicyError(f"{host} packs the policy, though it is asked not to")
        content = b""
        async for part in response.aiter_raw():
            content += part
            if len(content) > _SIZE_AT_MOST:
                raise MtaStsPolicyError(f"the policy of {host} is longer than {_SIZE_AT_MOST} octets")
    return content.decode("utf-8", "replace")


@cache
def _public() -> ssl.SSLContext:
    # Its own: httpx writes into it that HTTP is going to be spoken.
    return ssl.create_default_context()


def _why(error: Exception, host: str) -> MtaStsPolicyError | PolicyUnreachableError:
    """Say whose fault it is: a server that refuses or shows a wrong certificate is at fault, silence proves nothing."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    for one in causes:
        if isinstance(one, ssl.SSLError):
            told = one.verify_message if isinstance(one, ssl.SSLCertVerificationError) else str(one)
            return MtaStsPolicyError(f"{host} is not trusted: {shortened(told)}")
        if isinstance(one, ConnectionRefusedError):
            return MtaStsPolicyError(f"{host} refuses connections")
    return PolicyUnreachableError(f"{host}: {shortened(str(error) or type(error).__name__)}")
