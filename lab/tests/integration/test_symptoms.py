"""Outcome of a real probe on the three routes of the agency, for each fault of the lab."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pantau_lab.faultlab.symptom import SYMPTOMS
from pantau_lab.mail import Fault, FaultDelays, LabNetwork, SystemPlan
from probes.arrival.watcher import MailboxWatcher
from probes.kinds.roundtrip import KIND
from probes.model.mailbox import Mailbox
from probes.model.polling import PollingPolicy
from probes.model.probe import Route, Timeouts
from probes.model.reply import Reason
from probes.model.result import Arrival, Outcome, Party, Phase, ProbeResult
from probes.run.runner import run_probe
from tests.integration.probes.round_trips import SIGNER
from tests.timeouts import HANG_TIMEOUT

#: Enough for two busy cores. The final search has a quarter of it. All probes wait at the same time.
TIMEOUTS = Timeouts(session=timedelta(seconds=12), arrival=timedelta(seconds=20))
#: Short retries, so that a repair is seen soon.
POLLING = PollingPolicy(
    retry_min=timedelta(seconds=0.4),
    retry_max=timedelta(seconds=2),
    refusal_pause=timedelta(seconds=0.4),
    stable_after=timedelta(seconds=0.3),
)
DELAYS = FaultDelays(
    slow_by=timedelta(seconds=1),
    drip=timedelta(seconds=0.4),
    idle_limit=timedelta(seconds=1),
    greylisted_for=timedelta(seconds=30),
)
REFERENCE = "rujukan"
DIRECTIONS = ("internal", "outbound", "inbound")


@dataclass(slots=True, kw_only=True)
class FaultedAgencies:
    """An agency for each fault, with its name, and one reference. Every mailbox is watched."""

    network: LabNetwork
    watchers: dict[str, MailboxWatcher]
    arrivals: list[tuple[str, Arrival]]

    async def probe(self, agency: str, direction: str) -> ProbeResult:
        own, other = self.watchers[agency], self.watchers[REFERENCE]
        sender, recipient = {"internal": (own, own), "outbound": (own, other), "inbound": (other, own)}[direction]
        name = f"{agency}/{direction}"
        token = SIGNER.issue(name, datetime.now(UTC))
        route = Route(name=name, sender=sender.mailbox, recipient=recipient.mailbox)
        probe = KIND.build(route=route, token=token, timeouts=TIMEOUTS, sender=sender, recipient=recipient)
        return await run_probe(probe, route=name, token_id=token.id, timeouts=TIMEOUTS)

    async def wait_until_recovered(self, agency: str) -> None:
        """Wait until mail is delivered again; a watcher that has just failed pauses first."""
        async with asyncio.timeout(2 * TIMEOUTS.total.total_seconds()):
            while (await self.probe(agency, "internal")).outcome is not Outcome.DELIVERED:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def probe_all(self) -> dict[tuple[Fault, str], ProbeResult]:
        routes = [(fault, direction) for direction in DIRECTIONS for fault in Fault]
        results = await asyncio.gather(*(self.probe(fault, direction) for fault, direction in routes))
        return dict(zip(routes, results, strict=True))


@asynccontextmanager
async def field(folder: Path, faults: Iterable[Fault] = ()) -> AsyncIterator[FaultedAgencies]:
    names = [REFERENCE, *Fault]
    plans = [SystemPlan.with_one_mailbox(name, f"{name}.example", tempo=DELAYS) for name in names]
    arrivals: list[tuple[str, Arrival]] = []

    def watch(mailbox: Mailbox) -> MailboxWatcher:
        def count(arrival: Arrival, _token: str | None, _at: datetime) -> None:
            arrivals.append((mailbox.name, arrival))

        return MailboxWatcher(mailbox, SIGNER, on_arrival=count, timeouts=TIMEOUTS, polling=POLLING)

    async with LabNetwork(plans, folder=folder) as network, asyncio.TaskGroup() as group:
        # Before the watchers connect: a fault would cut their sessions, and the next run would report that.
        for fault in faults:
            await network.systems[fault].break_(fault)
        watchers = {name: watch(mailbox) for name, mailbox in network.mailboxes().items()}
        watching = [group.create_task(watcher.run()) for watcher in watchers.values()]
        yield FaultedAgencies(network=network, watchers=watchers, arrivals=arrivals)
        for task in watching:
            task.cancel()


def sockets() -> int:
    files = (file.name for file in Path("/proc/self/fd").iterdir())
    return sum(os.path.realpath(f"/proc/self/fd/{name}").partition(":")[0].endswith("socket") for name in files)


def test_symptoms_cover_every_fault() -> None:
    assert list(SYMPTOMS) == list(Fault)


async def test_every_fault_has_documented_outcome_and_is_repairable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sockets_before, tasks_before = sockets(), asyncio.all_tasks()
    async with field(tmp_path, Fault) as lab:
        results = await lab.probe_all()
        unexpected = [
            (str(fault), direction, result)
            for (fault, direction), result in results.items()
            if result.outcome is not getattr(SYMPTOMS[fault], direction)
        ]
        assert unexpected == []

        late = TIMEOUTS.total + timedelta(seconds=HANG_TIMEOUT)
        assert [result for result in results.values() if result.duration > late] == []
        assert [
            result for result in results.values() if result.failure and result.failure.reason is Reason.MONITORING_FAULT
        ] == []
        assert {key for key, result in results.items() if result.uncertain} == {
            (Fault.CUT_TAKEN, "internal"),
            (Fault.CUT_TAKEN, "outbound"),
            (Fault.CUT_LOST, "internal"),
            (Fault.CUT_LOST, "outbound"),
        }
        assert {name for name, arrival in lab.arrivals if arrival is Arrival.DUPLICATE} >= {Fault.DUPLICATE, REFERENCE}

        for system in lab.network.systems.values():
            await system.repair()
        await asyncio.gather(*(lab.wait_until_recovered(fault) for fault in Fault))
    assert (sockets(), asyncio.all_tasks()) == (sockets_before, tasks_before)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == [], "the lab itself is sound"


REASONS = {
    Fault.DOWN: Reason.PORT_REFUSED,
    Fault.SMTP: Reason.PORT_REFUSED,
    Fault.REFUSE: Reason.SENDER_REFUSED,
    Fault.BUSY: Reason.TRY_LATER,
    Fault.FULL: Reason.TRY_LATER,
    Fault.GREYLIST: Reason.TRY_LATER,
    Fault.AUTH: Reason.SIGN_IN_UNAVAILABLE,
    Fault.PASSWORD: Reason.CREDENTIALS_REFUSED,
    Fault.POLICY: Reason.CREDENTIALS_REFUSED,
    Fault.EXPIRED: Reason.CERTIFICATE_EXPIRED,
    Fault.OTHER_NAME: Reason.CERTIFICATE_NAME_MISMATCH,
    Fault.UNTRUSTED: Reason.CERTIFICATE_UNTRUSTED,
    Fault.NO_STARTTLS: Reason.TLS_NOT_OFFERED,
    Fault.PLAIN: Reason.TLS_NOT_SPOKEN,
    Fault.OLD_TLS: Reason.TLS_REFUSED,
    Fault.GARBAGE: Reason.UNEXPECTED_ANSWER,
    Fault.FLOOD: Reason.UNEXPECTED_ANSWER,
    Fault.HALF_CLOSE: Reason.CONNECTION_CLOSED,
}


async def test_sender_fault_is_reported_with_reason(tmp_path: Path) -> None:
    async with field(tmp_path, REASONS) as lab:
        results = await asyncio.gather(*(lab.probe(fault, "outbound") for fault in REASONS))
    failures = [result.failure for result in results]
    assert {fault: failure and failure.reason for fault, failure in zip(REASONS, failures, strict=True)} == REASONS
    assert {failure and failure.party for failure in failures} == {Party.SENDER}


async def test_faults_combine_and_are_repaired_singly(tmp_path: Path) -> None:
    async with field(tmp_path) as lab:
        system = lab.network.systems[Fault.SLOW]
        for fault in (Fault.STRIP, Fault.REWRITE, Fault.FOOTER, Fault.JUNK, Fault.SLOW):
            await system.break_(fault)
        result = await lab.probe(Fault.SLOW, "internal")
        assert result.outcome is Outcome.JUNK
        # The delay starts when the message is taken, before the client knows.
        assert result.phases[Phase.DATA] + result.phases[Phase.TRANSIT] >= DELAYS.slow_by

        await system.break_(Fault.POLICY)
        assert (await lab.probe(Fault.SLOW, "internal")).outcome is Outcome.AUTH

        await system.repair(Fault.POLICY)
        await system.repair(Fault.JUNK)
        assert (await lab.probe(Fault.SLOW, "internal")).outcome is Outcome.DELIVERED


async def test_greylisted_sender_is_accepted_later(tmp_path: Path) -> None:
    name = "jabatan-contoh"
    tempo = FaultDelays(greylisted_for=timedelta(seconds=1))
    plan = SystemPlan.with_one_mailbox(name, "jabatan-contoh.gov.my", tempo=tempo)
    async with LabNetwork([plan], folder=tmp_path) as network, asyncio.TaskGroup() as group:
        mailbox = network.mailboxes()[name]
        watcher = MailboxWatcher(mailbox, SIGNER, on_arrival=lambda *_: None, timeouts=TIMEOUTS, polling=POLLING)
        watching = group.create_task(watcher.run())
        lab = FaultedAgencies(network=network, watchers={name: watcher, REFERENCE: watcher}, arrivals=[])
        await network.systems[name].break_(Fault.GREYLIST)
        outcomes = [(await lab.probe(name, "internal")).outcome]
        async with asyncio.timeout(HANG_TIMEOUT):
            while outcomes[-1] is Outcome.DEFERRED:
                outcomes.append((await lab.probe(name, "internal")).outcome)
        watching.cancel()
    assert (outcomes[0], outcomes[-1]) == (Outcome.DEFERRED, Outcome.DELIVERED)


async def test_watcher_survives_server_that_ends_every_idle(tmp_path: Path) -> None:
    async with field(tmp_path, [Fault.BYE_IDLE]) as lab:
        watcher = lab.watchers[Fault.BYE_IDLE]
        polls: set[float | None] = set()
        async with asyncio.timeout(2 * HANG_TIMEOUT):
            # Without an expected message, it polls only on a new connection.
            while len(polls - {None}) < 3:
                polls.add(watcher.polled_at)
                await asyncio.sleep(0.02)
        assert (await lab.probe(Fault.BYE_IDLE, "internal")).outcome is Outcome.DELIVERED
        assert watcher.failure is None
