"""On-demand run from the portal through a real Postfix and Dovecot, with its progress on the page."""

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
from tests.integration.probes.round_trips import SIGNER
from tests.real.mailserver import REFERENCE, Listener, MailServer, RecipientOutcome
from tests.unit.alerts.people import SNAPSHOT
from tests.unit.monitor.web.fake_runtime import FakeRuntime
from tests.unit.monitor.web.portal_env import open_portal

pytestmark = pytest.mark.real

CLOCK = SystemClock()
#: Only on-demand runs are sent.
RARE_PROBING = ProbingPolicy(
    interval=timedelta(days=1000), timeouts=Timeouts(session=timedelta(seconds=20), arrival=timedelta(seconds=20))
)


class FakeAlerting:
    """Alerting that records events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def submit(self, event: Event) -> Incident | None:
        self.events.append(event)
        return None


class RealRuntime(FakeRuntime):
    """Runtime whose routes a real prober runs."""

    def __init__(self, routes: Sequence[MonitoredRoute], prober: Prober) -> None:
        super().__init__(["JCM"])
        self.routes = routes
        self.prober = prober

    def routes_for(self, agency: str) -> Sequence[MonitoredRoute]:
        return self.routes


@asynccontextmanager
async def probed(directory: Path, *boxes: Mailbox) -> AsyncIterator[tuple[RealRuntime, Database]]:
    """Run a prober with a route from the first mailbox to each other."""
    sender, *recipients = boxes
    routes = [
        MonitoredRoute(
            route=Route(name=f"JCM/outbound/{each.address}", sender=sender, recipient=each),
            agency="JCM",
            direction=Direction.OUTBOUND,
            probing=RARE_PROBING,
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
        alerting = FakeAlerting()
        reporter = IncidentReporter(
            policies=IncidentPolicies(agencies={"JCM": SNAPSHOT}, monitoring_fault=lambda _: SNAPSHOT),
            alerting=alerting,
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
            yield RealRuntime(routes, prober), database
            for task in running:
                task.cancel()
        assert alerting.events == []


async def watch_run(
    officer: httpx.AsyncClient, route: MonitoredRoute, blocked: AbstractContextManager[None] | None = None
) -> list[str]:
    """Start a run and return each fragment until it is over; *blocked* ends once a phase is shown."""
    fragments: list[str] = []
    with ExitStack() as holding:
        if blocked is not None:
            holding.enter_context(blocked)
        response = await officer.post("/agencies/JCM/test", data={"route": route.name})
        assert response.status_code == 303, response.text
        async with asyncio.timeout(90):
            while not fragments or "data-over" not in fragments[-1]:
                shown = (await officer.get(f"{response.headers['location']}/fragment")).text
                if not fragments or shown != fragments[-1]:
                    fragments.append(shown)
                if progress_text(shown).startswith("Phase: "):
                    holding.close()
                await asyncio.sleep(0.005)
    return fragments


def progress_text(shown: str) -> str:
    found = re.search(r'data-news="([^"]*)"', shown)
    assert found
    return found[1]


async def test_on_demand_run_shows_progress_over_imap_and_pop3_as_one_run(
    mail_server: MailServer, tmp_path: Path
) -> None:
    sender = mail_server.mailbox("penguji", domain=REFERENCE)
    by_imap = mail_server.mailbox("diuji-imap")
    by_pop3 = mail_server.mailbox("diuji-pop3", pop3=Listener.POP3S)
    async with (
        probed(tmp_path / "a", sender, by_imap, by_pop3) as (runtime, database),
        open_portal(tmp_path / "b", runtime=runtime) as env,
    ):
        officer = await env.session_for("siti", "officer:JCM")
        await officer.get("/account?lang=en")
        for each in runtime.routes:
            # Phases are short: all of them could end between two requests.
            fragments = [*map(progress_text, await watch_run(officer, each, mail_server.hung_smtp()))]
            assert fragments[-1] == "delivered"
            assert any(one.startswith("Phase: ") for one in fragments), fragments
        async with database.read() as connection:
            rows = (await connection.execute(select(run.c.route, run.c.outcome))).all()
        assert [tuple(row) for row in rows] == [(each.name, Outcome.DELIVERED) for each in runtime.routes]
    assert mail_server.mails(by_imap.address) == []
    assert mail_server.mails(by_pop3.address) == []


async def test_on_demand_run_rejection_is_explained_with_server_text(mail_server: MailServer, tmp_path: Path) -> None:
    sender, refused = mail_server.mailbox("penguji2", domain=REFERENCE), mail_server.mailbox(RecipientOutcome.REJECTED)
    async with (
        probed(tmp_path / "a", sender, refused) as (runtime, _),
        open_portal(tmp_path / "b", runtime=runtime) as env,
    ):
        officer = await env.session_for("siti", "officer:JCM")
        await officer.get("/account?lang=en")
        *_, shown = await watch_run(officer, runtime.routes[0])
        assert progress_text(shown) == "rejected"
        for fragments in ("failed here", "What to do", "Response of the server"):
            assert fragments in shown
