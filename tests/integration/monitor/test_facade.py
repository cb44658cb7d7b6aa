"""Service facade and letters: readiness, printed and posted letters."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from alerts.decide.paper import LetterStep
from alerts.engine.gateway_pool import ConfiguredGateway, GatewayPool
from alerts.gateways.tray import Tray, TraySettings
from alerts.model.channel import Channel
from alerts.model.delivery import AttemptState
from alerts.model.gateway import GatewayContext, PageContent, SmsContent, SubmissionState
from monitor.evaluation.liveness import LivenessFailure
from monitor.service.errors import OperationRejectedError
from monitor.service.facade import ServiceFacade
from monitor.service.operation_check import OperationCheck
from monitor.service.paper.letters import LetterRecord, Letters
from monitor.service.probing_runtime import ProbingRuntime
from tests.integration.alerts.dispatcher_env import DispatcherEnv, open_dispatcher_env
from tests.unit.alerts.people import trigger
from tests.unit.alerts.probe_runs import FakeProbeRuns


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[DispatcherEnv]:
    async with open_dispatcher_env(tmp_path) as made:
        yield made


def facade(station: DispatcherEnv) -> ServiceFacade:
    settings = SimpleNamespace(notifies=True)
    runtime = cast(ProbingRuntime, SimpleNamespace(configuration=SimpleNamespace(settings=settings)))
    others = dict.fromkeys(("status_reader", "callback_handlers", "composer", "metrics", "reload"), cast(Any, None))
    store = cast(Any, station.store and station.store._inner)
    return ServiceFacade(
        store=store,
        operation_check=OperationCheck(store=store, clock=station.clock, measure_mail=FakeProbeRuns().measure),
        dispatcher=station.dispatcher,
        pool=station.pool,
        clock=station.clock,
        runtime=lambda: runtime,
        **others,
    )


@pytest.mark.blind
async def test_not_ready_reason_stopped_engine_is_stated(station: DispatcherEnv) -> None:
    """Defect: `/-/ready` is 200 for 12.5 minutes while the engine stands still.

    Pantau: It is 503 and names the part, as the heartbeat does.
    """
    found = facade(station)
    station.dispatcher.is_running = True
    assert found.not_ready_reason() is None
    found._liveness_failures = lambda: frozenset({LivenessFailure.ENGINE})
    assert found.not_ready_reason() == "the engine has stopped: nobody is notified"


def letters(station: DispatcherEnv, pool: GatewayPool | None = None) -> Letters:
    return Letters(
        store=cast(Any, station.store._inner),
        pool=pool or station.pool,
        dispatcher=station.dispatcher,
        metrics=cast(Any, None),
        clock=station.clock,
        hours=cast(Any, None),
    )


async def test_record_step_letter_in_tray_is_posted_once_and_others_rejected(station: DispatcherEnv) -> None:
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


async def test_unchanged_pdfs_returns_letter_only_while_unchanged_in_tray(
    station: DispatcherEnv, tmp_path: Path
) -> None:
    await station.submit(trigger())
    await station.release()
    (notice,) = [each for each in await station.notifications() if each.channel == "letter"]
    (order,) = station.tray.orders
    assert notice.last_attempt is not None
    tray = Tray(TraySettings(directory=Path("surat")), GatewayContext(callback_base=None, directory=str(tmp_path)))
    # This station composes a text for every channel.
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


async def test_record_step_withdrawn_letter_is_rejected(station: DispatcherEnv) -> None:
    await station.submit(trigger())
    await station.release()
    (letter,) = [notice for notice in await station.notifications() if notice.channel == "letter"]
    await station.advance(timedelta(minutes=1))
    await station.resolve()
    withdrawn = (
        f"^the letter of notification {letter.id} was withdrawn, because the incident is resolved: do not post it"
    )
    with pytest.raises(OperationRejectedError, match=withdrawn):
        await letters(station).record_step(letter.id, LetterStep.POSTED, "Devi Contoh")
