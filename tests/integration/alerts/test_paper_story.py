"""Letters that a clerk prints, signs and posts from the tray."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
from sqlalchemy import select

from alerts.decide.paper import LetterStep
from alerts.gateways.tray import LetterPlace
from alerts.model.channel import Channel
from alerts.model.delivery import Notification
from alerts.model.event import MarkFalseAlarm
from alerts.model.notification import Purpose
from alerts.persistence.store import StoreUnavailable
from monitor.service.errors import OperationRejectedError
from monitor.service.paper.letters import LetterNotRecorded
from monitor.store.schema.tables import audit_log
from monitor.web.command.control import control
from monitor.web.letters import letter_commands
from monitor.web.serving import open_unix, serve
from pantau_lab.clerk import post_letters
from tests.integration.alerts.simulated_env import SimulatedEnv
from tests.integration.alerts.test_escalation_story import BY_SMS, OUTSIDE, told_by
from tests.unit.alerts.people import MINUTE, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
LATE = "pantau_letters_overdue"
QUEUED = 'pantau_letters_waiting{step="queued"}'
PRINTED = 'pantau_letters_waiting{step="printed"}'


class UnavailableStore:
    """A store that cannot be read."""

    def reading(self) -> NoReturn:
        raise StoreUnavailable("disk full")


async def announced(env: SimulatedEnv) -> Notification:
    """Announce an outage; return the letter in the tray."""
    await env.submit(trigger(snapshot=told_by(BY_SMS, announcement=OUTSIDE)))
    await env.siti.gets("AMARAN")
    await env.release()
    env.gets_fax("JCM-01")
    env.gets_letter("JCM-01")
    return next(n for n in await env.notifications() if n.channel is Channel.LETTER)


async def recovered(env: SimulatedEnv) -> None:
    await env.resolve()
    await env.siti.gets("PULIH")
    env.gets_fax("pulih")


async def letter_events(env: SimulatedEnv) -> Counter[str]:
    return Counter(event for event in await env.journal() if event.startswith("letter "))


async def test_letter_is_printed_and_posted_once_and_second_clerk_told_first(
    either_env: SimulatedEnv,
) -> None:
    """A letter is printed and posted once each; a second clerk is told who was first."""
    env = either_env
    letter = await announced(env)
    (lying,) = await env.letters.letters()
    assert (lying.step, lying.to) == (LetterStep.QUEUED, "Ketua Setiausaha, Kementerian Contoh")

    for step in (LetterStep.PRINTED, LetterStep.POSTED):
        await env.advance(MINUTE)
        assert await env.handles(letter.id, step, "Kerani Contoh") == "Kerani Contoh"
        for _ in range(3):
            assert await env.handles(letter.id, step, "Devi Contoh") == "Kerani Contoh"
    # Two clerks at the same moment, and a service that has just started.
    env.restart()
    both = await asyncio.gather(*(env.handles(letter.id, LetterStep.POSTED, by) for by in ("Devi", "Ravi")))
    assert both == ["Kerani Contoh"] * 2

    assert await letter_events(env) == {"letter printed": 1, "letter dispatched": 1}
    assert env.tray_letters(LetterPlace.POSTED) == 1
    (gone,) = await env.letters.letters()
    assert (gone.step, gone.printed_by, gone.posted_by) == (LetterStep.POSTED, "Kerani Contoh", "Kerani Contoh")
    assert gone.posted_at == gone.queued_at + 2 * MINUTE

    await recovered(env)
    env.gets_letter("pulih")


async def test_letters_posted_together_use_clerks_date_and_its_docket(
    either_env: SimulatedEnv,
) -> None:
    """Letters are posted together with the clerk's date and appear on that day's docket."""
    env = either_env
    letter = await announced(env)
    assert await env.handles(letter.id, LetterStep.PRINTED, "Kerani") == "Kerani"
    laid_on = date(2026, 11, 24)
    await env.later(20 * HOUR)
    assert env.letters.today() == date(2026, 11, 25)

    for day, why in ((26, "26/11/2026 is in the future"), (23, "the letter was queued in the tray on 24/11/2026")):
        [wrong] = await env.letters.record_steps([letter.id], LetterStep.POSTED, "Kerani", day=date(2026, 11, day))
        assert wrong.reason.startswith(why)
    assert await letter_events(env) == {"letter printed": 1}

    # Posted on the evening of the day when it was queued, and recorded twice the morning after.
    unnoted = await env.letters.record_steps(
        [letter.id, 999, letter.id], LetterStep.POSTED, "Kerani Contoh", day=laid_on
    )
    assert unnoted == [
        LetterNotRecorded(id=999, reason="there is no notification 999; `pantau letters list` lists the letters")
    ]
    (gone,) = await env.letters.letters()
    assert (gone.step, gone.posted_on, gone.posted_at) == (LetterStep.POSTED, laid_on, env.clock.now())
    assert [each.id for each in await env.letters.posted_on(laid_on)] == [letter.id]
    assert await env.letters.posted_on(date(2026, 11, 25)) == []
    async with env.database.read() as connection:
        query = select(audit_log).where(audit_log.c.event == "letter dispatched")
        [entry] = (await connection.execute(query)).all()
    assert (entry.actor, entry.at, entry.detail) == ("Kerani Contoh", env.clock.now(), {"day": "2026-11-24"})

    await recovered(env)
    env.gets_letter("pulih")
    # Weeks later it is still on its docket.
    await env.later(30 * 24 * HOUR)
    assert [each.id for each in await env.letters.posted_on(laid_on)] == [letter.id]


async def test_unmovable_letter_reports_reason_and_succeeds_after_repair(env: SimulatedEnv) -> None:
    """A clerk is told why a letter cannot be moved and repeats the step after the repair."""
    letter = await announced(env)
    assert await env.handles(letter.id, LetterStep.PRINTED, "Kerani Contoh") == "Kerani Contoh"
    in_the_way = env.outside.tray / LetterPlace.POSTED
    in_the_way.write_text("not a directory")
    with pytest.raises(OperationRejectedError, match=r"cannot be moved in the tray \(File exists\)"):
        await env.letters.record_step(letter.id, LetterStep.POSTED, "Kerani Contoh")
    assert await letter_events(env) == {"letter printed": 1}

    in_the_way.unlink()
    assert await env.handles(letter.id, LetterStep.POSTED, "Kerani Contoh") == "Kerani Contoh"
    await recovered(env)
    env.gets_letter("pulih")


async def test_unposted_letter_is_overdue_after_next_workday(env: SimulatedEnv) -> None:
    """A letter that nobody posts is overdue at the end of the next workday."""
    letter = await announced(env)
    # Tuesday, 14:15.
    await env.letters.export_metrics()
    assert [env.value(series) for series in (QUEUED, PRINTED, LATE)] == [1, 0, 0]
    assert await env.handles(letter.id, LetterStep.PRINTED, "Kerani Contoh") == "Kerani Contoh"
    await env.later(HOUR)
    await env.siti.gets("HASIL")
    await env.later(25 * HOUR)
    await env.letters.export_metrics()
    assert [env.value(series) for series in (QUEUED, PRINTED, LATE)] == [0, 1, 0]
    await env.later(HOUR)
    await env.siti.gets("PERINGATAN", "1 surat bagi JCM-01 belum dipos sejak 24/11, 2.15 ptg")
    await env.letters.export_metrics()
    assert env.value(LATE) == 1
    assert [each.overdue for each in await env.letters.letters()] == [True]

    assert await env.posts(letter.id, "Kerani Contoh")
    await env.letters.export_metrics()
    assert [env.value(series) for series in (QUEUED, PRINTED, LATE)] == [0, 0, 0]
    await recovered(env)
    env.gets_letter("pulih")


async def test_unprinted_letter_is_posted_only_on_confirmation(env: SimulatedEnv) -> None:
    """A letter that was never printed is not posted unless the clerk confirms it."""
    letter = await announced(env)
    for _ in range(2):
        with pytest.raises(
            OperationRejectedError, match=f"nobody has recorded that the letter of notification {letter.id} was printed"
        ):
            await env.letters.record_step(letter.id, LetterStep.POSTED, "Kerani Contoh")
    [refused] = await env.letters.record_steps([letter.id], LetterStep.POSTED, "Kerani Contoh", day=date(2026, 11, 24))
    assert "was printed" in refused.reason
    assert env.tray_letters(LetterPlace.TRAY) == 1
    assert await letter_events(env) == {}

    assert (await env.letters.record_step(letter.id, LetterStep.POSTED, "Kerani Contoh", unprinted=True)).anew
    async with env.database.read() as connection:
        query = select(audit_log.c.detail).where(audit_log.c.event == "letter dispatched")
        assert (await connection.execute(query)).scalar_one() == {"printing": "not_recorded"}
    # Another clerk who records it is told who was first.
    assert await env.handles(letter.id, LetterStep.POSTED, "Devi Contoh") == "Kerani Contoh"


async def test_undone_posting_returns_letter_to_tray(either_env: SimulatedEnv) -> None:
    """Undoing a posting returns the letter to the tray."""
    env = either_env
    letter = await announced(env)
    assert await env.handles(letter.id, LetterStep.PRINTED, "Kerani Contoh") == "Kerani Contoh"
    with pytest.raises(OperationRejectedError, match="is not recorded as posted"):
        await env.letters.undo_posting(letter.id, "Kerani Contoh")
    assert await env.posts(letter.id, "Kerani Contoh")

    await env.letters.undo_posting(letter.id, "Devi Contoh")
    await env.advance(5 * MINUTE)
    (lying,) = await env.letters.letters()
    assert (lying.step, lying.printed_by, lying.posted_by) == (LetterStep.PRINTED, "Kerani Contoh", None)
    assert env.tray_letters(LetterPlace.TRAY) == 1
    assert (await letter_events(env))["letter not posted after all"] == 1
    # It is posted the next day, and counts from then on.
    await env.later(HOUR)
    await env.siti.gets("HASIL")
    await env.later(19 * HOUR)
    assert await env.posts(letter.id, "Devi Contoh")
    await recovered(env)
    env.gets_letter("pulih")


async def test_undone_posting_withdraws_recovery_letter(env: SimulatedEnv) -> None:
    """Undoing a posting withdraws the letter of the recovery too."""
    letter = await announced(env)
    assert await env.posts(letter.id, "Kerani Contoh")
    await recovered(env)
    env.gets_letter("pulih")
    assert env.tray_letters(LetterPlace.TRAY) == 1

    await env.letters.undo_posting(letter.id, "Kerani Contoh")
    await env.advance(5 * MINUTE)
    assert [env.tray_letters(place) for place in LetterPlace] == [0, 0, 2], "its reader knows of nothing"
    assert {each.step for each in await env.letters.letters()} == {LetterStep.TAKEN_BACK}


async def test_cited_letter_posting_cannot_be_undone(env: SimulatedEnv) -> None:
    """A posting cannot be undone once a later letter cites it."""
    letter = await announced(env)
    assert await env.posts(letter.id, "Kerani Contoh")
    await recovered(env)
    env.gets_letter("pulih")
    last = next(n for n in await env.notifications() if n.channel is Channel.LETTER and n.purpose is Purpose.RECOVERY)
    assert await env.posts(last.id, "Kerani Contoh")
    with pytest.raises(OperationRejectedError, match=f"the letter of notification {last.id}, a later one"):
        await env.letters.undo_posting(letter.id, "Kerani Contoh")
    # The file was moved elsewhere.
    for path in (env.outside.tray / "posted").glob("*.pdf"):
        path.unlink()
    with pytest.raises(OperationRejectedError, match="not among the posted letters"):
        await env.letters.undo_posting(last.id, "Kerani Contoh")
    assert "letter not posted after all" not in await letter_events(env)


async def test_printed_letter_withdrawn_is_not_to_be_posted(env: SimulatedEnv) -> None:
    """A printed letter that is withdrawn is shown as not to be posted."""
    letter = await announced(env)
    assert await env.handles(letter.id, LetterStep.PRINTED, "Kerani Contoh") == "Kerani Contoh"
    await recovered(env)

    (stopped,) = await env.letters.letters()
    assert (stopped.step, stopped.printed_by, stopped.overdue) == (LetterStep.TAKEN_BACK, "Kerani Contoh", False)
    taken_back = (
        f"^the letter of notification {letter.id} was withdrawn, because the incident is resolved: do not post it"
    )
    with pytest.raises(OperationRejectedError, match=taken_back):
        await env.letters.record_step(letter.id, LetterStep.POSTED, "Kerani Contoh")
    assert await letter_events(env) == {"letter printed": 1}
    assert (env.tray_letters(LetterPlace.TRAY), env.tray_letters(LetterPlace.WITHDRAWN)) == (0, 1)


async def test_letter_posted_before_withdrawal_is_recorded_and_gets_recovery(
    either_env: SimulatedEnv,
) -> None:
    """A letter posted before its withdrawal is reported by the clerk, and its reader gets a recovery."""
    env = either_env
    letter = await announced(env)
    # Posted at noon; mail recovers at one, and the clerk records it at three.
    await recovered(env)
    await env.later(2 * HOUR)
    assert await env.active() == []
    with pytest.raises(OperationRejectedError, match="was withdrawn"):
        await env.letters.record_step(letter.id, LetterStep.POSTED, "Kerani Contoh")

    for by in ("Kerani Contoh", "Devi Contoh"):
        noted = await env.letters.record_step(letter.id, LetterStep.POSTED, by, already_posted=True)
        assert noted.by == "Kerani Contoh"
    env.restart()
    await env.settle()
    env.gets_letter("PEMAKLUMAN PEMULIHAN", "bertarikh 24 November 2026")
    assert (env.tray_letters(LetterPlace.POSTED), env.tray_letters(LetterPlace.WITHDRAWN)) == (1, 0)
    assert await letter_events(env) == {"letter dispatched": 1}
    recovery = next(
        n for n in await env.notifications() if n.purpose is Purpose.RECOVERY and n.channel is Channel.LETTER
    )
    assert await env.posts(recovery.id, "Kerani Contoh")
    await env.later(8 * 24 * HOUR)
    assert await env.active() == []


async def test_database_unavailable_removes_letter_metrics(env: SimulatedEnv) -> None:
    """While the store is unavailable no letter is shown as waiting for nobody."""
    await announced(env)
    await env.letters.export_metrics()
    assert env.value(QUEUED) == 1
    env.letters._store = cast(Any, UnavailableStore())
    with pytest.raises(StoreUnavailable):
        await env.letters.export_metrics()
    shown = env.metrics.render().decode()
    assert not any(f"\n{series}" in shown for series in (QUEUED, PRINTED, LATE))


async def test_demo_clerk_records_each_letter_once(env: SimulatedEnv, tmp_path: Path) -> None:
    """The demo's clerk records each letter once."""
    await announced(env)
    path = tmp_path / "control.sock"
    async with serve(control(cast(Any, env.facade), letter_commands(env.letters)), open_unix(path)):
        for _ in range(60):
            env.clock.moment += timedelta(seconds=1)
            await post_letters(path, env.clock.now())
    assert await letter_events(env) == {"letter printed": 1, "letter dispatched": 1}
    await recovered(env)
    env.gets_letter("pulih")


async def test_letters_of_one_outage_have_distinct_references_citing_first(
    env: SimulatedEnv,
) -> None:
    """Letters about one outage have different references, and later ones cite the first."""
    snapshot = told_by(BY_SMS, announcement=OUTSIDE)
    snapshot = replace(snapshot, office=replace(snapshot.office, reference="JCM.100-1/9/1"))
    await env.submit(trigger(snapshot=snapshot))
    await env.siti.gets("AMARAN")
    await env.release()
    env.gets_fax("RUJ. KAMI / OUR REF. : JCM.100-1/9/1 (JCM-01/1)")
    env.gets_letter("Ruj. Kami : JCM.100-1/9/1 (JCM-01/1)")
    letter = next(n for n in await env.notifications() if n.channel is Channel.LETTER)
    assert await env.posts(letter.id, "Kerani Contoh")
    await env.resolve()
    await env.siti.gets("PULIH")
    env.gets_fax("OUR REF. : JCM.100-1/9/1 (JCM-01/2)", "notis JCM-01 rujukan JCM.100-1/9/1 (JCM-01/1)")
    recovery = next(
        n for n in await env.notifications() if n.purpose is Purpose.RECOVERY and n.channel is Channel.LETTER
    )
    env.gets_letter("Ruj. Kami : JCM.100-1/9/1 (JCM-01/2)", "surat JCM rujukan JCM.100-1/9/1 (JCM-01/1) bertarikh")
    assert await env.posts(recovery.id, "Kerani Contoh")

    await env.submit(MarkFalseAlarm(incident_id=1, at=env.clock.now(), by="Siti Contoh", reason="rujukan silap"))
    await env.siti.gets("PEMBETULAN")
    env.gets_fax("PEMBETULAN", "OUR REF. : JCM.100-1/9/1 (JCM-01/3)", "rujukan JCM.100-1/9/1 (JCM-01/1)")
    env.gets_letter("PEMBETULAN", "Ruj. Kami : JCM.100-1/9/1 (JCM-01/3)", "rujukan JCM.100-1/9/1 (JCM-01/1)")
