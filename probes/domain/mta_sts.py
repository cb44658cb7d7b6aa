"""Retrieval of a domain's MTA-STS policy (RFC 8461 3.2 and 3.3)."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import httpx
from checkdmarc.mta_sts import MTASTSPolicySyntaxError, mx_in_mta_sts_patterns, parse_mta_sts_policy

from probes.domain.names import DnsClient, DnsUnansweredError
from probes.model.egress import EgressPolicy
from probes.model.reply import shorten

_TIMEOUT_SECONDS = 20.0
#: Octets: the limit that RFC 8461 3.3 suggests.
_MAX_SIZE = 64 * 1024


class Mode(StrEnum):
    """Mode of a policy: what senders do when an MX host does not satisfy it."""

    #: Do not deliver.
    ENFORCE = "enforce"
    #: Deliver, and report the failure.
    TESTING = "testing"
    #: Ignore the policy: the domain withdraws MTA-STS.
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """MTA-STS policy of a domain, as published by its web server."""

    mode: Mode
    #: Names of the MX hosts; the first label may be "*".
    patterns: tuple[str, ...]

    def covers(self, host: str) -> bool:
        """Return whether the policy contains the mail server *host*; "*" matches one whole label."""
        return bool(mx_in_mta_sts_patterns(host, list(self.patterns)))


class MtaStsPolicyError(Exception):
    """The announced policy is missing or invalid: senders act as if there were none."""


class PolicyUnreachableError(Exception):
    """The policy could not be fetched, perhaps because of our network: no evidence about the domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyServer:
    """Connection parameters of the web servers that publish policies; only tests change the defaults."""

    port: int = 443
    #: `None`: the certificate authorities of this machine.
    tls: ssl.SSLContext | None = None


async def fetch_policy(
    dns_client: DnsClient, domain: str, server: PolicyServer, egress: EgressPolicy | None = None
) -> Policy:
    """Fetch the policy of *domain*. Raise `MtaStsPolicyError` or `PolicyUnreachableError`.

    The policy is fetched from the resolved address, which *egress* must allow, whatever ports it allows. No redirect is
    followed.
    """
    host = f"mta-sts.{domain}"
    try:
        addresses = await dns_client.resolve(host)
    except DnsUnansweredError as error:
        raise PolicyUnreachableError(str(error)) from error
    if not addresses:
        raise MtaStsPolicyError(f"{host} has no address")
    if (
        egress is not None
        and (denial := egress.with_ports({server.port}).denial(str(addresses[0]), server.port)) is not None
    ):
        raise PolicyUnreachableError(f"{host} is not contacted: its address is {denial}")
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            text = await _download(str(addresses[0]), host, server)
    except (TimeoutError, httpx.TimeoutException) as error:
        raise PolicyUnreachableError(f"{host} does not answer") from error
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise _fetch_error(error, host) from error
    return parse_policy(text)


def parse_policy(text: str) -> Policy:
    """Parse a policy. Raise `MtaStsPolicyError`."""
    try:
        policy = parse_mta_sts_policy(text)["policy"]
    except MTASTSPolicySyntaxError as error:
        raise MtaStsPolicyError(f"the policy is not valid: {shorten(str(error))}") from error
    return Policy(mode=Mode(policy["mode"]), patterns=tuple(policy["mx"]))


async def _download(address: str, host: str, server: PolicyServer) -> str:
    tls = server.tls or _default_tls()
    literal = f"[{address}]" if ":" in address else address
    url = f"https://{literal}:{server.port}/.well-known/mta-sts.txt"
    headers = {"Host": host, "Accept-Encoding": "identity"}
    # The connection goes to the resolved address, and the certificate must be valid for the name.
    async with (
        httpx.AsyncClient(verify=tls, trust_env=False, follow_redirects=False, timeout=_TIMEOUT_SECONDS) as client,
        client.stream("GET", url, headers=headers, extensions={"sni_hostname": host}) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise MtaStsPolicyError(f"{host} answers {response.status_code}; 200 and no redirection is expected")
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            # A small compressed response may exceed the memory when unpacked.
            raise MtaStsPolicyError(f"{host} compresses the policy although the request excludes it")
        content = b""
        async for part in response.aiter_raw():
            content += part
            if len(content) > _MAX_SIZE:
                raise MtaStsPolicyError(f"the policy of {host} is longer than {_MAX_SIZE} octets")
    return content.decode("utf-8", "replace")


@cache
def _default_tls() -> ssl.SSLContext:
    # The context is not shared with other clients, because httpx sets the HTTP protocol (ALPN) in it.
    return ssl.create_default_context()


def _fetch_error(error: Exception, host: str) -> MtaStsPolicyError | PolicyUnreachableError:
    """Return the error of a download. Only a refused connection or a TLS error is the domain's fault."""
    causes: list[BaseException] = [error]
    while (linked := causes[-1].__cause__ or causes[-1].__context__) is not None and linked not in causes:
        causes.append(linked)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            detail = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else str(cause)
            return MtaStsPolicyError(f"{host} is not trusted: {shorten(detail)}")
        if isinstance(cause, ConnectionRefusedError):
            return MtaStsPolicyError(f"{host} refuses connections")
    return PolicyUnreachableError(f"{host}: {shorten(str(error) or type(error).__name__)}")
