"""Stories with paper: a clerk prints, signs and posts what lies in the tray, and says so."""

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
from tests.integration.alerts.test_escalation_story import BY_SMS, OUTSIDE, told_by
from tests.integration.alerts.town import Town
from tests.unit.alerts.people import MINUTE, trigger

pytestmark = pytest.mark.story

HOUR = timedelta(hours=1)
LATE = "pantau_letters_overdue"
QUEUED = 'pantau_letters_waiting{step="queued"}'
PRINTED = 'pantau_letters_waiting{step="printed"}'


class Away:
    """A store that cannot be read."""

    def reading(self) -> NoReturn:
        raise StoreUnavailable("disk full")


async def announced(town: Town) -> Notification:
    """Let an outage be announced, and return the letter that lies in the tray."""
    await town.submit(trigger(brief=told_by(BY_SMS, announcement=OUTSIDE)))
    await town.siti.gets("AMARAN")
    await town.release()
    town.gets_fax("JCM-01")
    town.gets_letter("JCM-01")
    return next(n for n in await town.notifications() if n.channel is Channel.LETTER)


async def recovered(town: Town) -> None:
    await town.resolve()
    await town.siti.gets("PULIH")
    town.gets_fax("pulih")


async def said_by_clerks(town: Town) -> Counter[str]:
    return Counter(event for event in await town.journal() if event.startswith("letter "))


async def test_a_letter_is_printed_and_posted_once_each_and_who_comes_second_hears_who_was_first(
    either_town: Town,
) -> None:
    """A letter is printed and posted once each; a second clerk is told who was first."""
    town = either_town
    letter = await announced(town)
    (lying,) = await town.letters.letters()
    assert (lying.step, lying.to) == (LetterStep.QUEUED, "Ketua Setiausaha, Kementerian Contoh")

    for step in (LetterStep.PRINTED, LetterStep.POSTED):
        await town.advance(MINUTE)
        assert await town.handles(letter.id, step, "Kerani Contoh") == "Kerani Contoh"
        for _ in range(3):
            assert await town.handles(letter.id, step, "Devi Contoh") == "Kerani Contoh"
    # Two at the same desk at the same moment, and a service that has just started.
    town.restart()
    both = await asyncio.gather(*(town.handles(letter.id, LetterStep.POSTED, by) for by in ("Devi", "Ravi")))
    assert both == ["Kerani Contoh"] * 2

    assert await said_by_clerks(town) == {"letter printed": 1, "letter dispatched": 1}
    assert town.tray_letters(LetterPlace.POSTED) == 1
    (gone,) = await town.letters.letters()
    assert (gone.step, gone.printed_by, gone.posted_by) == (LetterStep.POSTED, "Kerani Contoh", "Kerani Contoh")
    assert gone.posted_at == gone.queued_at + 2 * MINUTE

    await recovered(town)
    town.gets_letter("pulih")


async def test_letters_are_posted_together_with_the_day_that_the_clerk_names_and_the_docket_has_them(
    either_town: Town,
) -> None:
    """Letters are posted together with the clerk's date and appear on that day's docket."""
    town = either_town
    letter = await announced(town)
    assert await town.handles(letter.id, LetterStep.PRINTED, "Kerani") == "Kerani"
    laid_on = date(2026, 11, 24)
    await town.later(20 * HOUR)
    assert town.letters.today() == date(2026, 11, 25)

    for day, why in ((26, "26/11/2026 is in the future"), (23, "the letter was queued in the tray on 24/11/2026")):
        [wrong] = await town.letters.record_steps([letter.id], LetterStep.POSTED, "Kerani", day=date(2026, 11, day))
        assert wrong.reason.startswith(why)
    assert await said_by_clerks(town) == {"letter printed": 1}

    # On the evening of the day on which it was laid; it is said the morning after, and twice.
    unnoted = await town.letters.record_steps(
        [letter.id, 999, letter.id], LetterStep.POSTED, "Kerani Contoh", day=laid_on
    )
    assert unnoted == [
        LetterNotRecorded(id=999, reason="there is no notification 999; `pantau letters list` lists the letters")
    ]
    (gone,) = await town.letters.letters()
    assert (gone.step, gone.posted_on, gone.posted_at) == (LetterStep.POSTED, laid_on, town.clock.now())
    assert [each.id for each in await town.letters.posted_on(laid_on)] == [letter.id]
    assert await town.letters.posted_on(date(2026, 11, 25)) == []
    async with town.database.read() as connection:
        query = select(audit_log).where(audit_log.c.event == "letter dispatched")
        [entry] = (await connection.execute(query)).all()
    assert (entry.actor, entry.at, entry.detail) == ("Kerani Contoh", town.clock.now(), {"day": "2026-11-24"})

    await recovered(town)
    town.gets_letter("pulih")
    # Weeks later it is on its docket still.
    await town.later(30 * 24 * HOUR)
    assert [each.id for each in await town.letters.posted_on(laid_on)] == [letter.id]


async def test_a_clerk_hears_why_a_letter_cannot_be_moved_and_says_it_again_when_the_tray_is_mended(town: Town) -> None:
    """A clerk is told why a letter cannot be moved and repeats the step after the repair."""
    letter = await announced(town)
    assert await town.handles(letter.id, LetterStep.PRINTED, "Kerani Contoh") == "Kerani Contoh"
    in_the_way = town.outside.tray / LetterPlace.POSTED
    in_the_way.write_text("not a directory")
    with pytest.raises(OperationRejectedError, match=r"cannot be moved in the tray \(File exists\)"):
        await town.letters.record_step(letter.id, LetterStep.POSTED, "Kerani Contoh")
    assert await said_by_clerks(town) == {"letter printed": 1}

    in_the_way.unlink()
    assert await town.handles(letter.id, LetterStep.POSTED, "Kerani Contoh") == "Kerani Contoh"
    await recovered(town)
    town.gets_letter("pulih")


async def test_a_letter_that_nobody_posts_is_late_when_the_next_workday_is_over(town: Town) -> None:
    """A letter that nobody posts is overdue at the end of the next workday."""
    letter = await announced(town)
    # Tuesday, a quarter past two in the afternoon.
    await town.letters.export_metrics()
    assert [town.value(series) for series in (QUEUED, PRINTED, LATE)] == [1, 0, 0]
    assert await town.handles(letter.id, LetterStep.PRINTED, "Kerani Contoh") == "Kerani Contoh"
    await town.later(HOUR)
    await town.siti.gets("HASIL")
    await town.later(25 * HOUR)
    await town.letters.export_metrics()
    assert [town.value(series) for series in (QUEUED, PRINTED, LATE)] == [0, 1, 0]
    await town.later(HOUR)
    await town.siti.gets("PERINGATAN", "1 surat bagi JCM-01 belum dipos sejak 24/11, 2.15 ptg")
    await town.letters.export_metrics()
    assert town.value(LATE) == 1
    assert [each.overdue for each in await town.letters.letters()] == [True]

    assert await town.posts(letter.id, "Kerani Contoh")
    await town.letters.export_metrics()
    assert [town.value(series) for series in (QUEUED, PRINTED, LATE)] == [0, 0, 0]
    await recovered(town)
    town.gets_letter("pulih")


async def test_letter_never_printed_is_not_posted_unless_the_clerk_says_so(town: Town) -> None:
    """A letter that was never printed is not posted unless the clerk confirms it."""
    letter = await announced(town)
    for _ in range(2):
        with pytest.raises(
            OperationRejectedError, match=f"nobody has recorded that the letter of notification {letter.id} was printed"
        ):
            await town.letters.record_step(letter.id, LetterStep.POSTED, "Kerani Contoh")
    [refused] = await town.letters.record_steps([letter.id], LetterStep.POSTED, "Kerani Contoh", day=date(2026, 11, 24))
    assert "was printed" in refused.reason
    assert town.tray_letters(LetterPlace.TRAY) == 1
    assert await said_by_clerks(town) == {}

    assert (await town.letters.record_step(letter.id, LetterStep.POSTED, "Kerani Contoh", unprinted=True)).anew
    async with town.database.read() as connection:
        query = select(audit_log.c.detail).where(audit_log.c.event == "letter dispatched")
        assert (await connection.execute(query)).scalar_one() == {"printing": "not_recorded"}
    # Who says it again without that hears who was first.
    assert await town.handles(letter.id, LetterStep.POSTED, "Devi Contoh") == "Kerani Contoh"


async def test_letter_that_was_not_posted_after_all_lies_in_the_tray_again(either_town: Town) -> None:
    """Undoing a posting returns the letter to the tray."""
    town = either_town
    letter = await announced(town)
    assert await town.handles(letter.id, LetterStep.PRINTED, "Kerani Contoh") == "Kerani Contoh"
    with pytest.raises(OperationRejectedError, match="is not recorded as posted"):
        await town.letters.undo_posting(letter.id, "Kerani Contoh")
    assert await town.posts(letter.id, "Kerani Contoh")

    await town.letters.undo_posting(letter.id, "Devi Contoh")
    await town.advance(5 * MINUTE)
    (lying,) = await town.letters.letters()
    assert (lying.step, lying.printed_by, lying.posted_by) == (LetterStep.PRINTED, "Kerani Contoh", None)
    assert town.tray_letters(LetterPlace.TRAY) == 1
    assert (await said_by_clerks(town))["letter not posted after all"] == 1
    # It is posted the next day, and counts from then on.
    await town.later(HOUR)
    await town.siti.gets("HASIL")
    await town.later(19 * HOUR)
    assert await town.posts(letter.id, "Devi Contoh")
    await recovered(town)
    town.gets_letter("pulih")


async def test_letter_not_posted_after_all_takes_the_letter_about_the_end_back_with_it(town: Town) -> None:
    """Undoing a posting withdraws the letter of the recovery too."""
    letter = await announced(town)
    assert await town.posts(letter.id, "Kerani Contoh")
    await recovered(town)
    town.gets_letter("pulih")
    assert town.tray_letters(LetterPlace.TRAY) == 1

    await town.letters.undo_posting(letter.id, "Kerani Contoh")
    await town.advance(5 * MINUTE)
    assert [town.tray_letters(place) for place in LetterPlace] == [0, 0, 2], "its reader knows of nothing"
    assert {each.step for each in await town.letters.letters()} == {LetterStep.TAKEN_BACK}


async def test_letter_that_a_later_one_cites_stays_posted(town: Town) -> None:
    """A posting cannot be undone once a later letter cites it."""
    letter = await announced(town)
    assert await town.posts(letter.id, "Kerani Contoh")
    await recovered(town)
    town.gets_letter("pulih")
    last = next(n for n in await town.notifications() if n.channel is Channel.LETTER and n.purpose is Purpose.RECOVERY)
    assert await town.posts(last.id, "Kerani Contoh")
    with pytest.raises(OperationRejectedError, match=f"the letter of notification {last.id}, a later one"):
        await town.letters.undo_posting(letter.id, "Kerani Contoh")
    # The file was filed elsewhere.
    for path in (town.outside.tray / "posted").glob("*.pdf"):
        path.unlink()
    with pytest.raises(OperationRejectedError, match="not among the posted letters"):
        await town.letters.undo_posting(last.id, "Kerani Contoh")
    assert "letter not posted after all" not in await said_by_clerks(town)


async def test_what_was_printed_and_is_taken_back_is_not_to_be_posted(town: Town) -> None:
    """A printed letter that is withdrawn is shown as not to be posted."""
    letter = await announced(town)
    assert await town.handles(letter.id, LetterStep.PRINTED, "Kerani Contoh") == "Kerani Contoh"
    await recovered(town)

    (stopped,) = await town.letters.letters()
    assert (stopped.step, stopped.printed_by, stopped.overdue) == (LetterStep.TAKEN_BACK, "Kerani Contoh", False)
    taken_back = (
        f"^the letter of notification {letter.id} was withdrawn, because the incident is resolved: do not post it"
    )
    with pytest.raises(OperationRejectedError, match=taken_back):
        await town.letters.record_step(letter.id, LetterStep.POSTED, "Kerani Contoh")
    assert await said_by_clerks(town) == {"letter printed": 1}
    assert (town.tray_letters(LetterPlace.TRAY), town.tray_letters(LetterPlace.WITHDRAWN)) == (0, 1)


async def test_who_had_posted_a_letter_before_it_was_taken_back_says_so_and_its_reader_hears_that_it_is_over(
    either_town: Town,
) -> None:
    """A letter posted before its withdrawal is reported by the clerk, and its reader gets a recovery."""
    town = either_town
    letter = await announced(town)
    # Signed and posted at noon; mail works again at one, and the clerk is back at three.
    await recovered(town)
    await town.later(2 * HOUR)
    assert await town.active() == []
    with pytest.raises(OperationRejectedError, match="was withdrawn"):
        await town.letters.record_step(letter.id, LetterStep.POSTED, "Kerani Contoh")

    for by in ("Kerani Contoh", "Devi Contoh"):
        noted = await town.letters.record_step(letter.id, LetterStep.POSTED, by, already_posted=True)
        assert noted.by == "Kerani Contoh"
    town.restart()
    await town.settle()
    town.gets_letter("PEMAKLUMAN PEMULIHAN", "bertarikh 24 November 2026")
    assert (town.tray_letters(LetterPlace.POSTED), town.tray_letters(LetterPlace.WITHDRAWN)) == (1, 0)
    assert await said_by_clerks(town) == {"letter dispatched": 1}
    recovery = next(
        n for n in await town.notifications() if n.purpose is Purpose.RECOVERY and n.channel is Channel.LETTER
    )
    assert await town.posts(recovery.id, "Kerani Contoh")
    await town.later(8 * 24 * HOUR)
    assert await town.active() == []


async def test_while_the_store_is_away_no_letter_is_said_to_wait_for_nobody(town: Town) -> None:
    """While the store is unavailable no letter is shown as waiting for nobody."""
    await announced(town)
    await town.letters.export_metrics()
    assert town.value(QUEUED) == 1
    town.letters._store = cast(Any, Away())
    with pytest.raises(StoreUnavailable):
        await town.letters.export_metrics()
    shown = town.metrics.render().decode()
    assert not any(f"\n{series}" in shown for series in (QUEUED, PRINTED, LATE))


async def test_the_clerk_of_the_demo_writes_each_letter_down_once_however_often_it_looks(
    town: Town, tmp_path: Path
) -> None:
    """The demo's clerk records each letter once."""
    await announced(town)
    path = tmp_path / "control.sock"
    async with serve(control(cast(Any, town.facade), letter_commands(town.letters)), open_unix(path)):
        for _ in range(60):
            town.clock.moment += timedelta(seconds=1)
            await post_letters(path, town.clock.now())
    assert await said_by_clerks(town) == {"letter printed": 1, "letter dispatched": 1}
    await recovered(town)
    town.gets_letter("pulih")


async def test_no_two_letters_about_an_outage_bear_the_same_reference_and_the_later_ones_cite_the_first(
    town: Town,
) -> None:
    """Letters about one outage have different references, and later ones cite the first."""
    brief = told_by(BY_SMS, announcement=OUTSIDE)
    brief = replace(brief, office=replace(brief.office, reference="JCM.100-1/9/1"))
    await town.submit(trigger(brief=brief))
    await town.siti.gets("AMARAN")
    await town.release()
    town.gets_fax("RUJ. KAMI / OUR REF. : JCM.100-1/9/1 (JCM-01/1)")
    town.gets_letter("Ruj. Kami : JCM.100-1/9/1 (JCM-01/1)")
    letter = next(n for n in await town.notifications() if n.channel is Channel.LETTER)
    assert await town.posts(letter.id, "Kerani Contoh")
    await town.resolve()
    await town.siti.gets("PULIH")
    town.gets_fax("OUR REF. : JCM.100-1/9/1 (JCM-01/2)", "notis JCM-01 rujukan JCM.100-1/9/1 (JCM-01/1)")
    recovery = next(
        n for n in await town.notifications() if n.purpose is Purpose.RECOVERY and n.channel is Channel.LETTER
    )
    town.gets_letter("Ruj. Kami : JCM.100-1/9/1 (JCM-01/2)", "surat JCM rujukan JCM.100-1/9/1 (JCM-01/1) bertarikh")
    assert await town.posts(recovery.id, "Kerani Contoh")

    await town.submit(MarkFalseAlarm(incident_id=1, at=town.clock.now(), by="Siti Contoh", reason="rujukan silap"))
    await town.siti.gets("PEMBETULAN")
    town.gets_fax("PEMBETULAN", "OUR REF. : JCM.100-1/9/1 (JCM-01/3)", "rujukan JCM.100-1/9/1 (JCM-01/1)")
    town.gets_letter("PEMBETULAN", "Ruj. Kami : JCM.100-1/9/1 (JCM-01/3)", "rujukan JCM.100-1/9/1 (JCM-01/1)")
