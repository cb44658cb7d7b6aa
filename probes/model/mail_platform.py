"""The two who run mail for most agencies that do not themselves, and by which names their servers are known."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class MailPlatform(StrEnum):
    """Who runs an agency's mail, where that decides how is signed in."""

    GOOGLE = "google"
    MICROSOFT = "microsoft"


#: Where is submitted and read, each with all below its name: whose server it is, and where tokens of theirs may be shown.
PLATFORM_SERVERS: Final[Mapping[MailPlatform, tuple[str, ...]]] = {
    MailPlatform.GOOGLE: ("gmail.com", "googlemail.com"),
    MailPlatform.MICROSOFT: ("office365.com", "outlook.com", "office.com"),
}
