"""What the running service answers: which program has a token, and that a clerk has posted a letter."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import SecretStr

from alerts.decide.paper import LetterStep
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.gateways.tray import Tray, TraySettings
from alerts.model.channel import Channel
from alerts.model.delivery import AttemptState
from alerts.model.gateway import GatewayContext, PageContent, SmsContent, SubmissionState
from monitor.evaluation.liveness import LivenessFailure
from monitor.service.errors import OperationRejectedError
from monitor.service.facade import ServiceFacade
from monitor.service.order_check import OrderCheck
from monitor.service.paper.letters import LetterRecord, Letters
from monitor.service.probing_runtime import ProbingRuntime
from tests.integration.alerts.station import Station, station_at
from tests.unit.alerts.measured import Measured
from tests.unit.alerts.people import trigger

TOKENS = {"papan": "tanda-papan-contoh", "robot": "tanda-robot-contoh"}


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Station]:
    async with station_at(tmp_path) as made:
        yield made


def facade(station: Station) -> ServiceFacade:
    api = {name: SimpleNamespace(token=SecretStr(token)) for name, token in TOKENS.items()}
    settings = SimpleNamespace(api=api, notifies=True)
    runtime = cast(ProbingRuntime, SimpleNamespace(configuration=SimpleNamespace(settings=settings)))
    others = dict.fromkeys(("status_reader", "callback_handlers", "composer", "metrics", "reload"), cast(Any, None))
    store = cast(Any, station.store and station.store._inner)
    return ServiceFacade(
        store=store,
        order_check=OrderCheck(store=store, clock=station.clock, measure_mail=Measured().measure),
        dispatcher=station.dispatcher,
        pool=station.pool,
        clock=station.clock,
        runtime=lambda: runtime,
        **others,
    )


def test_a_program_is_known_by_its_whole_token_and_by_nothing_else(tmp_path: Path) -> None:
    known = facade(cast(Station, SimpleNamespace(store=None, dispatcher=None, pool=None, clock=None)))
    assert {name: known.find_api_client(token) for name, token in TOKENS.items()} == {
        "papan": "papan",
        "robot": "robot",
    }
    for stranger in ("", "tanda", "tanda-papan-conto", "tanda-papan-contohx", "TANDA-PAPAN-CONTOH", "tandå"):
        assert known.find_api_client(stranger) is None, stranger


@pytest.mark.blind
async def test_ready_front_with_a_still_engine_says_so(station: Station) -> None:
    """Defect: `/-/ready` is 200 for 12.5 minutes while the engine stands still.

    Pantau: It is 503 and names the part, as the heartbeat does.
    """
    found = facade(station)
    station.dispatcher.is_running = True
    assert found.not_ready_reason() is None
    found._liveness_failures = lambda: frozenset({LivenessFailure.ENGINE})
    assert found.not_ready_reason() == "the engine has stopped: nobody is notified"


def letters(station: Station, pool: GatewayPool | None = None) -> Letters:
    return Letters(
        store=cast(Any, station.store._inner),
        pool=pool or station.pool,
        dispatcher=station.dispatcher,
        metrics=cast(Any, None),
        clock=station.clock,
        hours=cast(Any, None),
    )


async def test_a_letter_that_lies_in_its_tray_is_posted_once_and_nothing_else_is(station: Station) -> None:
    posted: list[str] = []

    async def dispatch(reference: str, *, already_posted: bool = False) -> bool:
        posted.append(reference)
        station.tray.taken[reference] = SubmissionState.SENT
        return True

    station.tray.record_posting = dispatch  # type: ignore[attr-defined]
    for other in ("remove_incomplete", "list_letters", "directory", "read", "undo_posting"):
        setattr(station.tray, other, dispatch)
    await station.submit(trigger())
    await station.release()
    service = letters(station)
    notices = {notice.channel: notice for notice in await station.notifications()}
    letter, sms = notices["letter"], notices["sms"]  # type: ignore[index]
    for step in (LetterStep.PRINTED, LetterStep.POSTED):
        with pytest.raises(
            OperationRejectedError, match=r"^there is no notification 999; `pantau letters list` lists the letters$"
        ):
            await service.record_step(999, step, "Devi Contoh")
        with pytest.raises(
            OperationRejectedError, match=f"^notification {sms.id} went by sms: there is nothing to print or post$"
        ):
            await service.record_step(sms.id, step, "Devi Contoh")
    assert posted == []

    await service.record_step(letter.id, LetterStep.PRINTED, "Devi Contoh")
    noted = await service.record_step(letter.id, LetterStep.POSTED, "Devi Contoh")
    assert noted == LetterRecord(by="Devi Contoh", at=station.clock.now(), anew=True)
    (after,) = [notice for notice in await station.notifications() if notice.id == letter.id]
    assert after.last_attempt is not None
    assert (posted, after.last_attempt.state) == ([after.last_attempt.reference], AttemptState.SENT)


async def test_a_letter_is_printed_from_its_tray_for_as_long_as_it_lies_there_as_it_was_laid(
    station: Station, tmp_path: Path
) -> None:
    await station.submit(trigger())
    await station.release()
    (notice,) = [each for each in await station.notifications() if each.channel == "letter"]
    (order,) = station.tray.orders
    assert notice.last_attempt is not None
    tray = Tray(TraySettings(directory=Path("surat")), GatewayContext(callback_base=None, directory=str(tmp_path)))
    # What this station composes is a text, whatever the channel.
    assert isinstance(order.content, SmsContent)
    pdf = order.content.text.encode()
    await tray.send(replace(order, content=PageContent(pdf=pdf, title="surat", pages=1)))
    line = ConfiguredGateway(name=notice.last_attempt.gateway, channel=Channel.LETTER, gateway=tray)
    service = letters(station, GatewayPool([line]))

    assert await service.unchanged_pdfs([notice.id, 999]) == {notice.id: pdf}
    (file,) = (tmp_path / "surat").glob("*.pdf")
    file.write_bytes(pdf + b"%")
    assert await service.unchanged_pdfs([notice.id]) == {}
    shutil.rmtree(tmp_path / "surat")
    assert await service.unchanged_pdfs([notice.id]) == {}


async def test_a_letter_that_was_taken_back_does_not_lie_in_a_tray(station: Station) -> None:
    await station.submit(trigger())
    await station.release()
    (letter,) = [notice for notice in await station.notifications() if notice.channel == "letter"]
    await station.advance(timedelta(minutes=1))
    await station.resolve()
    taken_back = (
        f"^the letter of notification {letter.id} was withdrawn, because the incident is resolved: do not post it"
    )
    with pytest.raises(OperationRejectedError, match=taken_back):
        await letters(station).record_step(letter.id, LetterStep.POSTED, "Devi Contoh")
