"""One notice of a drill: handed to its gateway once, and what is heard of it later."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from alerts.decide.drill import ENDED, ExerciseState
from alerts.documents.render import fax, letter
from alerts.engine.exchange import Exchange
from alerts.model.channel import Channel
from alerts.model.gateway import AckResult, Content, DeliveryError, ErrorClass, Heard, Order, Progress, Report
from alerts.model.notice import Addressee
from alerts.record.clock import Clock
from alerts.record.store import StoreAway
from alerts.wording.call import compose as compose_call
from alerts.wording.sms import compose as compose_sms
from alerts.wording.texts import Wording
from monitor.metrics import Metrics
from monitor.store.engine.drills import Drills, Record

log = structlog.get_logger()

#: A gateway keeps deadlines of its own, at most a minute; this is for one that does not.
_DEADLINE_SECONDS = 90.0
#: How often a provider without callbacks is asked, and until when.
ASK_EVERY = timedelta(minutes=1)
ASK_FOR = timedelta(minutes=15)

_STATES = {
    Progress.ACCEPTED: ExerciseState.ACCEPTED,
    Progress.SENT: ExerciseState.ACCEPTED,
    Progress.DELIVERED: ExerciseState.DELIVERED,
    Progress.FAILED: ExerciseState.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _News:
    """What was learnt of an exercise."""

    state: ExerciseState
    #: Why it failed.
    why: str = ""
    #: What its provider calls it; empty when it did not say.
    provider_id: str = ""


class Exerciser:
    """Calls gateways for exercises that are written, and writes down what came back."""

    #: After the store was away, before it is tried again.
    AFTER_A_FAULT = timedelta(seconds=5)

    def __init__(self, *, drills: Drills, exchange: Exchange, wording: Wording, metrics: Metrics, clock: Clock) -> None:
        self._drills = drills
        self._exchange = exchange
        self._wording = wording
        self._metrics = metrics
        self._clock = clock

    async def send(self, record: Record, expires_at: datetime) -> None:
        """Hand it to its gateway, once, give the gateway's slot back, and write down what came of it."""
        try:
            news = await self._call(record, expires_at)
        finally:
            self._exchange.give_back(record.gateway)
        await self._write_down_for_sure(record, news)

    async def check(self, record: Record) -> None:
        """Ask its provider what became of it, and give the gateway's slot back."""
        try:
            order = _order(record, record.begun_at + ASK_FOR)
            async with asyncio.timeout(_DEADLINE_SECONDS):
                report = await self._exchange[record.gateway].gateway.check(order, record.provider_id or "")
            await self._write_down(record.reference, _news(record, report))
        except (DeliveryError, TimeoutError, StoreAway):
            pass  # It is asked again, for a while.
        # A gateway's bug, or a text that cannot be composed: no reason to end the drill.
        except Exception:
            log.exception("an exercise could not be looked at", gateway=record.gateway, reference=record.reference)
        finally:
            self._exchange.give_back(record.gateway)

    async def take_back(self, record: Record) -> None:
        """Take a letter out of its tray: one of a drill is not for the post."""
        try:
            order = _order(record, record.begun_at + ASK_FOR)
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await self._exchange[record.gateway].gateway.withdraw(order, record.provider_id or "")
        except (DeliveryError, TimeoutError) as error:
            why = str(error) or "it did not come back"
            log.warning("the letter of a drill still lies in its tray", gateway=record.gateway, why=why)

    async def _call(self, record: Record, expires_at: datetime) -> _News:
        try:
            order = _order(record, expires_at, await self.compose(record))
            async with asyncio.timeout(_DEADLINE_SECONDS):
                report = await self._exchange[record.gateway].gateway.send(order)
        except DeliveryError as error:
            if error.error is not ErrorClass.PERMANENT:
                self._judge(record, up=False)
            return _News(state=ExerciseState.FAILED, why=str(error))
        except TimeoutError:
            self._judge(record, up=False)
            return _News(state=ExerciseState.FAILED, why="it did not come back")
        # As in `check`: here it is the result of the drill.
        except Exception:
            log.exception("an exercise could not be carried out", gateway=record.gateway, reference=record.reference)
            return _News(state=ExerciseState.FAILED, why="our code failed; see the log")
        self._judge(record, up=True)
        return _news(record, report)

    async def _write_down_for_sure(self, record: Record, news: _News) -> None:
        """Write down what came of a call as soon as the store takes it: it is not made again, and nobody else knows."""
        while True:
            try:
                await self._write_down(record.reference, news)
            except StoreAway:
                await asyncio.sleep(self.AFTER_A_FAULT.total_seconds())
            # A bug of ours about one exercise must end neither the drill nor the service.
            except Exception:
                log.exception("what came of an exercise could not be written down", reference=record.reference)
                return
            else:
                return

    async def _write_down(self, reference: str, news: _News) -> None:
        before = await self._drills.find(reference)  # A callback may have told more meanwhile.
        values: dict[str, Any] = {}
        if news.state is ExerciseState.FAILED:
            values["why"] = news.why
        else:
            values["look_at"] = self._clock.now() + ASK_EVERY
        if news.provider_id:
            values["provider_id"] = news.provider_id
        after = await self._drills.change(reference, news.state, self._clock.now(), **values)
        self._count(before, after)

    def _count(self, before: Record | None, after: Record | None) -> None:
        if before is not None and after is not None and after.state is not before.state and after.state in ENDED:
            self._metrics.watchdog.exercised(after.channel, after.state)

    def _judge(self, record: Record, *, up: bool) -> None:
        if self._exchange.judge(record.gateway, up=up, now=self._clock.now()):
            log.info("gateway judged in a drill", gateway=record.gateway, up=up)
        self._metrics.gateway_judged(record.channel, record.gateway, up=up)

    async def compose(self, record: Record) -> Content:
        """Put an exercise into words."""
        match record.channel:
            case Channel.SMS:
                return compose_sms(record.facts, record.language, self._wording)
            case Channel.VOICE:
                return compose_call(record.facts, record.language, self._wording)
            case Channel.FAX | Channel.LETTER:
                to = Addressee(title=record.name, organisation=record.facts.office.name)
                make = fax if record.channel is Channel.FAX else letter
                return await asyncio.to_thread(make, record.facts, to, self._wording)

    # -- what providers say --------------------------------------------------------------------------------------

    async def record(self, heard: Heard) -> AckResult | None:
        """Write down what a callback told of an exercise, and say how its keypress stands; `None`: it is none of ours."""
        before = await self._drills.find(heard.reference)
        if before is None:
            return None
        if heard.report is not None:
            await self._write_down(heard.reference, _news(before, heard.report))
        if not heard.acknowledged:
            return AckResult.NONE
        after = await self._drills.change(heard.reference, ExerciseState.CONFIRMED, self._clock.now())
        self._count(before, after)
        return AckResult.AGAIN if before.state is ExerciseState.CONFIRMED else AckResult.TAKEN

    async def content(self, reference: str) -> Content | None:
        """Return what an exercise carries; `None`: it is none of ours."""
        record = await self._drills.find(reference)
        return None if record is None else await self.compose(record)


def _order(record: Record, expires_at: datetime, content: Content | None = None) -> Order:
    return Order(
        reference=record.reference,
        address=record.number,
        extension=record.extension,
        content=content,
        expires_at=expires_at,
        created_at=record.begun_at,
    )


def _news(record: Record, report: Report) -> _News:
    state = _STATES[report.progress]
    if record.channel is Channel.LETTER and state is ExerciseState.ACCEPTED:
        state = ExerciseState.DELIVERED  # The tray has it; nothing more is to become of it.
    why = " ".join(filter(None, (report.detail, f"({report.code})" if report.code else "")))
    return _News(state=state, why=why, provider_id=report.provider_id or "")
