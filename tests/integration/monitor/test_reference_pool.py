"""A pool of reference mailboxes shared by two processes, over real connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from alerts.persistence.clock import SystemClock
from monitor.config.loading import Configuration
from monitor.metrics import Metrics
from monitor.model.route import MonitoredRoute
from monitor.service.probing_runtime import ProbingRuntime, RuntimeContext, make_runtime
from monitor.store.backend.database import Database
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.history import History
from probes.mail.token import Origin, Token, TokenSigner
from probes.model.mailbox import Mailbox, Password
from probes.model.result import Outcome
from tests.bench.mail_stub import SECRET, MailStub, run_mail_stub
from tests.integration.real.service_under_test import RecordingAlerting
from tests.unit.monitor.config.ministry import Ministry, second_agency


class _CountingSigner(TokenSigner):
    """Token signer that counts the origins of the messages read."""

    def __init__(self, prober: str) -> None:
        super().__init__(b"kunci-untuk-ujian-sahaja", prober)
        self.origins: Counter[Origin] = Counter()

    def origin(self, token: Token) -> Origin:
        found = super().origin(token)
        self.origins[found] += 1
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    runtime: ProbingRuntime
    signer: _CountingSigner
    #: Log lines about pools at the start.
    pool_log: Sequence[str]

    @property
    def reference(self) -> Mailbox:
        (found,) = {
            end
            for route in self.runtime.routes.values()
            for end in (route.route.sender, route.route.recipient)
            if end.name == "rujukan-a"
        }
        return found

    async def run_all(self) -> set[Outcome]:
        """Run each route once more; return how the runs ended."""
        runs = [self.runtime.prober.run_now(name) for name in self.runtime.routes]
        async with asyncio.timeout(90):
            while any(trial.ended_at is None for trial in runs):  # noqa: ASYNC110 - a run cannot be awaited
                await asyncio.sleep(0.02)
        return {trial.result.outcome for trial in runs if trial.result is not None}


def _on(server: MailStub, box: Mailbox) -> Mailbox:
    there = server.mailbox(box.name)
    return replace(there, address=box.address, login=Password(username=box.address, secret=SECRET), pooled=box.pooled)


def _routes(server: MailStub, configuration: Configuration, agency: str) -> tuple[MonitoredRoute, ...]:
    """Return an agency's routes as its process has them, on the stub servers, without the other reference."""
    return tuple(
        replace(
            each,
            route=replace(
                each.route, sender=_on(server, each.route.sender), recipient=_on(server, each.route.recipient)
            ),
        )
        for each in configuration.registry.routes_for(agency)
        if each.reference != "rujukan-b"
    )


@asynccontextmanager
async def _process(ministry: Ministry, server: MailStub, prober: str, agency: str) -> AsyncIterator[_Process]:
    """Run a process of this name that probes one agency, with a store of its own."""
    text = ministry.path("pantau").read_text()
    ministry.write("pantau", f"{text}process_name: {prober}\n")
    configuration = ministry.load().require_configuration()
    ministry.write("pantau", text)
    routes = _routes(server, configuration, agency)
    configuration = replace(configuration, registry=replace(configuration.registry, routes=routes))
    clock, alerting, signer = SystemClock(), RecordingAlerting(), _CountingSigner(prober)
    async with Database.open(ministry.directory / prober) as database:
        around = RuntimeContext(
            signer=signer,
            store=SqlStore(database),
            history=History(database),
            alerting=alerting,
            metrics=Metrics(version="0", now=clock.now),
            clock=clock,
        )
        with patch("monitor.service.probing_runtime._detected_keys", alerting.open_keys), capture_logs() as logged:
            runtime = await make_runtime(configuration, around)
        async with asyncio.TaskGroup() as tasks:
            probing = tasks.create_task(runtime.prober.run())
            pool_log = [
                f"{line['reference']}: {line['address']}" for line in logged if line["event"] == "pool mailbox selected"
            ]
            yield _Process(runtime=runtime, signer=signer, pool_log=pool_log)
            probing.cancel()


async def _rounds(processes: Sequence[_Process]) -> None:
    # In the second round each process meets the mail of the first.
    for _ in range(2):
        for ended in await asyncio.gather(*(each.run_all() for each in processes)):
            assert ended == {Outcome.DELIVERED}


@pytest.mark.parametrize("pooled", [True, False])
async def test_pool_gives_each_process_own_mailbox_and_own_mail_only(tmp_path: Path, *, pooled: bool) -> None:
    ministry = Ministry(tmp_path)
    ministry.write("kedua", second_agency())
    if pooled:
        ministry.pool()
    with run_mail_stub() as server:
        async with (
            _process(ministry, server, "prob-1", "JCONTOH") as one,
            _process(ministry, server, "prob-2", "MPCONTOH") as other,
        ):
            await _rounds([one, other])
            used = [one.reference.address, other.reference.address]
            others_mail = [each.signer.origins[Origin.OTHER_PROBER] for each in (one, other)]
            pool_log = [*one.pool_log, *other.pool_log]
            own_mail = [each.signer.origins[Origin.THIS_PROCESS] for each in (one, other)]
    assert min(own_mail) >= 6
    if pooled:
        assert used == ["dua@rujukan-a.gov.my", "satu@rujukan-a.gov.my"]
        assert pool_log == [f"rujukan-a: {address}" for address in used]
        assert others_mail == [0, 0]
    else:
        # Without a pool each process reads the other's mail, too.
        assert used == ["pantau@rujukan-a.gov.my"] * 2
        assert max(others_mail) > 0
