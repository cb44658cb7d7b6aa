"""Mail platforms that host the mail of agencies without own servers, and the domains of the platforms' servers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class MailPlatform(StrEnum):
    """A mail platform that requires its own way of signing in (OAuth access tokens)."""

    GOOGLE = "google"
    MICROSOFT = "microsoft"


#: Domains of each platform's submission, IMAP and POP3 servers, subdomains included. The platform's access tokens may
#: be sent only to these servers.
PLATFORM_SERVERS: Final[Mapping[MailPlatform, tuple[str, ...]]] = {
    MailPlatform.GOOGLE: ("gmail.com", "googlemail.com"),
    MailPlatform.MICROSOFT: ("office365.com", "outlook.com", "office.com"),
}
