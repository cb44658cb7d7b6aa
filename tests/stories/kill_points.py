"""The real service, which at SIGUSR1 opens an outage, and kills itself with SIGKILL at one moment of its first attempt.

    python -m tests.stories.kill_points POINT run --config FILE

POINT is a file with the outage's key, the moment of an attempt, and the channel. No mail has to fail for it, and
intervals are shorter than in production. Nothing else differs from `pantau run`.
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
from monitor.store.engine.unit_of_work import SqlUnitOfWork
from tests.stories.short_leases import shorten_leases


class Moment(StrEnum):
    """The moments at which the process is killed."""

    #: The attempt is decided, and not committed.
    BEFORE_CLAIM = "before_claim"
    #: The attempt is committed, and its gateway not called.
    AFTER_CLAIM = "after_claim"
    #: The gateway has accepted it, and the result is not stored.
    AFTER_ACCEPTED = "after_accepted"
    #: The result is committed.
    AFTER_RECORDED = "after_recorded"
    #: A letter is written into the tray, and not renamed.
    HALF_WRITTEN = "half_written"
    #: A clerk has recorded a posted letter: its file is moved, and the record not stored.
    POSTED = "posted"
    #: The provider has reported a sent fax, and the report is not stored.
    RECEIPT = "receipt"


#: Moments of every attempt; the others are those of paper.
COMMON_MOMENTS = (Moment.BEFORE_CLAIM, Moment.AFTER_CLAIM, Moment.AFTER_ACCEPTED, Moment.AFTER_RECORDED)


class KillPoint:
    """Kills the process at one moment."""

    def __init__(self) -> None:
        self.where: tuple[Moment, Channel] | None = None

    def step(self, moment: Moment, channel: Channel) -> None:
        """Kill the process, if this is the moment."""
        if (moment, channel) == self.where:
            os.kill(os.getpid(), signal.SIGKILL)


def patch_attempts(kill_point: KillPoint) -> None:
    """Add the kill point to the steps of an attempt."""
    add, write_down, build = SqlUnitOfWork.add_attempt, Dispatcher._store_result, built_lines

    @wraps(add)
    async def add_attempt(uow: SqlUnitOfWork, delivery: Any, *args: Any, **named: Any) -> Any:
        attempt = await add(uow, delivery, *args, **named)
        kill_point.step(Moment.BEFORE_CLAIM, delivery.address.channel)
        return attempt

    @wraps(write_down)
    async def write(dispatcher: Dispatcher, call: GatewayCall, outcome: CallResult) -> None:
        await write_down(dispatcher, call, outcome)
        if call.kind is CallKind.SEND:
            kill_point.step(Moment.AFTER_RECORDED, call.address.channel)

    @wraps(build)
    def build_gateways(*args: Any, **named: Any) -> list[ConfiguredGateway]:
        lines = build(*args, **named)
        for line in lines:
            gateway: Any = line.gateway
            gateway.send = _killable(gateway.send, kill_point, line.channel)
        return lines

    patch.object(SqlUnitOfWork, "add_attempt", add_attempt).start()
    patch.object(Dispatcher, "_store_result", write).start()
    patch.object(monitor.app, "build_gateways", build_gateways).start()


def patch_paper(kill_point: KillPoint) -> None:
    """Add the kill point to the steps of paper."""
    record = Dispatcher.record_callback

    class Mined(type(Path())):  # type: ignore[misc]  # a file in the tray, whatever its class is called here
        def rename(self, target: Any) -> Any:
            if self.suffix == ".part":
                kill_point.step(Moment.HALF_WRITTEN, Channel.LETTER)
            renamed = super().rename(target)
            if Path(target).parent.name == LetterPlace.POSTED:
                kill_point.step(Moment.POSTED, Channel.LETTER)
            return renamed

    @wraps(record)
    async def recorded(dispatcher: Dispatcher, gateway: str, heard: CallbackEvent) -> AckResult:
        if dispatcher._pool[gateway].channel is Channel.FAX:
            kill_point.step(Moment.RECEIPT, Channel.FAX)
        return await record(dispatcher, gateway, heard)

    patch.object(tray, "Path", Mined).start()
    patch.object(Dispatcher, "record_callback", recorded).start()


def _killable(
    send: Callable[[Any], Awaitable[Any]], kill_point: KillPoint, channel: Channel
) -> Callable[[Any], Awaitable[Any]]:
    async def wrapped(order: Any) -> Any:
        kill_point.step(Moment.AFTER_CLAIM, channel)
        report = await send(order)
        kill_point.step(Moment.AFTER_ACCEPTED, channel)
        return report

    return wrapped


def patch_signal(kill_point: KillPoint, file: Path) -> None:
    """At each SIGUSR1, set the kill point from *file* and open an outage of the first agency."""
    build = App._build_parts

    def heard(app: App) -> None:
        outage, moment, channel = file.read_text().split()
        kill_point.where = Moment(moment), Channel(channel)
        # Keeps a reference while it runs.
        telling.append(asyncio.create_task(tell(app, outage)))

    async def tell(app: App, outage: str) -> None:
        configuration, now = app._configuration(), app._clock.now()
        snapshot = next(iter(configuration.registry.agencies.values())).build_policy(
            configuration.settings.build_shared()
        )
        await app._dispatcher.submit(
            Trigger(dedup_key=outage, at=now, began_at=now, type=IncidentType.BOTH, policy=snapshot)
        )

    @wraps(build)
    async def built(app: App, *args: Any) -> None:
        await build(app, *args)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard, app)

    telling: list[asyncio.Task[None]] = []
    patch.object(App, "_build_parts", built).start()


def disable_bundling() -> None:
    """Notify a person of an outage at once although others were notified a moment ago."""
    for place in (bundle, incident_processor):
        patch.object(place, "BUNDLE_INTERVAL", timedelta(0)).start()
    patch.object(notification_processor, "CONTACT_LIMITS", {}).start()


if __name__ == "__main__":
    hidden = KillPoint()
    patch_attempts(hidden)
    patch_paper(hidden)
    shorten_leases()
    disable_bundling()
    patch_signal(hidden, Path(sys.argv.pop(1)))
    main()
