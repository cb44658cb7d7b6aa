"""Mail platforms, which run the mail of most agencies that have no servers, and the names of the platforms' servers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class MailPlatform(StrEnum):
    """Operator of an agency's mail, where it determines the sign-in."""

    GOOGLE = "google"
    MICROSOFT = "microsoft"


#: Domains of the platforms' submission, IMAP and POP3 servers, each with the names below it. A platform's access tokens
#: may be sent only there.
PLATFORM_SERVERS: Final[Mapping[MailPlatform, tuple[str, ...]]] = {
    MailPlatform.GOOGLE: ("gmail.com", "googlemail.com"),
    MailPlatform.MICROSOFT: ("office365.com", "outlook.com", "office.com"),
}
