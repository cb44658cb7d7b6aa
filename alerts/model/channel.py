"""Channels of notifications: a closed set.

MAMPU's circular of 1 June 2007, paragraph 4: when the e-mail system fails, communication is allowed only through
official channels such as letter, fax or telephone. E-mail and chat are not members, and no configuration can add them.
"""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """A channel that works while mail is down."""

    #: A text message of one segment.
    SMS = "sms"
    #: A call that reads the message and accepts a key.
    VOICE = "voice"
    #: One page.
    FAX = "fax"
    #: An official letter on paper.
    LETTER = "letter"


#: Channels that leave paper in an outside office. What may have been sent there is never resent automatically.
ON_PAPER = frozenset({Channel.FAX, Channel.LETTER})
