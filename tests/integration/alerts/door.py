"""Where providers reach a town: its front, and the door that leads to whichever life of the service there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from alerts.model.gateway import CallbackRequest, CallbackResponse
from monitor.service.facade import ServiceFacade


class TownFront(ServiceFacade):
    """The service's front, whose providers reach it where the town serves it."""

    public: str | None = None
    #: How often a provider came.
    heard = 0
    #: What happens just before the service hears of something, by what its path begins with; once each.
    just_before: dict[str, Callable[[], Awaitable[object]]]

    def is_monitor_only(self) -> bool:
        return False

    def callback_base(self, gateway: str) -> str | None:
        return f"{self.public}/callbacks/{gateway}"

    async def handle_callback(self, gateway: str, incoming: CallbackRequest) -> CallbackResponse | None:
        self.heard += 1
        deed = self.just_before.pop(incoming.path.split("/")[0], None)
        if deed is not None:
            await deed()
        return await super().handle_callback(gateway, incoming)


class Door:
    """Lets providers in."""

    def __init__(self, facade: Callable[[], TownFront]) -> None:
        """*facade*: that of the present life."""
        self._front = facade

    def callback_base(self, gateway: str) -> str | None:
        return self._front().callback_base(gateway)

    async def handle_callback(self, gateway: str, incoming: CallbackRequest) -> CallbackResponse | None:
        return await self._front().handle_callback(gateway, incoming)
