"""Seed of the demo: users and sample history."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx

from alerts.model.delivery import NotificationState
from alerts.model.event import Trigger
from alerts.model.incident import IncidentState
from alerts.model.notification import IncidentType
from monitor.config.loading import load
from monitor.store.backend.database import Database
from monitor.store.engine import audit
from monitor.store.engine.unit_of_work import SqlStore
from monitor.store.probing.days import DayRecords
from pantau_lab.environment import demo_environment
from pantau_lab.seed.history_writer import write_history
from pantau_lab.seed.login import DemoLogin
from pantau_lab.seed.sample_history import sample_history
from pantau_lab.serving import claimed

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
#: In seconds. The start takes ten, and many more on a busy machine.
TIMEOUT = 300.0


async def test_seed_past_is_complete_repeatable_and_closed(tmp_path: Path) -> None:
    async with demo_environment(tmp_path) as world:
        configuration = load(world.settings, {}).require_configuration()
    past, contents = sample_history(NOW), list[object]()
    for place in ("one", "other"):
        async with Database.open(tmp_path / place) as database:
            await write_history(database, configuration, past)
            store = SqlStore(database)
            async with store.reading() as uow:
                incidents = await uow.recent_incidents()
                notices = await uow.recent_notifications()
                assert await uow.active_incidents() == []
            contents.append(
                (
                    [(i.number, i.type, i.began_at, i.ended_at, i.acknowledged_by, i.policy.cause) for i in incidents],
                    [(n.facts.number, n.purpose, n.person, n.channel, n.state, n.created_at) for n in notices],
                    await DayRecords(database).joined_days(["JCM", "MDC", "UCM"], min(on for _, on in past.timelines)),
                )
            )
            assert not (await audit.verify(database.read)).violations
            async with database.read() as connection:
                for each in incidents:
                    said = {entry.event for entry in await audit.entries_of_incident(connection, each.id)}
                    assert {"incident opened", "incident acknowledged", "incident resolved", "notice delivered"} <= said
            assert {i.state for i in incidents} == {IncidentState.RESOLVED}
            assert {n.state for n in notices} == {
                NotificationState.DELIVERED,
                NotificationState.SENT,
                NotificationState.WITHDRAWN,
            }
            assert len(incidents) == len(past.outages)
            assert {o.acknowledged_by for o in past.outages} == {i.acknowledged_by for i in incidents}
            # The next incident gets the next number.
            latest = next(i for i in incidents if i.policy.agency == "JCM")
            again = Trigger(dedup_key="JCM", at=NOW, type=IncidentType.BOTH, began_at=NOW, policy=latest.policy)
            async with store.transaction() as uow:
                number = (await uow.add_incidents([again]))[0].number
            assert number == f"JCM-{int(latest.number[-2:]) + 1:02}"
    assert contents[0] == contents[1]


@contextmanager
def demo(directory: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the demo; yield its address once the service answers."""
    with claimed(1) as (port,):
        environment = os.environ | {"PANTAU_LISTEN": f"127.0.0.1:{port}"}
        command = (sys.executable, "-m", "monitor.cli", "demo", "--directory", str(directory))
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        ) as process:
            try:
                yield f"http://127.0.0.1:{port}", process
            finally:
                process.send_signal(signal.SIGTERM)
                # Read to the end: the demo may still print, and fails on a closed pipe.
                process.communicate()


def logins(directory: Path) -> Sequence[DemoLogin]:
    rows = [line.split("\t") for line in (directory / "sign-in.txt").read_text().splitlines()]
    return [DemoLogin(role=role, name=name, full_name="", password=password) for role, name, password in rows]


def test_demo_each_role_signs_in_and_sees_ninety_days(tmp_path: Path) -> None:
    place = tmp_path / "demo"
    with demo(place) as (url, process):
        deadline = time.monotonic() + TIMEOUT
        assert process.stdout is not None
        shown = ""
        # The screen has a token of its own.
        while "JCM: internal" not in shown:
            assert time.monotonic() < deadline, shown
            shown += process.stdout.readline()
        assert httpx.get(f"{url}/api/v1/agencies", trust_env=False, timeout=TIMEOUT).status_code == 401
        token = place / "token"
        assert token.stat().st_mode & 0o777 == 0o600
        shows = {"Authorization": f"Bearer {token.read_text().strip()}"}
        assert httpx.get(f"{url}/api/v1/agencies", headers=shows, trust_env=False, timeout=TIMEOUT).status_code == 200
        for login in logins(place):
            assert login.password in shown
            with httpx.Client(base_url=f"{url}/api/v1", trust_env=False, timeout=TIMEOUT) as client:
                form = {"name": login.name, "password": login.password}
                assert client.post(f"{url}/sign-in", data=form, headers={"Origin": url}).status_code == 303
                seen = {each["agency"] for each in client.get("/agencies").json()}
                assert seen == ({"JCM"} if ":" in login.role else {"JCM", "MDC", "UCM"}), login.role
                days = client.get("/agencies/JCM/days").json()["days"]
                assert sum(each["minutes"]["up"] > 1000 for each in days) >= 85
                # Only officers of the agency and administrators see the forms.
                form_shown = 'name="form"' in client.get(f"{url}/agencies/JCM/settings").text
                assert form_shown is login.role.startswith(("officer", "admin")), login.role
                listed = client.get("/incidents").json()
                assert {each["state"] for each in listed} == {"resolved"}
        news = [line for line in shown.splitlines() if "resolved" in line or "recovery" in line]
        assert news == [], "the screen reports no incidents of the sample history"
    assert process.returncode == 0, shown
