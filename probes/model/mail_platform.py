"""Mail platforms that run mail for most agencies without own servers, and the names of their servers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class MailPlatform(StrEnum):
    """Operator of an agency's mail, where it determines the sign-in."""

    GOOGLE = "google"
    MICROSOFT = "microsoft"


#: Domains of the platforms' submission and reading servers, with all below them: to these only their tokens may be
#: sent.
PLATFORM_SERVERS: Final[Mapping[MailPlatform, tuple[str, ...]]] = {
    MailPlatform.GOOGLE: ("gmail.com", "googlemail.com"),
    MailPlatform.MICROSOFT: ("office365.com", "outlook.com", "office.com"),
}
