"""Listen addresses and URLs in the configuration."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

from monitor.config.files.section import OneLine, SubstituteIfInvalid, parsed_by, shape_error
from monitor.model.translatable import translatable

_HOST_AND_PORT = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listen:
    """Host and port on which the service listens; with port 0, the system chooses a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the address in its configured form."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only clients on this machine can connect."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Return whether *host*, a name or an address, is the loopback interface of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_listen(text: str) -> Listen | None:
    """Parse "127.0.0.1:8080" or "[::1]:8080". Return `None` for anything else."""
    match = _HOST_AND_PORT.fullmatch(text.strip())
    if match is None or int(match[3]) > 65535:
        return None
    return Listen(match[1] or match[2], int(match[3]))


def _parse_listen_value(text: str) -> Listen:
    if (listen := parse_listen(text)) is None:
        raise shape_error(translatable("'{written}' is no address with a port", written=text), "127.0.0.1:8080")
    return listen


def parse_safe_url(text: str) -> SplitResult | None:
    """Return the parts of the URL *text* if its traffic cannot be intercepted: https, or http to this machine.

    Return `None` for any other text, and for a URL with a user name.
    """
    try:
        url = urlsplit(text)
        # An invalid port raises an error only when it is read.
        host, _ = url.hostname or "", url.port
    except ValueError:
        return None
    is_safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(host))
    return url if host and is_safe and url.username is None else None


def is_on_this_machine(url: str) -> bool:
    """Return whether *url* leads to this machine; false if `parse_safe_url` rejects it."""
    parts = parse_safe_url(url)
    return parts is not None and is_loopback(parts.hostname or "")


def _check_public_url(text: str) -> str:
    url = parse_safe_url(text)
    # Reject underscores, which host names must not contain (RFC 1123, 2.1): a strict provider would reject every
    # message whose callback URL has one.
    if url is None or "_" in (url.hostname or "") or url.query or url.fragment:
        raise shape_error(
            "must be an https address, without a login, that providers can reach", "https://pantau.contoh.gov.my"
        )
    return text.rstrip("/")


def _check_endpoint(text: str) -> str:
    if parse_safe_url(text) is None:
        message = "must be https, without a login: secrets are sent there"
        raise shape_error(message, "https://log-masuk.jabatan-contoh.gov.my/token")
    return text


def is_tenant(text: str) -> bool:
    """Whether *text* has the form of a tenant's domain or id, so that *text* can be a part of a URL."""
    return text.isascii() and all(part.isalnum() for part in text.replace(".", "-").split("-"))


def _check_tenant(text: str) -> str:
    if not is_tenant(text):
        raise shape_error(
            translatable("'{tenant}' is no tenant", tenant=text), "jabatan-contoh.gov.my, or the id of the tenant"
        )
    return text


#: A listen address.
ListenAddress = Annotated[Listen, parsed_by(_parse_listen_value), SubstituteIfInvalid(Listen("127.0.0.1", 0))]

#: URL of a listener of Pantau for browsers or providers, without a trailing slash. Plain http is allowed only on this
#: machine, for the demonstration and tests.
PublicUrl = Annotated[str, AfterValidator(_check_public_url), SubstituteIfInvalid("https://x.invalid")]

#: URL of an endpoint of an authorization server: for tokens, device codes or authorization.
TokenEndpoint = Annotated[OneLine, AfterValidator(_check_endpoint), SubstituteIfInvalid("https://x.invalid")]

#: Domain or id of a tenant (an organisation) at Microsoft.
Tenant = Annotated[OneLine, AfterValidator(_check_tenant), SubstituteIfInvalid("x")]
