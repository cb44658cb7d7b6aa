"""What people answer beside keys: an SMS, and the steps of a release in a call. Words of the contract of a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An SMS that came in: a person answers a notice. `event_id` makes one that comes twice harmless."""

    #: E.164.
    sender: str = field(repr=False)
    text: str = field(repr=False)
    #: The provider's own id of the message.
    event_id: str


class ReleaseStage(StrEnum):
    """How far a duty officer has come who wants to release an announcement in a call."""

    #: The PIN is to be typed, and "#".
    PIN = "pin"
    #: The PIN was right, and what would go out has been said: key 1 releases it.
    CONFIRM = "confirm"
    #: Nothing more can be done in this call; what is said says why.
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseAnswer:
    """What to say to a duty officer now, by language, and what to wait for."""

    stage: ReleaseStage
    #: BCP 47 language -> the words.
    words: Mapping[str, str]
    #: What to say when something else, or nothing, is pressed; empty at the end.
    otherwise: Mapping[str, str] = field(default_factory=dict)
