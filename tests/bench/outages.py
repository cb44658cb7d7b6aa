"""Time from verdict to gateway when a thousand agencies fail at once and a hundred people are on duty.

`python -m tests.bench.outages` prints times and counts for a SQLite store in a temporary directory.
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
from monitor.store.engine.unit_of_work import SqlStore

_MINUTE = timedelta(minutes=1)


@dataclass
class AheadClock:
    """The machine's clock plus an offset, so that the bundle interval passes at once."""

    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        return SystemClock().now() + self.ahead


@dataclass
class RecordingGateway:
    """Gateway that takes 50 ms, like a provider's HTTP API, and records its calls."""

    called: list[tuple[SendRequest, float]] = field(default_factory=list)

    async def send(self, request: SendRequest) -> DeliveryReport:
        self.called.append((request, time.perf_counter()))
        await asyncio.sleep(0.05)
        return DeliveryReport(progress=SubmissionState.DELIVERED, provider_id=request.reference)

    async def find(self, request: SendRequest) -> DeliveryReport | SubmissionNotFound:
        return SubmissionNotFound(certain=True)

    async def check(self, request: SendRequest, provider_id: str) -> DeliveryReport:
        return DeliveryReport(progress=SubmissionState.DELIVERED, provider_id=provider_id)

    async def handle_callback(self, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:
        raise CallbackRejectedError(404, "no callbacks")

    async def close(self) -> None:
        pass


@dataclass
class CountingObserver:
    """Observer that counts notifications."""

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


def _snapshot(number: int, contacts: int) -> PolicySnapshot:
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
    """Distribution of times in seconds."""

    median: float
    p99: float
    worst: float

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        cuts = quantiles(seconds, n=100, method="inclusive")
        return cls(median=round(cuts[49], 3), p99=round(cuts[98], 3), worst=round(max(seconds), 3))


async def measure_outages(place: Path, outages: int, contacts: int, gap: float) -> dict[str, object]:
    """Trigger incidents *gap* seconds apart, and follow all notifications to the gateway."""
    clock, sms, voice, count = AheadClock(), RecordingGateway(), RecordingGateway(), CountingObserver()
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

        async def report_outage(number: int) -> None:
            await asyncio.sleep(number * gap)
            snapshot = _snapshot(number, contacts)
            verdicts.setdefault(f"+60100{number % contacts:05}", time.perf_counter())
            now = clock.now()
            await dispatcher.submit(
                Trigger(
                    dedup_key=snapshot.agency, at=now, type=IncidentType.BOTH, began_at=now - _MINUTE, policy=snapshot
                )
            )

        await asyncio.gather(*(report_outage(number) for number in range(outages)))
        stored_after = time.perf_counter() - began
        await _until(lambda: len(sms.called) >= contacts)
        cpu = time.process_time() - began_cpu
        first = [at - verdicts[request.address] for request, at in sms.called[:contacts]]
        people = {request.address for request, _ in sms.called[:contacts]}
        # The bundle interval ends: one SMS about the other incidents for each person.
        clock.ahead += BUNDLE_INTERVAL
        closed = time.perf_counter()
        dispatcher.wake()
        await _wait_until_quiet(sms)
        bundles = [at - closed for _, at in sms.called[contacts:]]
        clock.ahead += 4 * _MINUTE
        dispatcher.wake()
        await _wait_until_quiet(voice)
        engine.cancel()
        await asyncio.gather(engine, return_exceptions=True)
    return {
        "outages": outages,
        "contacts": contacts,
        "seconds between two verdicts": gap,
        "seconds until all verdicts were stored": round(stored_after, 2),
        "verdict to gateway, first SMS of each person": _as_dict(Times.of(first)),
        "CPU seconds until all of them were told and all verdicts stored": round(cpu, 2),
        "people told first": len(people),
        "window closed to gateway, one bundle a person": _as_dict(Times.of(bundles)),
        "SMS": len(sms.called),
        "calls": len(voice.called),
        "notices bundled": count.bundled,
    }


def _as_dict(times: Times) -> dict[str, float]:
    return {"median": times.median, "p99": times.p99, "worst": times.worst}


async def _until(true: object, within: float = 60) -> None:
    async with asyncio.timeout(within):
        while not true():  # type: ignore[operator]  # noqa: ASYNC110 - waking this task would change the result
            await asyncio.sleep(0.005)


async def _wait_until_quiet(gateway: RecordingGateway) -> None:
    """Wait until the gateway is called, and then not called for two seconds."""
    before = len(gateway.called)
    await _until(lambda: len(gateway.called) > before)
    await _until(lambda: time.perf_counter() - gateway.called[-1][1] > 2)


def main() -> None:
    """Measure with all verdicts at once, and with verdicts spread over the time of a probing round."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.outages", description=__doc__)
    parser.add_argument("--outages", type=int, default=1000)
    parser.add_argument("--contacts", type=int, default=100)
    parser.add_argument("--gap", type=float, action="append", help="seconds between two verdicts; default: 0 and 0.02")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for gap in options.gap or (0.0, 0.02):
        with tempfile.TemporaryDirectory() as place:
            found = asyncio.run(measure_outages(Path(place), options.outages, options.contacts, gap))
        sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
