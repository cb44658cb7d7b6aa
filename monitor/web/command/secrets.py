"""What the command line orders about the secrets in the store. None ever goes over the socket."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from monitor.service.access.safe import Safe
from monitor.web.word import Word


class SecretCountWord(BaseModel):
    """How many secrets of a purpose are encrypted with a key."""

    purpose: str
    key_id: str
    count: int
    is_readable: bool
    is_current: bool


class SecretRotationWord(BaseModel):
    """What became of them."""

    key_id: str
    changed: int
    locked: int


def secrets_of(safe: Safe) -> APIRouter:
    """Build the part of the control application that is about secrets."""
    router = APIRouter()

    @router.get("/secrets")
    async def secrets() -> list[SecretCountWord]:
        return [
            SecretCountWord(
                purpose=each.purpose,
                key_id=each.key_id,
                count=each.count,
                is_readable=each.is_readable,
                is_current=each.is_current,
            )
            for each in await safe.counts()
        ]

    @router.post("/secrets/rotate")
    async def rotate(word: Word) -> SecretRotationWord:
        done = await safe.rotate(by=word.by)
        return SecretRotationWord(key_id=done.key_id, changed=done.changed, locked=done.locked)

    return router
