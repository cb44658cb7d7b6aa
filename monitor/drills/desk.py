"""What a gateway may ask about a notice of a drill; everything else goes to the service's own desk."""

from __future__ import annotations

from alerts.model.answering import ReleaseAnswer, Said
from alerts.model.gateway import AckResult, Content, Desk, Heard, SmsContent
from monitor.drills.exercise import Exerciser

#: What the references of exercises begin with; those of attempts begin with another letter.
_OURS = "d"


class DrillDesk:
    """Stands before another desk. A keypress in a drill acknowledges nothing but the drill."""

    def __init__(self, exerciser: Exerciser, behind: Desk) -> None:
        self._exerciser = exerciser
        self._behind = behind

    async def record(self, heard: Heard) -> AckResult:
        """Commit what was heard."""
        if heard.reference.startswith(_OURS) and (result := await self._exerciser.record(heard)) is not None:
            return result
        return await self._behind.record(heard)

    async def content(self, reference: str) -> Content | None:
        """Return what the attempt carries."""
        if reference.startswith(_OURS) and (content := await self._exerciser.content(reference)) is not None:
            return content
        return await self._behind.content(reference)

    async def receive(self, said: Said) -> SmsContent | None:
        """Hand on what an SMS means."""
        return await self._behind.receive(said)

    async def begin_release(self, reference: str) -> ReleaseAnswer:
        """Hand on that somebody who is being called wants to release."""
        return await self._behind.begin_release(reference)

    async def prove_release(self, reference: str, pin: str) -> ReleaseAnswer:
        """Hand on a PIN."""
        return await self._behind.prove_release(reference, pin)

    async def release(self, reference: str) -> ReleaseAnswer:
        """Hand on a release."""
        return await self._behind.release(reference)
