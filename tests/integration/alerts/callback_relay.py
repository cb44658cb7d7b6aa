"""Callback facade of a simulated environment, and the relay to its present instance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from alerts.model.gateway import CallbackRequest, CallbackResponse
from monitor.service.facade import ServiceFacade


class RecordingFacade(ServiceFacade):
    """The service facade, with callbacks at the address of the simulated environment."""

    public: str | None = None
    #: Number of callbacks.
    heard = 0
    #: What runs just before a callback, by the first part of its path; once each.
    before_callback: dict[str, Callable[[], Awaitable[object]]]

    def is_monitor_only(self) -> bool:
        return False

    def callback_base(self, gateway: str) -> str | None:
        return f"{self.public}/callbacks/{gateway}"

    async def handle_callback(self, gateway: str, incoming: CallbackRequest) -> CallbackResponse | None:
        self.heard += 1
        deed = self.before_callback.pop(incoming.path.split("/")[0], None)
        if deed is not None:
            await deed()
        return await super().handle_callback(gateway, incoming)


class CallbackRelay:
    """Forwards callbacks to the present facade."""

    def __init__(self, facade: Callable[[], RecordingFacade]) -> None:
        """*facade*: returns the present facade."""
        self._front = facade

    def callback_base(self, gateway: str) -> str | None:
        return self._front().callback_base(gateway)

    async def handle_callback(self, gateway: str, incoming: CallbackRequest) -> CallbackResponse | None:
        return await self._front().handle_callback(gateway, incoming)
