"""Prober: concurrency, quotas, maintenance, on-demand runs and reloads, with fake probes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from alerts.persistence.clock import Clock, SystemClock
from monitor.bridge.pipeline import ResultPipeline
from monitor.evaluation.evaluator import HealthEvaluator
from monitor.metrics import Metrics
from monitor.model.health import Health, HealthPolicy
from monitor.model.mail_provider import MailProvider, MailProviders
from monitor.model.route import Direction, MonitoredRoute, ProbingPolicy
from monitor.model.window import Hours, OneTimeWindow, WindowOccurrence
from monitor.planning.admission import MIN_RATE
from monitor.probing.on_demand_run import OnDemandRun
from monitor.probing.prober import Prober
from monitor.store.probing.history import History, SentToken
from probes.mail.token import TokenSigner
from probes.model.mailbox import Mailbox, Password
from probes.model.probe import Probe, ProbeFailedError, ProbeKind, Route, Timeouts, Trace
from probes.model.reply import Reason
from probes.model.result import Arrival, Failure, Outcome, Party, Phase, ProbeResult
from tests.timeouts import HANG_TIMEOUT
from tests.unit.monitor.scrape import Scrape
from tests.unit.monitor.world import mailbox

SECOND = timedelta(seconds=1)
CLOCK = SystemClock()
#: No blocked run times out during a test, even on a machine that stops for seconds.
LONG_TIMEOUTS = Timeouts(session=timedelta(minutes=10), arrival=timedelta(minutes=10))
#: Frequent enough for a test, without retries.
PROBING = ProbingPolicy(interval=SECOND * 0.2, retry_interval=60 * SECOND, timeouts=LONG_TIMEOUTS)
#: No server listens on this port; a connection fails at once.
CLOSED = 1


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield cast(list[Any], lines)


def box(name: str, *, smtp: int = CLOSED, imap: int = CLOSED) -> Mailbox:
    """Return a mailbox whose servers differ by port."""
    plain = mailbox(name)
    assert plain.imap is not None
    on_loopback = replace(plain.imap, host="127.0.0.1")
    return replace(plain, smtp=replace(on_loopback, port=smtp), imap=replace(on_loopback, port=imap))


def route(
    sender: Mailbox,
    recipient: Mailbox,
    number: int = 0,
    *,
    direction: Direction = Direction.OUTBOUND,
    probing: ProbingPolicy = PROBING,
) -> MonitoredRoute:
    name = f"{sender.name}/{recipient.name}/{number}"
    agency = (recipient if direction is Direction.INBOUND else sender).name
    way = Route(name=name, sender=sender, recipient=recipient)
    return MonitoredRoute(route=way, agency=agency, direction=direction, probing=probing)


#: Body of a run: sign in and submit, then wait for the arrival.
Script = Callable[[str, Trace], Awaitable[Outcome]]


@dataclass
class FakeProbes:
    """Probe kind that runs a script and records what it did."""

    script: Script
    started: list[str] = field(default_factory=list)
    #: Runs that submit at present, and the maximum.
    at_servers: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)

    def build(self, *, route: Route, **_: object) -> Probe:
        return cast(Probe, FakeRun(self, route.name))

    async def until(self, condition: Callable[[FakeProbes], bool]) -> None:
        async with asyncio.timeout(HANG_TIMEOUT):
            while not condition(self):  # noqa: ASYNC110 - what is played does not tell
                await asyncio.sleep(0.01)


@dataclass
class FakeRun:
    play: FakeProbes
    name: str

    async def run(self, trace: Trace) -> Outcome:
        play, server = self.play, self.name.split("/")[0]
        play.started.append(self.name)
        play.at_servers[server] += 1
        play.most[server] = max(play.most[server], play.at_servers[server])
        try:
            return await play.script(self.name, trace)
        finally:
            play.at_servers[server] -= 1


async def quick(_: str, trace: Trace) -> Outcome:
    with trace.phase(Phase.SUBMIT, Party.SENDER):
        await asyncio.sleep(0.01)
    with trace.phase(Phase.TRANSIT, Party.RECIPIENT):
        pass
    trace.record_message(b"Subject: semakan\r\n\r\n")
    return Outcome.DELIVERED


async def refused(_: str, trace: Trace) -> Outcome:
    with trace.phase(Phase.CONNECT, Party.SENDER):
        failure = Failure(phase=Phase.CONNECT, party=Party.SENDER, reason="connection_refused")
        raise ProbeFailedError(Outcome.CONNECT, failure)


async def hangs_at_the_server(_: str, trace: Trace) -> Outcome:
    with trace.phase(Phase.SUBMIT, Party.SENDER):
        await asyncio.Event().wait()
    raise AssertionError


async def never_arrives(_: str, trace: Trace) -> Outcome:
    with trace.phase(Phase.TRANSIT, Party.RECIPIENT):
        await asyncio.Event().wait()
    raise AssertionError


@dataclass
class FakeStore:
    """Parts of the store and of the pipeline that a prober writes to."""

    sent_: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    taken: list[ProbeResult] = field(default_factory=list)
    stored: list[ProbeResult] = field(default_factory=list)
    broken: bool = False

    async def record_sent_token(self, token_id: str, *_: object) -> None:
        self.sent_.append(token_id)
        if self.broken:
            raise OSError("disk full")

    async def record_late_arrival(self, token_id: str, _: object) -> None:
        self.late.append(token_id)

    async def record_run(
        self, result: ProbeResult, _: str, judged: Mapping[str, tuple[Health, object]], **__: object
    ) -> None:
        assert not judged
        self.stored.append(result)

    async def process(self, result: ProbeResult) -> None:
        self.taken.append(result)


@dataclass
class ProbingFixture:
    play: FakeProbes
    books: FakeStore
    prober: Prober
    metrics: Metrics
    sample_messages: dict[str, bytes]

    def value(self, name: str, **labels: str) -> float | None:
        return Scrape(self.metrics).value(name, **labels)


@asynccontextmanager
async def probing(
    routes: Sequence[MonitoredRoute],
    script: Script = quick,
    *,
    mail_providers: MailProviders | None = None,
    known: Mapping[str, SentToken] | None = None,
    books: FakeStore | None = None,
    clock: Clock = CLOCK,
) -> AsyncIterator[ProbingFixture]:
    play, books = FakeProbes(script), books or FakeStore()
    sample_messages: dict[str, bytes] = {}
    metrics = Metrics(version="0", now=clock.now)
    for agency in {each.agency for each in routes}:
        metrics.register_agency(agency, routes=[each.name for each in routes if each.agency == agency])
    prober = Prober(
        routes={each.name: each for each in routes},
        kind=ProbeKind(name="played", build=play.build),
        signer=TokenSigner(b"x" * 32, "utama"),
        evaluator=HealthEvaluator(routes, HealthPolicy()),
        pipeline=cast(ResultPipeline, books),
        history=cast(History, books),
        metrics=metrics,
        clock=clock,
        known_tokens=known or {},
        mail_providers=mail_providers,
        sample_messages=sample_messages,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(prober.run())
        yield ProbingFixture(play, books, prober, metrics, sample_messages)
        running.cancel()


# -- turns ----------------------------------------------------------------------------------------------------------


async def test_prober_runs_every_route_repeatedly() -> None:
    routes = [route(box("JCM"), box("rujukan-a"), n) for n in range(5)]
    async with probing(routes) as scene:
        await scene.play.until(lambda play: all(play.started.count(each.name) >= 3 for each in routes))
        assert scene.value("probe_schedule_lag_seconds_count") is not None


async def test_prober_limits_sessions_per_server() -> None:
    routes = [route(box("JCM"), box("rujukan-a"), n) for n in range(40)]

    async def slowly(name: str, trace: Trace) -> Outcome:
        await asyncio.sleep(0.05)
        return await quick(name, trace)

    async with probing(routes, slowly) as scene:
        await scene.play.until(lambda play: set(play.started) == {each.name for each in routes})
        assert scene.play.most["JCM"] == 10


async def test_prober_limits_sessions_per_account_at_provider() -> None:
    routes = [route(box("JCM"), box("rujukan-a"), n) for n in range(20)]
    mail_provider = MailProvider(name="besar", hosts=("127.0.0.1",), concurrency=5, account_concurrency=3)

    async def slowly(name: str, trace: Trace) -> Outcome:
        await asyncio.sleep(0.05)
        return await quick(name, trace)

    async with probing(routes, slowly, mail_providers=MailProviders([mail_provider])) as scene:
        await scene.play.until(lambda play: set(play.started) == {each.name for each in routes})
        assert scene.play.most["JCM"] == 3


async def test_slow_agency_does_not_delay_other() -> None:
    reference = box("rujukan-a", smtp=2)
    slow = [route(box("JCM", smtp=3), reference, n, probing=PROBING) for n in range(30)]
    others = [route(box("MDC", smtp=4), reference), route(reference, box("MDC"), direction=Direction.INBOUND)]

    async def one_hangs(name: str, trace: Trace) -> Outcome:
        return await (hangs_at_the_server if name.startswith("JCM") else quick)(name, trace)

    async with probing([*slow, *others], one_hangs) as scene:
        await scene.play.until(lambda play: play.at_servers["JCM"] == 10)
        before = Counter(scene.play.started)
        await scene.play.until(lambda play: all(play.started.count(e.name) >= before[e.name] + 5 for e in others))
        assert scene.play.at_servers["JCM"] == 10


async def test_run_waiting_for_arrival_holds_no_session() -> None:
    routes = [route(box("JCM"), box("rujukan-a"), n, probing=PROBING) for n in range(30)]
    async with probing(routes, never_arrives) as scene:
        await scene.play.until(lambda play: play.at_servers["JCM"] == 30)


async def test_run_with_unreadable_recipient_holds_no_reference_session() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    reference = box("rujukan-a", smtp=2)
    direction = Direction.INBOUND
    hanging = [route(reference, box("JCM", imap=port), n, direction=direction, probing=PROBING) for n in range(30)]
    other = route(reference, box("MDC"), direction=Direction.INBOUND)
    async with probing([*hanging, other]) as scene:
        await scene.play.until(lambda play: play.started.count(other.name) >= 5)
        assert set(scene.play.started) == {other.name}
    silent.close()
    await silent.wait_closed()


async def test_sender_without_imap_has_no_watcher() -> None:
    sender = replace(box("JCM"), imap=None)
    async with probing([route(sender, box("rujukan-a"))]) as scene:
        await scene.play.until(lambda play: len(play.started) >= 2)
        assert set(scene.prober._watchers) == {"rujukan-a"}


async def test_failed_write_of_token_sends_nothing_and_probing_continues(logs: list[Any]) -> None:
    books = FakeStore(broken=True)
    async with probing([route(box("JCM"), box("rujukan-a"))], books=books) as scene:
        await scene.play.until(lambda _: len(books.sent_) >= 2)
        assert scene.play.started == []  # A message without a stored token is not sent.
        books.broken = False
        await scene.play.until(lambda play: len(play.started) >= 2)
    assert "probe result was lost" in [line["event"] for line in logs]


# -- budgets --------------------------------------------------------------------------------------------------------

THREE_A_DAY = MailProviders([MailProvider(name="ketat", hosts=("127.0.0.1",), messages_per_day=3, concurrency=5)])


async def test_send_quota_used_stops_account_and_is_logged_once(logs: list[Any]) -> None:
    routes = [route(box("JCM"), box("rujukan-a"), n) for n in range(4)]
    other = route(replace(box("MDC"), smtp=None), box("rujukan-a"))
    async with probing([*routes, other], mail_providers=THREE_A_DAY) as scene:
        await scene.play.until(lambda play: play.started.count(other.name) >= 5)
        assert len([name for name in scene.play.started if name.startswith("JCM")]) == 3
    said = [line for line in logs if "send quota" in line["event"]]
    assert [line["account"] for line in said] == ["JCM"]


async def test_send_quota_counts_messages_before_restart() -> None:
    each = route(box("JCM"), box("rujukan-a"))
    other = route(replace(box("MDC"), smtp=None), box("rujukan-a"))
    known = {f"{n:016x}": SentToken(route=each.name, at=CLOCK.now() - 60 * SECOND, has_arrived=True) for n in range(3)}
    async with probing([each, other], mail_providers=THREE_A_DAY, known=known) as scene:
        await scene.play.until(lambda play: play.started.count(other.name) >= 3)
        assert each.name not in scene.play.started


async def test_send_quota_ignores_earlier_messages_of_other_pool_mailbox() -> None:
    each = route(replace(box("rujukan-a"), pooled=True), box("JCM"), direction=Direction.INBOUND)
    other = route(replace(box("MDC"), smtp=None), box("rujukan-b"))
    known = {f"{n:016x}": SentToken(route=each.name, at=CLOCK.now() - 60 * SECOND, has_arrived=True) for n in range(3)}
    async with probing([each, other], mail_providers=THREE_A_DAY, known=known) as scene:
        await scene.play.until(lambda play: play.started.count(other.name) >= 5)
        # Messages sent from this mailbox count.
        assert scene.play.started.count(each.name) == 3


async def test_send_quota_used_takes_no_capacity_and_keeps_rate() -> None:
    spent = [route(box("JCM"), box("rujukan-a"), n) for n in range(200)]
    others = [route(replace(box("MDC"), smtp=None), box("rujukan-a"), n) for n in range(20)]
    known = {
        f"{n:016x}": SentToken(route=spent[0].name, at=CLOCK.now() - 60 * SECOND, has_arrived=True) for n in range(3)
    }
    async with probing([*spent, *others], mail_providers=THREE_A_DAY, known=known) as scene:
        scene.prober._lag.share = 1.0  # The machine is overloaded.
        await scene.play.until(lambda play: len(play.started) >= 2 * MIN_RATE)
        assert scene.prober._ticker._admission.rate == MIN_RATE  # Although hundreds are refused a second.


# -- maintenance ----------------------------------------------------------------------------------------------------


@dataclass
class MovableClock:
    """Machine clock that a test sets forward."""

    by: timedelta = timedelta(0)

    def now(self) -> datetime:
        return CLOCK.now() + self.by


async def test_maintenance_stops_probing_until_end(logs: list[Any]) -> None:
    clock = MovableClock()
    now = clock.now()
    until = now + 3600 * SECOND
    hours = Hours(maintenance=[OneTimeWindow(WindowOccurrence(now - SECOND, until, "Naik taraf"))])
    each = route(box("JCM"), box("rujukan-a"), probing=replace(PROBING, hours=hours))
    other = route(box("MDC"), box("rujukan-a"))
    async with probing([each, other], clock=clock) as scene:
        await scene.play.until(lambda play: play.started.count(other.name) >= 3)
        assert scene.value("maintenance", agency="JCM") == 1
        assert scene.value("maintenance", agency="MDC") == 0
        assert each.name not in scene.play.started
        clock.by = until - now
        await scene.play.until(lambda play: each.name in play.started)
    (begun,) = [line for line in logs if line["event"] == "maintenance started"]
    assert (begun["agency"], begun["reason"]) == ("JCM", "Naik taraf")


async def test_off_hours_are_exported_per_agency() -> None:
    tomorrow = CLOCK.now() + timedelta(days=1)
    hours = Hours(active_windows=[OneTimeWindow(WindowOccurrence(tomorrow, tomorrow + 60 * SECOND))])
    each = route(box("JCM"), box("rujukan-a"), probing=replace(PROBING, hours=hours))
    other = route(box("MDC"), box("rujukan-a"))
    async with probing([each, other]) as scene:
        await scene.play.until(lambda play: play.started.count(other.name) >= 3)
        assert each.name not in scene.play.started
        assert scene.value("off_hours", agency="JCM") == 1
        assert scene.value("off_hours", agency="MDC") is None
        assert scene.value("maintenance", agency="JCM") == 0


async def test_overdue_timestamps_are_exported_until_route_is_removed() -> None:
    def overdue(scene: ProbingFixture, agency: str) -> list[float | None]:
        names = ("probe_overdue_timestamp_seconds", "probe_success_overdue_timestamp_seconds")
        return [scene.value(name, agency=agency) for name in names]

    async def fails_at_one(name: str, trace: Trace) -> Outcome:
        return await (refused if "MDC" in name else quick)(name, trace)

    each, other = route(box("JCM"), box("rujukan-a")), route(box("MDC"), box("rujukan-a"))
    async with probing([each, other], fails_at_one) as scene:
        await scene.play.until(lambda play: {each.name, other.name} <= set(play.started))
        first = {agency: overdue(scene, agency) for agency in ("JCM", "MDC")}
        run, proof = first["MDC"]
        assert run is not None
        assert proof is not None
        assert CLOCK.now().timestamp() < run < proof
        so_far = len(scene.play.started)
        # The metrics have whole seconds.
        await scene.play.until(lambda play: len(play.started) >= so_far + 16)
        then = {agency: overdue(scene, agency) for agency in ("JCM", "MDC")}
        assert [a != b for a, b in zip(first["JCM"], then["JCM"], strict=True)] == [True, True]
        assert [a != b for a, b in zip(first["MDC"], then["MDC"], strict=True)] == [True, False]
        await scene.prober.remove_routes([other])
        assert overdue(scene, "MDC") == [None, None]
        assert None not in overdue(scene, "JCM")


@pytest.mark.parametrize(("script", "counts"), [(refused, False), (quick, True)])
async def test_run_failing_in_maintenance_does_not_count(script: Script, *, counts: bool) -> None:
    works: list[OneTimeWindow] = []
    each = route(box("JCM"), box("rujukan-a"), probing=replace(PROBING, hours=Hours(maintenance=works)))

    async def ends_in_it(name: str, trace: Trace) -> Outcome:
        begins = CLOCK.now()
        works.append(OneTimeWindow(WindowOccurrence(begins, begins + 60 * SECOND, "Naik taraf")))
        await asyncio.sleep(0.01)
        return await script(name, trace)

    async with probing([each], ends_in_it) as scene:
        await scene.play.until(lambda _: bool(scene.books.taken or scene.books.stored))
        assert (len(scene.books.taken), len(scene.books.stored)) == ((1, 0) if counts else (0, 1))


# -- for somebody who looks on --------------------------------------------------------------------------------------

#: An interval of an hour could end during a test.
SELDOM = replace(PROBING, interval=timedelta(days=36_500))


async def finished(trial: OnDemandRun) -> None:
    async with asyncio.timeout(HANG_TIMEOUT):
        while not trial.is_finished:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_run_now_shows_phases_and_counts_as_one_run() -> None:
    each, goes_on = route(box("JCM"), box("rujukan-a"), probing=SELDOM), asyncio.Event()

    async def in_steps(_: str, trace: Trace) -> Outcome:
        with trace.phase(Phase.SUBMIT, Party.SENDER):
            pass
        with trace.phase(Phase.TRANSIT, Party.RECIPIENT):
            await goes_on.wait()
        return Outcome.DELIVERED

    async with probing([each], in_steps) as scene:
        trial = scene.prober.run_now(each.name)
        assert scene.prober.run_now(each.name) is trial  # A second request returns the same run.
        assert (trial.started_at, trial.phase, trial.phases) == (None, None, {})
        await scene.play.until(lambda _: trial.phase is Phase.TRANSIT)
        assert [*trial.phases] == [Phase.SUBMIT]
        assert not trial.is_finished
        goes_on.set()
        await finished(trial)
        assert trial.result is not None
        assert trial.result.outcome is Outcome.DELIVERED
        assert [taken.token_id for taken in scene.books.taken] == [trial.result.token_id]
        assert scene.play.started == [each.name]
        assert trial.phase is None


async def test_run_now_while_route_runs_starts_another() -> None:
    each, goes_on = route(box("JCM"), box("rujukan-a"), probing=SELDOM), asyncio.Event()

    async def waits_once(name: str, trace: Trace) -> Outcome:
        await goes_on.wait()
        return await quick(name, trace)

    async with probing([each], waits_once) as scene:
        scene.prober.run_now(each.name)
        await scene.play.until(lambda play: len(play.started) == 1)
        trial = scene.prober.run_now(each.name)
        goes_on.set()
        await finished(trial)
        assert scene.play.started == [each.name] * 2


async def test_run_now_send_quota_used_is_refused() -> None:
    each = route(box("JCM"), box("rujukan-a"), probing=SELDOM)
    known = {f"{n:016x}": SentToken(route=each.name, at=CLOCK.now() - 60 * SECOND, has_arrived=True) for n in range(3)}
    async with probing([each], mail_providers=THREE_A_DAY, known=known) as scene:
        trial = scene.prober.run_now(each.name)
        await finished(trial)
        assert trial.result is None
        assert trial.next_send_at is not None
        assert trial.next_send_at > CLOCK.now()
        assert scene.play.started == []


async def test_run_now_in_maintenance_runs_and_does_not_count() -> None:
    hours = Hours(
        maintenance=[OneTimeWindow(WindowOccurrence(CLOCK.now() - SECOND, CLOCK.now() + 600 * SECOND, "Naik taraf"))]
    )
    each = route(box("JCM"), box("rujukan-a"), probing=replace(SELDOM, hours=hours))
    async with probing([each], refused) as scene:
        trial = scene.prober.run_now(each.name)
        await finished(trial)
        assert trial.result is not None
        assert trial.result.outcome is Outcome.CONNECT
        assert (len(scene.books.taken), len(scene.books.stored)) == (0, 1)


async def test_run_now_lost_result_or_removed_route_finishes_without_result() -> None:
    each, other = route(box("JCM"), box("rujukan-a"), probing=SELDOM), route(box("MDC"), box("rujukan-a"))
    books = FakeStore(broken=True)
    async with probing([each, other], books=books) as scene:
        lost = scene.prober.run_now(each.name)
        await finished(lost)
        assert (lost.result, lost.next_send_at) == (None, None)
        waiting = scene.prober.run_now(each.name)
        await scene.prober.remove_routes([each])
        assert waiting.is_finished
        with pytest.raises(KeyError):
            scene.prober.run_now(each.name)


# -- our own lateness -----------------------------------------------------------------------------------------------


HELD = replace(PROBING, timeouts=Timeouts(session=3 * SECOND, arrival=3 * SECOND))


def blocks_loop(outcome: Outcome, reason: Reason) -> Script:
    """Return a script that fails after it blocks the loop for more than a tenth of the timeout in `HELD`."""

    async def script(_: str, trace: Trace) -> Outcome:
        with trace.phase(Phase.SUBMIT, Party.SENDER):
            time.sleep(0.4)  # noqa: ASYNC251 - it is the loop that is to be held
            raise ProbeFailedError(outcome, Failure(phase=Phase.SUBMIT, party=Party.SENDER, reason=reason))

    return script


@pytest.mark.blind
@pytest.mark.parametrize(
    ("outcome", "reason", "valid"),
    [(Outcome.TIMEOUT, Reason.NO_ANSWER, False), (Outcome.REJECTED, Reason.MESSAGE_REFUSED, True)],
)
async def test_timeout_while_loop_was_blocked_is_inconclusive(outcome: Outcome, reason: Reason, *, valid: bool) -> None:
    """Defect: The prober does not notice a blocked loop.

    Pantau: It measures the lag twenty times a second, and each run uses it.
    """
    each = route(box("JCM"), box("rujukan-a"), probing=HELD)
    async with probing([each], blocks_loop(outcome, reason)) as scene:
        measuring = asyncio.create_task(scene.prober._lag.keep_measuring(scene.metrics))
        await scene.play.until(lambda _: bool(scene.books.taken))
        result = scene.books.taken[0]
        assert result.outcome is (outcome if valid else Outcome.INCONCLUSIVE)
        assert scene.value("probe_runs_discarded_total") == (0 if valid else 1)
        measuring.cancel()


@pytest.mark.blind
async def test_skipped_runs_are_counted() -> None:
    """Defect: Skipped runs are not reported.

    Pantau: They are counted, and an alert notifies the NOC.
    """
    routes = [route(box("JCM"), box("rujukan-a"), n, probing=replace(PROBING, interval=2 * SECOND)) for n in range(300)]
    async with probing(routes) as scene:
        scene.prober._lag.share = 1.0  # The machine is overloaded.
        await scene.play.until(lambda _: (scene.value("probe_runs_skipped_total") or 0) > 0)
        assert len(scene.play.started) < 200


# -- what is remembered ---------------------------------------------------------------------------------------------


async def test_sample_message_is_latest_arrival_from_agency() -> None:
    async with probing(
        [
            route(box("JCM"), box("rujukan-a")),
            route(box("rujukan-a"), box("MDC"), direction=Direction.INBOUND),
        ]
    ) as scene:
        assert scene.sample_messages.get("JCM") is None
        await scene.play.until(lambda _: len(scene.books.taken) >= 4)
        assert scene.sample_messages.get("JCM") == b"Subject: semakan\r\n\r\n"
        assert scene.sample_messages.get("MDC") is None


async def test_arrival_after_run_is_duplicate_and_not_late() -> None:
    public, other = route(box("rujukan-a"), box("awam"), direction=Direction.INBOUND), route(box("JCM"), box("utama"))
    async with probing([public, other]) as scene:
        await scene.play.until(lambda _: bool(scene.books.taken))
        scene.prober._process_arrival("utama", Arrival.LATE, scene.books.taken[0].token_id, CLOCK.now())
        assert scene.value("probe_arrivals_total", arrival="duplicate") == 1
        assert scene.books.late == []


async def test_missing_tokens_exclude_arrived_mail() -> None:
    async with probing([route(box("JCM"), box("rujukan-a"))]) as scene:
        await scene.play.until(lambda _: len(scene.books.taken) >= 5)
        assert len(scene.prober._arrivals._missing) <= 1


def test_watcher_knows_tokens_sent_to_its_mailbox_only() -> None:
    here, there = route(box("JCM"), box("rujukan-a")), route(box("JCM"), box("rujukan-b"))
    known = {
        "0" * 16: SentToken(route=here.name, at=CLOCK.now(), has_arrived=False),
        "1" * 16: SentToken(route=there.name, at=CLOCK.now(), has_arrived=True),
        "2" * 16: SentToken(route="has left", at=CLOCK.now(), has_arrived=False),
    }
    prober = Prober(
        routes={each.name: each for each in (here, there)},
        kind=ProbeKind(name="played", build=FakeProbes(quick).build),
        signer=TokenSigner(b"x" * 32, "utama"),
        evaluator=HealthEvaluator([here, there], HealthPolicy()),
        pipeline=cast(ResultPipeline, FakeStore()),
        history=cast(History, FakeStore()),
        metrics=Metrics(version="0", now=CLOCK.now),
        clock=CLOCK,
        known_tokens=known,
    )
    token_states = {name: watcher._registry._token_states for name, watcher in prober._watchers.items()}
    assert {name: set(each) for name, each in token_states.items()} == {
        "JCM": set(),
        "rujukan-a": {"0" * 16},
        "rujukan-b": {"1" * 16},
    }


# -- changes --------------------------------------------------------------------------------------------------------


async def in_transit(scene: ProbingFixture, *routes: MonitoredRoute) -> None:
    """Wait until a run of each of *routes* is in progress; it stays so."""
    await scene.play.until(lambda play: all(each.name in play.started for each in routes))
    assert all(each.name in scene.prober._runs for each in routes)


@pytest.mark.blind
async def test_reload_keeps_unchanged_runs_and_watchers() -> None:
    """Defect: A reload signs in to every mailbox anew and calls mail in transit late.

    Pantau: Unchanged runs and connections continue.
    """
    reference = box("rujukan-a")
    kept, gone, come = (route(box(code), reference) for code in ("JCM", "MDC", "UCM"))
    changed = route(box("JPM"), reference)
    async with probing([kept, gone, changed], never_arrives) as scene:
        prober, evaluator = scene.prober, scene.prober._evaluator
        await in_transit(scene, kept, gone, changed)
        runs, watchers = dict(prober._runs), dict(prober._watchers)

        await prober.remove_routes([gone])
        evaluator.remove_routes([gone])
        moved = route(box("JPM", smtp=2), reference)
        await prober.replace_routes([moved])
        evaluator.replace_routes([moved])
        evaluator.add_routes([come])
        await prober.add_routes([come], {})
        await in_transit(scene, come)
        await scene.play.until(lambda play: play.started.count(changed.name) == 2)

        assert prober._runs[kept.name] is runs[kept.name]
        assert not runs[kept.name].done()
        assert runs[gone.name].cancelled()
        assert runs[changed.name].cancelled()
        assert {name for name, each in prober._watchers.items() if watchers.get(name) is each} == {"JCM", "rujukan-a"}
        assert set(prober._watchers) == set(prober._watcher_tasks) == {"JCM", "JPM", "UCM", "rujukan-a"}
        assert scene.play.started.count(kept.name) == 1


@pytest.mark.blind
async def test_replace_routes_changed_times_keep_run_and_watcher() -> None:
    """Defect: A new maintenance window or interval cancels runs and streaks.

    Pantau: They continue under the new times.
    """
    each = route(box("JCM"), box("rujukan-a"))
    async with probing([each], never_arrives) as scene:
        await in_transit(scene, each)
        run, watchers = scene.prober._runs[each.name], dict(scene.prober._watchers)
        patient = Timeouts(session=7 * SECOND, arrival=60 * SECOND)
        now = replace(each, probing=replace(PROBING, interval=9 * SECOND, timeouts=patient))
        await scene.prober.replace_routes([now])
        assert scene.prober._runs == {each.name: run}
        assert not run.done()
        assert scene.prober._watchers == watchers
        reader = watchers["JCM"]._reader
        assert reader is not None
        assert reader.timeouts == patient


async def test_remove_routes_shared_mailbox_keeps_watcher() -> None:
    reference = box("rujukan-a")
    here, there = route(box("JCM"), reference), route(box("MDC"), reference)
    async with probing([here, there], never_arrives) as scene:
        await in_transit(scene, here, there)
        watcher = scene.prober._watchers["rujukan-a"]
        await scene.prober.remove_routes([here])
        assert scene.prober._watchers["rujukan-a"] is watcher
        assert "JCM" not in scene.prober._watchers
        await scene.prober.remove_routes([there])
        assert scene.prober._watchers == {}
        assert scene.prober._watcher_tasks == {}


@pytest.mark.blind
async def test_remove_routes_waiting_for_permit_leave_queue() -> None:
    """Defect: A run cancelled while it waits for a permit keeps its place for ever.

    Pantau: It leaves the queue.
    """
    sender, reference = box("rujukan-a"), box("JCM")
    first = [route(sender, reference, n, direction=Direction.INBOUND) for n in range(10)]
    then = [route(sender, box("MDC"), n, direction=Direction.INBOUND) for n in range(5)]
    last = route(sender, box("UCM"), direction=Direction.INBOUND)

    async def some_hang(name: str, trace: Trace) -> Outcome:
        return await (hangs_at_the_server if name.split("/")[1] == "JCM" else quick)(name, trace)

    async with probing(first, some_hang) as scene:
        prober, evaluator = scene.prober, scene.prober._evaluator
        await scene.play.until(lambda play: play.at_servers["rujukan-a"] == 10)
        evaluator.add_routes([*then, last])
        await prober.add_routes(then, {})
        await scene.play.until(lambda _: len(prober._permits._waiting) == 5)
        await prober.add_routes([last], {})
        await scene.play.until(lambda _: len(prober._permits._waiting) == 6)
        await prober.remove_routes(then)
        await prober.remove_routes(first)
        await scene.play.until(lambda play: play.started.count(last.name) >= 12)
        assert prober._permits._limits._used.get("server 127.0.0.1:1", 0) <= 1
        assert not prober._permits._waiting


async def test_send_quota_is_kept_when_password_changes() -> None:
    each = route(box("JCM"), box("rujukan-a"))
    async with probing([each], mail_providers=THREE_A_DAY) as scene:
        await scene.play.until(lambda play: len(play.started) == 3)
        sender = replace(each.route.sender, login=Password(username="JCM", secret="kata-laluan-baharu"))
        await scene.prober.replace_routes([replace(each, route=replace(each.route, sender=sender))])
        scene.prober.set_mail_providers(MailProviders([replace(THREE_A_DAY.providers[0], messages_per_day=4)]))
        scene.prober._exhausted.clear()
        await scene.play.until(lambda _: "JCM" in scene.prober._exhausted)
        assert len(scene.play.started) == 4


@pytest.mark.blind
async def test_run_failing_after_new_maintenance_does_not_count() -> None:
    """Defect: A run that fails while maintenance is being written counts.

    Pantau: It counts against nobody.
    """
    each = route(box("JCM"), box("rujukan-a"))
    fail = asyncio.Event()

    async def until_told(name: str, trace: Trace) -> Outcome:
        await fail.wait()
        return await refused(name, trace)

    async with probing([each], until_told) as scene:
        await in_transit(scene, each)
        now = CLOCK.now()
        hours = Hours(maintenance=[OneTimeWindow(WindowOccurrence(now - SECOND, now + 60 * SECOND, "Naik taraf"))])
        await scene.prober.replace_routes([replace(each, probing=replace(PROBING, hours=hours))])
        fail.set()
        await scene.play.until(lambda _: bool(scene.books.stored))
        assert scene.books.taken == []
        await scene.play.until(lambda _: scene.value("maintenance", agency="JCM") == 1)
