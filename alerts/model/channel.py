"""The sanctioned channels: a closed set.

MAMPU's circular of 1 June 2007, paragraph 4: when the e-mail system fails, communication is allowed only through
official channels such as letter, fax or telephone. There is no e-mail and no chat here, and nothing can add them.
"""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """A way to reach a person while mail is down."""

    SMS = "sms"
    VOICE = "voice"
    FAX = "fax"
    LETTER = "letter"


#: Channels that leave paper in an outside office: never sent twice by the product itself.
ON_PAPER = frozenset({Channel.FAX, Channel.LETTER})
