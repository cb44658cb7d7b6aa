"""The real service, which at SIGUSR1 hears of an outage, and kills itself with SIGKILL at one moment of its first attempt.

    python -m tests.stories.mined MINE run --config FILE

MINE is a file that says then what the outage is called, at which moment of an attempt, and on which channel. No mail has to
fail for it, and what the service waits for is shorter than in earnest. Nothing else differs from `pantau run`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import monitor.app
from alerts.decide import bundle
from alerts.engine import incident_processor, notification_processor
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_call import CallKind, CallResult, GatewayCall
from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.gateways import tray
from alerts.gateways.tray import LetterPlace
from alerts.model.channel import Channel
from alerts.model.event import Trigger
from alerts.model.gateway import AckResult, CallbackEvent
from alerts.model.notification import IncidentType
from monitor.app import App
from monitor.cli import main
from monitor.service.gateways import build_gateways as built_lines
from monitor.store.engine.ledger import SqlUnitOfWork
from tests.stories.hurried import request_fast_polling


class Moment(StrEnum):
    """When the process dies."""

    #: The attempt is decided on, and nothing of it is committed.
    BEFORE_CLAIM = "before_claim"
    #: The attempt is committed, and its gateway has not been called.
    AFTER_CLAIM = "after_claim"
    #: The gateway has taken it, and that is not written down.
    AFTER_ACCEPTED = "after_accepted"
    #: That is committed, too.
    AFTER_RECORDED = "after_recorded"
    #: A letter is written into the tray, and has no name yet.
    HALF_WRITTEN = "half_written"
    #: A clerk has said that a letter is posted; its file is moved, and that is not written down.
    POSTED = "posted"
    #: The provider has sent a fax and says so, and that is not written down.
    RECEIPT = "receipt"


#: In the life of every attempt; the others are in that of paper.
MAX_ACCOUNT_FAILURES = (Moment.BEFORE_CLAIM, Moment.AFTER_CLAIM, Moment.AFTER_ACCEPTED, Moment.AFTER_RECORDED)


class Mine:
    """Goes off where it lies."""

    def __init__(self) -> None:
        self.where: tuple[Moment, Channel] | None = None

    def step(self, moment: Moment, channel: Channel) -> None:
        """Die here, if this is where."""
        if (moment, channel) == self.where:
            os.kill(os.getpid(), signal.SIGKILL)


def lay(mine: Mine) -> None:
    """Lay the mine around the steps of an attempt."""
    add, write_down, build = SqlUnitOfWork.add_attempt, Dispatcher._store_result, built_lines

    @wraps(add)
    async def add_attempt(uow: SqlUnitOfWork, delivery: Any, *args: Any, **named: Any) -> Any:
        attempt = await add(uow, delivery, *args, **named)
        mine.step(Moment.BEFORE_CLAIM, delivery.address.channel)
        return attempt

    @wraps(write_down)
    async def write(dispatcher: Dispatcher, call: GatewayCall, outcome: CallResult) -> None:
        await write_down(dispatcher, call, outcome)
        if call.kind is CallKind.SEND:
            mine.step(Moment.AFTER_RECORDED, call.address.channel)

    @wraps(build)
    def build_gateways(*args: Any, **named: Any) -> list[ConfiguredGateway]:
        lines = build(*args, **named)
        for line in lines:
            gateway: Any = line.gateway
            gateway.send = _mined(gateway.send, mine, line.channel)
        return lines

    patch.object(SqlUnitOfWork, "add_attempt", add_attempt).start()
    patch.object(Dispatcher, "_store_result", write).start()
    patch.object(monitor.app, "build_gateways", build_gateways).start()


def lay_under_paper(mine: Mine) -> None:
    """Lay the mine around what happens to paper alone."""
    record = Dispatcher.record_callback

    class Mined(type(Path())):  # type: ignore[misc]  # a file in the tray, whatever its class is called here
        def rename(self, target: Any) -> Any:
            if self.suffix == ".part":
                mine.step(Moment.HALF_WRITTEN, Channel.LETTER)
            renamed = super().rename(target)
            if Path(target).parent.name == LetterPlace.POSTED:
                mine.step(Moment.POSTED, Channel.LETTER)
            return renamed

    @wraps(record)
    async def recorded(dispatcher: Dispatcher, gateway: str, heard: CallbackEvent) -> AckResult:
        if dispatcher._pool[gateway].channel is Channel.FAX:
            mine.step(Moment.RECEIPT, Channel.FAX)
        return await record(dispatcher, gateway, heard)

    patch.object(tray, "Path", Mined).start()
    patch.object(Dispatcher, "record_callback", recorded).start()


def _mined(send: Callable[[Any], Awaitable[Any]], mine: Mine, channel: Channel) -> Callable[[Any], Awaitable[Any]]:
    async def wrapped(order: Any) -> Any:
        mine.step(Moment.AFTER_CLAIM, channel)
        report = await send(order)
        mine.step(Moment.AFTER_ACCEPTED, channel)
        return report

    return wrapped


def lay_with_an_outage(mine: Mine, file: Path) -> None:
    """Lay the mine where *file* says, and let the service be told of an outage of the first agency, at each SIGUSR1."""
    build = App._build_parts

    def heard(app: App) -> None:
        outage, moment, channel = file.read_text().split()
        mine.where = Moment(moment), Channel(channel)
        # Nobody else keeps it while it runs.
        telling.append(asyncio.create_task(tell(app, outage)))

    async def tell(app: App, outage: str) -> None:
        configuration, now = app._configuration(), app._clock.now()
        brief = next(iter(configuration.registry.agencies.values())).build_policy(configuration.settings.build_shared())
        await app._dispatcher.submit(
            Trigger(dedup_key=outage, at=now, began_at=now, type=IncidentType.BOTH, policy=brief)
        )

    @wraps(build)
    async def built(app: App, *args: Any) -> None:
        await build(app, *args)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard, app)

    telling: list[asyncio.Task[None]] = []
    patch.object(App, "_build_parts", built).start()


def tell_of_each_at_once() -> None:
    """Let a person hear and be called of an outage who heard of others a moment ago."""
    for place in (bundle, incident_processor):
        patch.object(place, "BUNDLE_INTERVAL", timedelta(0)).start()
    patch.object(notification_processor, "CONTACT_LIMITS", {}).start()


if __name__ == "__main__":
    hidden = Mine()
    lay(hidden)
    lay_under_paper(hidden)
    request_fast_polling()
    tell_of_each_at_once()
    lay_with_an_outage(hidden, Path(sys.argv.pop(1)))
    main()
