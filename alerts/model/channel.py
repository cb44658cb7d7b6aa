"""Channels of notifications. The configuration cannot add others.

The circular of MAMPU (the government's ICT planning unit) of 1 June 2007, paragraph 4, allows only official channels
such as letter, fax or telephone when the e-mail system fails. E-mail and chat are therefore no channels.
"""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """A channel that works while mail is down."""

    #: A text message of one segment.
    SMS = "sms"
    #: A call that speaks the message and accepts a pressed key.
    VOICE = "voice"
    #: A fax of one page.
    FAX = "fax"
    #: An official letter on paper.
    LETTER = "letter"


#: Channels that deliver paper to an office outside. A page that may have been sent is never resent automatically.
ON_PAPER = frozenset({Channel.FAX, Channel.LETTER})
