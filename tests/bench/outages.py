"""A thousand agencies fail at once, a hundred people are on duty: how long from the verdict to the gateway.

`python -m tests.bench.outages` prints times and counts for a store of the default kind in a temporary directory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import quantiles

import structlog

from alerts.decide.bundle import BUNDLE_INTERVAL
from alerts.decide.gateway.rate_limit import RateLimitScope
from alerts.engine.composer import WordingComposer
from alerts.engine.dispatcher import Dispatcher
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.delivery import NotificationState
from alerts.model.event import Trigger
from alerts.model.gateway import (
    CallbackHandler,
    CallbackRejectedError,
    CallbackRequest,
    CallbackResponse,
    DeliveryReport,
    SendRequest,
    SubmissionNotFound,
    SubmissionState,
)
from alerts.model.notification import IncidentType, IssuingOffice, Language, Purpose
from alerts.model.policy_snapshot import EscalationPolicy, PolicySnapshot, Step
from alerts.persistence.clock import SystemClock
from alerts.wording.texts import load
from monitor.store.backend.database import Database
from monitor.store.engine.ledger import SqlStore

_MINUTE = timedelta(minutes=1)


@dataclass
class Shifting:
    """The machine's clock, and as far ahead of it as the bench says: nobody waits two minutes for a window to close."""

    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        return SystemClock().now() + self.ahead


@dataclass
class Prompt:
    """A gateway that takes 50 ms, as a provider's HTTP does, and notes when it was called."""

    called: list[tuple[SendRequest, float]] = field(default_factory=list)

    async def send(self, order: SendRequest) -> DeliveryReport:
        self.called.append((order, time.perf_counter()))
        await asyncio.sleep(0.05)
        return DeliveryReport(progress=SubmissionState.DELIVERED, provider_id=order.reference)

    async def find(self, order: SendRequest) -> DeliveryReport | SubmissionNotFound:
        return SubmissionNotFound(certain=True)

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
        return DeliveryReport(progress=SubmissionState.DELIVERED, provider_id=provider_id)

    async def handle_callback(self, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:
        raise CallbackRejectedError(404, "no callbacks")

    async def close(self) -> None:
        pass


@dataclass
class Count:
    """Counts what the dispatcher says."""

    states: Counter[NotificationState] = field(default_factory=Counter)
    bundled: int = 0

    def count_notification(self, channel: Channel, purpose: Purpose, state: NotificationState) -> None:
        self.states[state] += 1

    def count_bundled_notifications(self, channel: Channel, notifications: int) -> None:
        self.bundled += notifications

    def count_throttled_notifications(self, channel: Channel, scope: RateLimitScope, notifications: int) -> None: ...
    def count_empty_rotas(self, agency: str, rotas: int) -> None: ...
    def set_gateway_up(self, channel: Channel, gateway: str, *, up: bool) -> None: ...
    def set_receipts_overdue(self, channel: Channel, gateway: str, *, overdue: bool | None) -> None: ...
    def record_latency(self, latency: object) -> None: ...

    def count_rejected_callback(self, gateway: str, reason: str) -> None: ...
    def set_declared_outages(self, declared: object, *, all_known: bool) -> None: ...
    def record_cycle(self, now: datetime, oldest_pending: datetime | None, open_incidents: object) -> None: ...


def _brief(number: int, contacts: int) -> PolicySnapshot:
    # Letters only: digits would look like a telephone number in an SMS.
    code = "".join(chr(ord("A") + number // 26**place % 26) for place in (2, 1, 0))
    phone = f"+60100{number % contacts:05}"
    person = Contact(
        key=f"officer-{number % contacts}",
        name=f"Pegawai Contoh {number % contacts}",
        language=Language.MALAY,
        addresses=(Address(channel=Channel.SMS, number=phone), Address(channel=Channel.VOICE, number=phone)),
    )
    steps = (
        Step(after=timedelta(0), contacts=(person,), channels=(Channel.SMS,)),
        Step(after=5 * _MINUTE, contacts=(person,), channels=(Channel.VOICE,)),
    )
    office = IssuingOffice(short=code, name=f"Agensi Contoh {number}", domain=f"agensi-{number}.gov.my")
    return PolicySnapshot(agency=code, office=office, escalation=EscalationPolicy(steps=steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds."""

    median: float
    p99: float
    worst: float

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        cuts = quantiles(seconds, n=100, method="inclusive")
        return cls(median=round(cuts[49], 3), p99=round(cuts[98], 3), worst=round(max(seconds), 3))


async def fail_at_once(place: Path, outages: int, contacts: int, gap: float) -> dict[str, object]:
    """Let so many agencies fail, *gap* seconds apart, and follow all notices to the gateway."""
    clock, sms, voice, count = Shifting(), Prompt(), Prompt(), Count()
    async with Database.open(place) as database:
        dispatcher = Dispatcher(
            store=SqlStore(database),
            pool=GatewayPool(
                [
                    ConfiguredGateway(name="sms", channel=Channel.SMS, gateway=sms, slots=16),
                    ConfiguredGateway(name="voice", channel=Channel.VOICE, gateway=voice, slots=16),
                ]
            ),
            composer=WordingComposer(load()),
            clock=clock,
            observer=count,
        )
        engine = asyncio.create_task(dispatcher.run())
        verdicts: dict[str, float] = {}
        began, began_cpu = time.perf_counter(), time.process_time()

        async def evaluator(number: int) -> None:
            await asyncio.sleep(number * gap)
            brief = _brief(number, contacts)
            verdicts.setdefault(f"+60100{number % contacts:05}", time.perf_counter())
            now = clock.now()
            await dispatcher.submit(
                Trigger(dedup_key=brief.agency, at=now, type=IncidentType.BOTH, began_at=now - _MINUTE, policy=brief)
            )

        await asyncio.gather(*(evaluator(number) for number in range(outages)))
        taken_in = time.perf_counter() - began
        await _until(lambda: len(sms.called) >= contacts)
        cpu = time.process_time() - began_cpu
        first = [at - verdicts[order.address] for order, at in sms.called[:contacts]]
        people = {order.address for order, _ in sms.called[:contacts]}
        # The window closes: for each person one SMS about all the others.
        clock.ahead += BUNDLE_INTERVAL
        closed = time.perf_counter()
        dispatcher.wake()
        await _quiet(sms)
        bundles = [at - closed for _, at in sms.called[contacts:]]
        clock.ahead += 4 * _MINUTE
        dispatcher.wake()
        await _quiet(voice)
        engine.cancel()
        await asyncio.gather(engine, return_exceptions=True)
    return {
        "outages": outages,
        "contacts": contacts,
        "seconds between two verdicts": gap,
        "seconds until all verdicts were stored": round(taken_in, 2),
        "verdict to gateway, first SMS of each person": _shown(Times.of(first)),
        "CPU seconds until all of them were told and all verdicts stored": round(cpu, 2),
        "people told first": len(people),
        "window closed to gateway, one bundle a person": _shown(Times.of(bundles)),
        "SMS": len(sms.called),
        "calls": len(voice.called),
        "notices bundled": count.bundled,
    }


def _shown(times: Times) -> dict[str, float]:
    return {"median": times.median, "p99": times.p99, "worst": times.worst}


async def _until(true: object, within: float = 60) -> None:
    async with asyncio.timeout(within):
        while not true():  # type: ignore[operator]  # noqa: ASYNC110 - what is measured must not be woken by us
            await asyncio.sleep(0.005)


async def _quiet(gateway: Prompt) -> None:
    """Wait until the gateway was called, and then not any more for two seconds."""
    before = len(gateway.called)
    await _until(lambda: len(gateway.called) > before)
    await _until(lambda: time.perf_counter() - gateway.called[-1][1] > 2)


def main() -> None:
    """Run it once with all verdicts in one moment, and once with them spread over a minute's worth of probing."""
    asked = argparse.ArgumentParser(prog="python -m tests.bench.outages", description=__doc__)
    asked.add_argument("--outages", type=int, default=1000)
    asked.add_argument("--contacts", type=int, default=100)
    asked.add_argument("--gap", type=float, action="append", help="seconds between two verdicts; default: 0 and 0.02")
    wanted = asked.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for gap in wanted.gap or (0.0, 0.02):
        with tempfile.TemporaryDirectory() as place:
            found = asyncio.run(fail_at_once(Path(place), wanted.outages, wanted.contacts, gap))
        sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
