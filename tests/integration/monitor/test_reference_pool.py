"""Two processes on one pool of reference mailboxes, over real connections: each uses its own, and reads no mail of the other's."""

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
from monitor.store.engine.ledger import SqlStore
from monitor.store.probing.history import History
from probes.mail.token import Origin, Token, TokenSigner
from probes.model.mailbox import Mailbox, Password
from probes.model.result import Outcome
from tests.bench.light import SECRET, Light, light
from tests.integration.real.watchpost import Ear
from tests.unit.monitor.config.ministry import Ministry, second_agency


class _Noting(TokenSigner):
    """Notes whose mail is read."""

    def __init__(self, prober: str) -> None:
        super().__init__(b"kunci-untuk-ujian-sahaja", prober)
        self.read_mail_of: Counter[Origin] = Counter()

    def origin(self, token: Token) -> Origin:
        found = super().origin(token)
        self.read_mail_of[found] += 1
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    runtime: ProbingRuntime
    signer: _Noting
    #: What the log said of pools at the start.
    said: Sequence[str]

    @property
    def reference(self) -> Mailbox:
        (found,) = {
            end
            for route in self.runtime.routes.values()
            for end in (route.route.sender, route.route.recipient)
            if end.name == "rujukan-a"
        }
        return found

    async def round(self) -> set[Outcome]:
        """Run each route once more; return how the runs ended."""
        trials = [self.runtime.prober.run_now(name) for name in self.runtime.routes]
        async with asyncio.timeout(90):
            while any(trial.ended_at is None for trial in trials):  # noqa: ASYNC110 - a trial does not tell
                await asyncio.sleep(0.02)
        return {trial.result.outcome for trial in trials if trial.result is not None}


def _on(server: Light, box: Mailbox) -> Mailbox:
    there = server.mailbox(box.name)
    return replace(there, address=box.address, login=Password(username=box.address, secret=SECRET), pooled=box.pooled)


def _routes(server: Light, configuration: Configuration, agency: str) -> tuple[MonitoredRoute, ...]:
    """Return an agency's routes without those over the other reference, as its process has them, on the light servers."""
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
async def _process(ministry: Ministry, server: Light, prober: str, agency: str) -> AsyncIterator[_Process]:
    """Let a process of this name probe one agency, with a store of its own."""
    text = ministry.path("pantau").read_text()
    ministry.write("pantau", f"{text}process_name: {prober}\n")
    configuration = ministry.load().accepted()
    ministry.write("pantau", text)
    routes = _routes(server, configuration, agency)
    configuration = replace(configuration, registry=replace(configuration.registry, routes=routes))
    clock, ear, signer = SystemClock(), Ear(), _Noting(prober)
    async with Database.open(ministry.directory / prober) as database:
        around = RuntimeContext(
            signer=signer,
            store=SqlStore(database),
            history=History(database),
            alerting=ear,
            metrics=Metrics(version="0", now=clock.now),
            clock=clock,
        )
        with patch("monitor.service.probing_runtime._detected_keys", ear.open_keys), capture_logs() as logged:
            runtime = await make_runtime(configuration, around)
        async with asyncio.TaskGroup() as tasks:
            probing = tasks.create_task(runtime.prober.run())
            said = [
                f"{line['reference']}: {line['address']}" for line in logged if line["event"] == "pool mailbox selected"
            ]
            yield _Process(runtime=runtime, signer=signer, said=said)
            probing.cancel()


async def _rounds(processes: Sequence[_Process]) -> None:
    # In the second the mail of the first has been come by.
    for _ in range(2):
        for ended in await asyncio.gather(*(each.round() for each in processes)):
            assert ended == {Outcome.DELIVERED}


@pytest.mark.parametrize("pooled", [True, False])
async def test_two_processes_use_a_mailbox_each_of_a_pool_and_see_their_own_mail_only(
    tmp_path: Path, *, pooled: bool
) -> None:
    ministry = Ministry(tmp_path)
    ministry.write("kedua", second_agency())
    if pooled:
        ministry.pool()
    with light() as server:
        async with (
            _process(ministry, server, "prob-1", "JCONTOH") as one,
            _process(ministry, server, "prob-2", "MPCONTOH") as other,
        ):
            await _rounds([one, other])
            used = [one.reference.address, other.reference.address]
            strangers = [each.signer.read_mail_of[Origin.ANOTHER] for each in (one, other)]
            said = [*one.said, *other.said]
            ours = [each.signer.read_mail_of[Origin.OURS] for each in (one, other)]
    assert min(ours) >= 6
    if pooled:
        assert used == ["dua@rujukan-a.gov.my", "satu@rujukan-a.gov.my"]
        assert said == [f"rujukan-a: {address}" for address in used]
        assert strangers == [0, 0]
    else:
        # What it is for: where they share one, each reads the other's.
        assert used == ["pantau@rujukan-a.gov.my"] * 2
        assert max(strangers) > 0
