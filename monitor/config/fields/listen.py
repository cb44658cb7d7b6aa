"""Listen address of the service: "127.0.0.1:8080"."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

from monitor.config.files.section import InvalidValue, Line, parsed_by, shape_error
from monitor.model.lazy_text import lazy_text

_HOST_AND_PORT = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listen:
    """Address and port; with port 0 the system chooses one."""

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
    """Return whether *host* is this machine."""
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
        raise shape_error(lazy_text("'{written}' is no address with a port", written=text), "127.0.0.1:8080")
    return listen


def parse_safe_url(text: str) -> SplitResult | None:
    """Return the parts of an https address, or of an http address on this machine, where the traffic does not leave it."""
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        return None
    is_safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(host))
    return url if host and is_safe and url.username is None else None


def is_on_this_machine(url: str) -> bool:
    """Return whether an address is on this machine."""
    parts = parse_safe_url(url)
    return parts is not None and is_loopback(parts.hostname or "")


def _check_public_url(text: str) -> str:
    url = parse_safe_url(text)
    # No host name contains an underscore (RFC 1123, 2.1); a strict provider rejects every notification because of it.
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
    """Whether *text* can be a tenant's domain or id: it becomes a part of a URL."""
    return text.isascii() and all(part.isalnum() for part in text.replace(".", "-").split("-"))


def _check_tenant(text: str) -> str:
    if not is_tenant(text):
        raise shape_error(
            lazy_text("'{tenant}' is no tenant", tenant=text), "jabatan-contoh.gov.my, or the id of the tenant"
        )
    return text


ListenAddress = Annotated[Listen, parsed_by(_parse_listen_value), InvalidValue(Listen("127.0.0.1", 0))]

#: Public URL of the callback listener for providers, without a trailing slash; plain http only on this machine (demo,
#: tests).
PublicUrl = Annotated[str, AfterValidator(_check_public_url), InvalidValue("https://x.invalid")]

#: Endpoint of an authorization server for tokens, or for a step towards one.
TokenEndpoint = Annotated[Line, AfterValidator(_check_endpoint), InvalidValue("https://x.invalid")]

#: Tenant at Microsoft.
Tenant = Annotated[Line, AfterValidator(_check_tenant), InvalidValue("x")]
