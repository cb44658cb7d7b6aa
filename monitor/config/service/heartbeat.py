"""Section `heartbeat`: the dead man's switch that receives regular heartbeats of this process."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from monitor.config.fields.listen import parse_safe_url
from monitor.config.files.findings import Findings
from monitor.config.files.section import PositiveDuration, ResolvedPath, Section, SubstituteIfInvalid, shape_error

#: Placeholder in the URL that is replaced by the token.
TOKEN_PLACEHOLDER = "{token}"  # noqa: S105 - a placeholder


def _check_url(text: str) -> str:
    # Pantau logs the URL, and its server may show it. Therefore it must not contain a login.
    if "@" in text.partition("//")[2].partition("/")[0]:
        raise shape_error("holds a login", "the address without it, and token_file: PATH")
    try:
        host = urlsplit(text).hostname
    except ValueError:
        host = None
    if not host or not text.isascii() or any(character.isspace() for character in text):
        raise shape_error("is no address", "https://suis.kementerian-contoh.gov.my/pantau")
    if parse_safe_url(text) is None:
        raise shape_error("must be https (plain http only to this machine)", "https://...")
    return text


class HeartbeatSettings(Section):
    """Dead man's switch: an external service that alerts people when heartbeats stop."""

    url: Annotated[str, AfterValidator(_check_url), SubstituteIfInvalid("https://x.invalid")] | None = Field(
        default=None, examples=["https://suis.kementerian-contoh.gov.my/pantau"]
    )
    """URL that is requested regularly while everything works. `{token}` in the URL is replaced by the token."""
    method: Literal["GET", "POST"] = "GET"
    """HTTP method."""
    token: SecretStr | None = None
    """Value of `{token}` in the URL; if the URL has no `{token}`, the bearer token of the request."""
    interval: PositiveDuration = timedelta(seconds=60)
    """Interval between two heartbeats."""
    file: ResolvedPath | None = None
    """File whose modification time each heartbeat updates, for a watchdog on this machine; besides `url` or alone."""


def check_heartbeat(settings: HeartbeatSettings, findings: Findings) -> None:
    """Record a heartbeat without a receiver, a token without use, and an interval that is too long."""
    if findings["url"].is_broken:
        return
    if settings.url is None and settings.file is None:
        findings.error("has no receiver", "url: https://..., or file: PATH")
    if settings.token is not None and settings.url is None:
        findings["token_file"].error("has no receiver without url", "url: beside it, or leave it out")
    if settings.url is not None and TOKEN_PLACEHOLDER in settings.url and settings.token is None:
        findings["url"].error(f"holds {TOKEN_PLACEHOLDER}, and there is no token", "token_file: PATH beside it")
    if settings.interval > timedelta(minutes=10):
        findings["interval"].warning("is so long that a failure of Pantau is noticed late", "60s")
