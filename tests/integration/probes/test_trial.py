"""An officer presses 'Test now': a real message, through a real Postfix and a real Dovecot, seen in the page as it goes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from alerts.model.event import Event
from alerts.model.incident import Incident
from alerts.persistence.clock import SystemClock
from monitor.bridge.incident_reporter import IncidentPolicies, IncidentReporter
from monitor.bridge.pipeline import ResultPipeline
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.metrics import Metrics
from monitor.model.health import HealthPolicy
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.probing.prober import Prober
from monitor.runtime.plugins import ROUND_TRIP, probe_kinds
from monitor.store.backend.database import Database
from monitor.store.probing.history import History
from monitor.store.schema.tables import run
from probes.model.mailbox import Mailbox
from probes.model.probe import Route, Timeouts
from probes.model.result import Outcome
from tests.integration.probes.trip import SIGNER
from tests.real.mailserver import REFERENCE, Door, MailServer, TokenState
from tests.unit.alerts.people import BRIEF
from tests.unit.monitor.web.bench import Bench
from tests.unit.monitor.web.signed import house

pytestmark = pytest.mark.real

CLOCK = SystemClock()
#: Nothing is sent but what somebody asks for.
SELDOM = ProbingPolicy(
    interval=timedelta(days=1000), timeouts=Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=20))
)


class Deaf:
    """Whom the pipeline would tell."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    async def submit(self, event: Event) -> Incident | None:
        self.heard.append(event)
        return None


class RealBench(Bench):
    """Routes that a real prober runs."""

    def __init__(self, routes: Sequence[MonitoredRoute], prober: Prober) -> None:
        super().__init__(["JCM"])
        self.routes = routes
        self.prober = prober

    def routes_for(self, agency: str) -> Sequence[MonitoredRoute]:
        return self.routes


@asynccontextmanager
async def probed(directory: Path, *boxes: Mailbox) -> AsyncIterator[tuple[RealBench, Database]]:
    """Watch a route from the first mailbox to each other."""
    sender, *recipients = boxes
    routes = [
        MonitoredRoute(
            route=Route(name=f"JCM/outbound/{each.address}", sender=sender, recipient=each),
            agency="JCM",
            direction=Direction.OUTBOUND,
            probing=SELDOM,
        )
        for each in recipients
    ]
    named = {each.name: each for each in routes}
    async with Database.open(directory) as database:
        history, evaluator, metrics = (
            History(database),
            HealthEvaluator(routes, HealthPolicy()),
            Metrics(version="0", now=CLOCK.now),
        )
        metrics.register_agency("JCM", routes=[*named])
        deaf = Deaf()
        reporter = IncidentReporter(
            policies=IncidentPolicies(agencies={"JCM": BRIEF}, monitoring_fault=lambda _: BRIEF),
            alerting=deaf,
            open_incidents={},
            metrics=metrics,
            clock=CLOCK,
            site="utama",
        )
        pipeline = ResultPipeline(
            evaluator=evaluator,
            routes=named,
            history=history,
            reporter=reporter,
            metrics=metrics,
            clock=CLOCK,
            site="utama",
        )
        prober = Prober(
            routes=named,
            kind=probe_kinds()[ROUND_TRIP],
            signer=SIGNER,
            evaluator=evaluator,
            pipeline=pipeline,
            history=history,
            metrics=metrics,
            clock=CLOCK,
            known_tokens={},
        )
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in (prober.run(), reporter.run())]
            yield RealBench(routes, prober), database
            for task in running:
                task.cancel()
        assert deaf.heard == []


async def looked_on(
    officer: httpx.AsyncClient, route: MonitoredRoute, held: AbstractContextManager[None] | None = None
) -> list[str]:
    """Press the button, and return each thing that was said until it was over; what is *held* up goes on once it is seen under way."""
    said: list[str] = []
    with ExitStack() as holding:
        if held is not None:
            holding.enter_context(held)
        begun = await officer.post("/agencies/JCM/test", data={"route": route.name})
        assert begun.status_code == 303, begun.text
        async with asyncio.timeout(90):
            while not said or "data-over" not in said[-1]:
                shown = (await officer.get(f"{begun.headers['location']}/fragment")).text
                if not said or shown != said[-1]:
                    said.append(shown)
                if news(shown).startswith("Phase: "):
                    holding.close()
                await asyncio.sleep(0.005)
    return said


def news(shown: str) -> str:
    found = re.search(r'data-news="([^"]*)"', shown)
    assert found
    return found[1]


async def test_a_message_is_seen_on_its_way_by_imap_and_by_pop3_and_is_one_run(
    mail_server: MailServer, tmp_path: Path
) -> None:
    sender = mail_server.mailbox("penguji", domain=REFERENCE)
    by_imap = mail_server.mailbox("diuji-imap")
    by_pop3 = mail_server.mailbox("diuji-pop3", pop3=Door.POP3S)
    async with (
        probed(tmp_path / "a", sender, by_imap, by_pop3) as (bench, database),
        house(tmp_path / "b", bench=bench) as place,
    ):
        officer = await place.admitted("siti", "officer:JCM")
        await officer.get("/account?lang=en")
        for each in bench.routes:
            # Each phase is short: all of them could be over between two looks.
            said = [*map(news, await looked_on(officer, each, mail_server.hung_smtp()))]
            assert said[-1] == "delivered"
            assert any(one.startswith("Phase: ") for one in said), said
        async with database.read() as connection:
            rows = (await connection.execute(select(run.c.route, run.c.outcome))).all()
        assert [tuple(row) for row in rows] == [(each.name, Outcome.DELIVERED) for each in bench.routes]
    assert mail_server.mails(by_imap.address) == []
    assert mail_server.mails(by_pop3.address) == []


async def test_a_refusal_is_explained_with_the_servers_own_words(mail_server: MailServer, tmp_path: Path) -> None:
    sender, refused = mail_server.mailbox("penguji2", domain=REFERENCE), mail_server.mailbox(TokenState.REJECTED)
    async with probed(tmp_path / "a", sender, refused) as (bench, _), house(tmp_path / "b", bench=bench) as place:
        officer = await place.admitted("siti", "officer:JCM")
        await officer.get("/account?lang=en")
        *_, shown = await looked_on(officer, bench.routes[0])
        assert news(shown) == "rejected"
        for said in ("failed here", "What to do", "Response of the server"):
            assert said in shown
