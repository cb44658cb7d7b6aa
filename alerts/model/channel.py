"""The sanctioned channels: a closed set.

MAMPU's circular of 1 June 2007, paragraph 4: when the e-mail system fails, communication is allowed only through
official channels such as letter, fax or telephone. There is no e-mail and no chat here, and nothing can add them.
"""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """Way to reach a person while mail is down. The set is closed."""

    #: A text message of one segment.
    SMS = "sms"
    #: A call that reads the message and accepts a key.
    VOICE = "voice"
    #: One page.
    FAX = "fax"
    #: An official letter on paper.
    LETTER = "letter"


#: Channels that leave paper in an outside office: never sent twice by the product itself.
ON_PAPER = frozenset({Channel.FAX, Channel.LETTER})
