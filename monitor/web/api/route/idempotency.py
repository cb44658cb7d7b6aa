"""The header `Idempotency-Key`: an order that bears one is carried out once, and answered the same when it comes again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic import TypeAdapter

from monitor.access.visitor import Visitor
from monitor.service.portal.idempotency import KeyOfAnotherOrder, OrderAnswer, OrderBook
from monitor.store.upkeep.idempotency import OrderKey
from monitor.web.access.sign_in import from_where
from monitor.web.api.route.order_body import wrong_header

_HEADER = "Idempotency-Key"

_Key = Annotated[
    str | None,
    Header(
        alias=_HEADER,
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="By which you know this order again: within a day it is carried out once, and answered the same.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orderer:
    """Who orders something."""

    #: As the journal reads it.
    by: str
    #: Whose keys theirs are.
    key_holder: str


class OnceOver:
    """Answers an order, and the same order again with the same."""

    def __init__(self, once: OrderBook | None, request: Request, key: str | None) -> None:
        self._once = once
        self._request = request
        self._key = key

    async def answer(
        self, orderer: Orderer, shape: TypeAdapter[Any], act: Callable[[], Awaitable[object]], status: int = 200
    ) -> Response:
        """Return what *act* comes to, written as *shape* says. Ask before whether who orders it may."""

        async def written() -> OrderAnswer:
            answered = OrderAnswer(status=status, body=shape.dump_json(await act()))
            if self._once is not None:
                order = f"{self._request.method} {self._request.url.path}"
                await self._once.taken(orderer.by, order, from_where(self._request))
            return answered

        if self._key is None or self._once is None:
            answered = await written()
        else:
            try:
                answered = await self._once.do(
                    OrderKey(visitor=orderer.key_holder, key=self._key), await self._digest(), written
                )
            except KeyOfAnotherOrder:
                why = "was sent with another order within a day; each order has a key of its own"
                raise wrong_header(_HEADER, why) from None
        return Response(answered.body, status_code=answered.status, media_type="application/json")

    async def _digest(self) -> str:
        address = f"{self._request.method} {self._request.url.path}\n"
        return sha256(address.encode() + await self._request.body()).hexdigest()


async def once_over(request: Request, key: _Key = None) -> OnceOver:
    """As a dependency of a route: by what it carries its order out once."""
    return OnceOver(request.app.state.once, request, key)


Once = Annotated[OnceOver, Depends(once_over)]


def orderer_of(visitor: Visitor) -> Orderer:
    """Return who a visitor is who orders something."""
    if visitor.token is not None:
        return Orderer(by=visitor.by, key_holder=f"token {visitor.token.id}")
    return Orderer(by=visitor.by, key_holder=f"user {visitor.user.id}" if visitor.user else "nobody")
