"""Contract of gateways, tested with every module in `alerts.gateways` over real sockets.

A new gateway adds a bench to `BENCHES`: its simulator, and how to count what has arrived there.
"""

import asyncio
import io
import logging
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alerts.model.channel import ON_PAPER, Channel
from alerts.model.gateway import (
    Content,
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    Gateway,
    GatewayContext,
    GatewayKind,
    PageContent,
    Script,
    SendRequest,
    SmsContent,
    SubmissionNotFound,
    SubmissionState,
    SupportsReplies,
    SupportsWithdrawal,
    Verifiable,
    VoiceContent,
)
from monitor.config.service.gateway import gateway_kinds
from pantau_lab.aggregator import Aggregator, awan, suria
from pantau_lab.callbacks import RecordingCallbackHandler
from pantau_lab.carrier import api as carrier_api
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.faxservice import api as fax_api
from pantau_lab.faxservice.service import FaxService
from pantau_lab.provider_fault import SubmissionFault
from pantau_lab.serving import claimed, serve
from tests import sms_providers
from tests.timeouts import HANG_TIMEOUT

FOUND = gateway_kinds()

#: Looks like a Malaysian number and cannot be one: subscriber numbers never begin with 0.
NUMBER = "+60100000101"
FAX_NUMBER = "+60300000201"
SECRET = "rahsia-yang-tidak-patut-keluar"
#: Timeout in seconds for a provider that does not answer.
ANSWER_TIMEOUT_SECONDS = 2.0
TEXT = "RM0 JPC: E-mel rasmi terganggu sejak 24/11, 2.15 ptg. Sila guna surat, faks atau telefon sahaja. Ruj JPC-07"
PDF = b"%PDF-1.7\n1 0 obj << /Type /Page >> endobj\n%%EOF\n"

CONTENTS: dict[Channel, Content] = {
    Channel.SMS: SmsContent(text=TEXT),
    Channel.VOICE: VoiceContent(
        scripts=(
            Script(
                language="ms-MY",
                blocks=("Perhatian. Ini ialah panggilan makluman automatik.", "E-mel rasmi terganggu."),
                menu="Tekan satu untuk mengesahkan penerimaan.",
                thanks="Penerimaan telah direkodkan.",
                already="Penerimaan telah disahkan oleh pegawai lain.",
                goodbye="Sekian.",
            ),
        )
    ),
    Channel.FAX: PageContent(pdf=PDF, title="Gangguan e-mel JPC-07", pages=1),
    Channel.LETTER: PageContent(pdf=PDF, title="Gangguan e-mel JPC-07", pages=1),
}
ADDRESSES = {
    Channel.SMS: NUMBER,
    Channel.VOICE: NUMBER,
    Channel.FAX: FAX_NUMBER,
    Channel.LETTER: "Ketua Setiausaha, Kementerian Contoh",
}


def kind_of(name: str) -> GatewayKind:
    """Return the gateway kind of a module. A provider may follow after a colon."""
    kind = FOUND[name.partition(":")[0]]
    assert isinstance(kind, GatewayKind)
    return kind


def order_for(channel: Channel, reference: str = "d42-1") -> SendRequest:
    now = datetime.now(UTC)
    return SendRequest(
        reference=reference,
        address=ADDRESSES[channel],
        content=CONTENTS[channel],
        created_at=now,
        expires_at=now + timedelta(minutes=5),
    )


@dataclass(kw_only=True)
class Bench:
    """A gateway's simulator."""

    build: Callable[..., Gateway]
    #: How many submissions have arrived.
    arrived: Callable[[], int]
    settled: Callable[[], Any]
    #: Faults of the next submissions; for gateways over HTTP.
    faults: deque[SubmissionFault] = field(default_factory=deque)
    #: Lets the person at `NUMBER` reply by SMS; for gateways with replies.
    reply: Callable[[str], Awaitable[None]] | None = None


@asynccontextmanager
async def twilio(name: str, directory: Path) -> AsyncIterator[Bench]:
    carrier = Carrier(auth_token=SECRET)
    carrier.phone(NUMBER)
    async with serve(carrier_api.app(carrier)) as base_url:

        def build(**changes: Any) -> Gateway:
            return build_twilio(name, directory, **{"base_url": base_url, **changes})

        yield Bench(
            build=build,
            arrived=lambda: len(carrier.messages) + len(carrier.calls),
            settled=carrier.settled,
            faults=carrier.faults,
            reply=lambda text: carrier.send_reply(carrier.phones[NUMBER], text),
        )


@asynccontextmanager
async def sinch(name: str, directory: Path) -> AsyncIterator[Bench]:
    service = FaxService(key_secret=SECRET)
    service.machine(FAX_NUMBER)
    async with serve(fax_api.app(service)) as base_url:

        def build(**changes: Any) -> Gateway:
            return build_sinch(name, directory, **{"base_url": base_url, **changes})

        yield Bench(build=build, arrived=lambda: len(service.faxes), settled=service.settled, faults=service.faults)


@asynccontextmanager
async def http_sms(name: str, directory: Path) -> AsyncIterator[Bench]:
    account = Aggregator(secret=SECRET)

    async def no_wait() -> None:
        pass

    async def reply(text: str) -> None:
        account.receive(NUMBER, text)

    simulator = {"http_sms:awan": awan, "http_sms:suria": suria}[name]
    async with serve(simulator(account)) as base_url:

        def build(**changes: Any) -> Gateway:
            return build_http_sms(name, directory, **{"base_url": base_url, **changes})

        yield Bench(
            build=build, arrived=lambda: len(account.messages), settled=no_wait, faults=account.faults, reply=reply
        )


@asynccontextmanager
async def tray(name: str, directory: Path) -> AsyncIterator[Bench]:
    async def no_wait() -> None:
        pass

    def build(**changes: Any) -> Gateway:
        kind = kind_of(name)
        settings = kind.config.model_validate({"directory": "letters", **changes})
        return kind.build(settings, GatewayContext(callback_base=None, directory=str(directory)))

    yield Bench(build=build, arrived=lambda: len(list(directory.rglob("*.pdf"))), settled=no_wait)


def build_twilio(name: str, directory: Path, **changes: Any) -> Gateway:
    kind = kind_of(name)
    account = {"account_sid": "AC" + "5" * 32, "auth_token": SECRET, "from_number": "+60300000100"}
    settings = kind.config.model_validate({**account, "deadline_seconds": HANG_TIMEOUT, **changes})
    return kind.build(settings, GatewayContext(callback_base=None, directory=str(directory)))


def build_sinch(name: str, directory: Path, **changes: Any) -> Gateway:
    kind = kind_of(name)
    project = {
        "project_id": "projek-olok-olok",
        "key_id": "kunci",
        "key_secret": SECRET,
        "from_number": "+60300000100",
    }
    settings = kind.config.model_validate({**project, "deadline_seconds": HANG_TIMEOUT, **changes})
    return kind.build(settings, GatewayContext(callback_base=None, directory=str(directory)))


def build_http_sms(name: str, _directory: Path, **changes: Any) -> Gateway:
    return sms_providers.build(
        name.partition(":")[2], **{"secret": SECRET, "deadline_seconds": HANG_TIMEOUT, **changes}
    )


BENCHES: dict[str, Callable[[str, Path], AbstractAsyncContextManager[Bench]]] = {
    "twilio_sms": twilio,
    "twilio_voice": twilio,
    "sinch_fax": sinch,
    "http_sms:awan": http_sms,
    "http_sms:suria": http_sms,
    "tray": tray,
}

#: How a gateway that speaks HTTP is built against any base URL.
OVER_HTTP: dict[str, Callable[..., Gateway]] = {
    "twilio_sms": build_twilio,
    "twilio_voice": build_twilio,
    "sinch_fax": build_sinch,
    "http_sms:awan": build_http_sms,
    "http_sms:suria": build_http_sms,
}

#: The setting with the credential.
CREDENTIAL_SETTING = {"twilio_sms": "auth_token", "twilio_voice": "auth_token", "sinch_fax": "key_secret"}


#: Gateways with replies, and the settings that make them poll.
REPLY_SETTINGS: dict[str, dict[str, Any]] = {
    name: {"replies": "poll"} for name in ("twilio_sms", "http_sms:awan", "http_sms:suria")
}


@pytest.fixture(params=BENCHES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def bench(name: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with BENCHES[name](name, tmp_path) as bench:
        yield bench


@pytest.fixture
async def gateway(bench: Bench) -> AsyncIterator[Gateway]:
    gateway = bench.build()
    yield gateway
    await gateway.close()


@pytest.fixture
def order(name: str) -> SendRequest:
    return order_for(kind_of(name).channel)


def test_module_has_gateway_of_its_own_name(name: str) -> None:
    assert kind_of(name).name == name.partition(":")[0]


def test_every_gateway_has_test_bench() -> None:
    assert set(FOUND) == {name.partition(":")[0] for name in BENCHES}


def test_config_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        kind_of(name).config.model_validate({"tiada": 1})


def test_config_secrets_are_secret_strings(name: str) -> None:
    for setting, about in kind_of(name).config.model_fields.items():
        if any(word in setting for word in ("token", "secret", "password")):
            assert SecretStr.__name__ in str(about.annotation), setting


async def test_send_is_accepted_with_id_and_arrives_once(bench: Bench, gateway: Gateway, order: SendRequest) -> None:
    report = await gateway.send(order)
    await bench.settled()
    assert report.progress is SubmissionState.ACCEPTED
    assert report.provider_id
    assert bench.arrived() == 1


async def test_find_after_restart_returns_submission(bench: Bench, gateway: Gateway, order: SendRequest) -> None:
    sent = await gateway.send(order)
    restarted = bench.build()
    found = await restarted.find(order)
    await restarted.close()
    assert isinstance(found, DeliveryReport)
    assert found.provider_id == sent.provider_id


async def test_find_never_sent_is_not_found(name: str, gateway: Gateway, order: SendRequest) -> None:
    # Only a directory is certain; a provider's index may lag.
    assert await gateway.find(order) == SubmissionNotFound(certain=name == "tray")


async def test_find_earlier_submission_to_same_person_is_not_found(
    name: str, gateway: Gateway, order: SendRequest
) -> None:
    await gateway.send(order)
    now = order.created_at + timedelta(minutes=5)
    later = SendRequest(
        reference="d42-2",
        address=order.address,
        content=order.content,
        created_at=now,
        expires_at=now + timedelta(minutes=5),
    )
    assert isinstance(await gateway.find(later), SubmissionNotFound)


@pytest.mark.parametrize("name", ["twilio_sms", "twilio_voice", "sinch_fax", "tray"])
async def test_verify_sends_nothing_and_raises_on_wrong_credentials_or_answer(name: str, tmp_path: Path) -> None:
    async with BENCHES[name](name, tmp_path) as bench, serve(answering(200)) as invalid_answer:
        gateway = bench.build()
        assert isinstance(gateway, Verifiable)
        await gateway.verify()
        await bench.settled()
        assert bench.arrived() == 0
        if name != "tray":
            for other in (
                bench.build(**{CREDENTIAL_SETTING[name]: "salah"}),
                OVER_HTTP[name](name, tmp_path, base_url=invalid_answer),
            ):
                assert isinstance(other, Verifiable)
                with pytest.raises(DeliveryError):
                    await other.verify()
                await other.close()
        await gateway.close()


async def test_check_returns_receipt(bench: Bench, gateway: Gateway, order: SendRequest) -> None:
    sent = await gateway.send(order)
    await bench.settled()
    report = await gateway.check(order, sent.provider_id or "")
    assert report.provider_id == sent.provider_id
    assert report.progress is not SubmissionState.FAILED


async def test_find_check_and_withdraw_without_content(
    name: str, bench: Bench, gateway: Gateway, order: SendRequest
) -> None:
    """Rendering a page takes 50 ms. An SMS needs its text, because providers do not store our reference."""
    sent = await gateway.send(order)
    await bench.settled()
    without_content = replace(order, content=None)
    if kind_of(name).channel in ON_PAPER:
        assert isinstance(await gateway.find(without_content), DeliveryReport)
    assert (await gateway.check(without_content, sent.provider_id or "")).provider_id == sent.provider_id
    if isinstance(gateway, SupportsWithdrawal):
        await gateway.withdraw(without_content, sent.provider_id or "")


async def test_send_without_content_raises(gateway: Gateway, order: SendRequest) -> None:
    with pytest.raises(TypeError):
        await gateway.send(replace(order, content=None))


def test_only_tray_supports_withdrawal(name: str, gateway: Gateway) -> None:
    assert isinstance(gateway, SupportsWithdrawal) is (name == "tray")


async def test_send_content_of_other_channel_raises(name: str, gateway: Gateway, order: SendRequest) -> None:
    channel = kind_of(name).channel
    other = CONTENTS[Channel.SMS if channel is not Channel.SMS else Channel.LETTER]
    with pytest.raises(TypeError):
        await gateway.send(
            SendRequest(
                reference=order.reference,
                address=order.address,
                content=other,
                created_at=order.created_at,
                expires_at=order.expires_at,
            )
        )


@pytest.mark.parametrize("name", REPLY_SETTINGS)
async def test_collect_passes_replies_with_same_ids_again(name: str, tmp_path: Path) -> None:
    async with BENCHES[name](name, tmp_path) as bench:
        assert bench.reply is not None
        # The local clock is ahead of the provider's.
        since, desk = datetime.now(UTC) + timedelta(minutes=10), RecordingCallbackHandler(reply=TEXT)
        await bench.reply("1A")
        await bench.reply("terima")
        for _ in range(2):
            restarted = bench.build(**REPLY_SETTINGS[name])
            assert isinstance(restarted, SupportsReplies)
            assert restarted.receives_replies
            await restarted.collect(since, desk)
            await restarted.close()
        await bench.settled()
    assert [(said.sender, said.text) for said in desk.received] == [(NUMBER, "1A"), (NUMBER, "terima")]
    assert sorted(desk.repeated) == sorted(said.event_id for said in desk.received)
    assert bench.arrived() == 2, "each reply is answered once"
    assert NUMBER not in repr(desk.received)


async def test_receives_replies_only_when_configured(name: str, gateway: Gateway) -> None:
    built: object = gateway
    assert isinstance(built, SupportsReplies) is (name in REPLY_SETTINGS)
    assert not (isinstance(built, SupportsReplies) and built.receives_replies), "only when configured"


STATUSES = [
    (400, ErrorClass.PERMANENT),
    (401, ErrorClass.CONFIGURATION),
    (402, ErrorClass.CONFIGURATION),
    (403, ErrorClass.CONFIGURATION),
    (404, ErrorClass.CONFIGURATION),
    (422, ErrorClass.PERMANENT),
    (429, ErrorClass.TRANSIENT),
    (302, ErrorClass.CONFIGURATION),
    (500, ErrorClass.UNKNOWN),
    (502, ErrorClass.UNKNOWN),
    (503, ErrorClass.UNKNOWN),
    (504, ErrorClass.UNKNOWN),
]


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize(("status", "expected"), STATUSES)
async def test_http_status_maps_to_error_class(name: str, status: int, expected: ErrorClass, tmp_path: Path) -> None:
    async with serve(answering(status)) as base_url:
        gateway, order = OVER_HTTP[name](name, tmp_path, base_url=base_url), order_for(kind_of(name).channel)
        with pytest.raises(DeliveryError) as submitted:
            await gateway.send(order)
        with pytest.raises(DeliveryError) as asked:
            await gateway.find(order)
        await gateway.close()
    assert submitted.value.error is expected
    assert submitted.value.retry_after == (timedelta(seconds=7) if status >= 400 else None)
    # A query changes nothing, so it can be repeated.
    assert asked.value.error is (ErrorClass.TRANSIENT if expected is ErrorClass.UNKNOWN else expected)


def answering(status: int) -> Starlette:
    async def answer(request: Request) -> Response:
        sent = (await request.body()).decode(errors="replace")
        return JSONResponse({"echo": f"{request.url} {sent}"}, status_code=status, headers={"Retry-After": "7"})

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize("fault", [SubmissionFault.ERROR_AFTER, SubmissionFault.DROP_AFTER, SubmissionFault.HANG_AFTER])
async def test_lost_answer_is_unknown_and_submission_is_found(
    name: str, fault: SubmissionFault, tmp_path: Path
) -> None:
    async with BENCHES[name](name, tmp_path) as bench:
        # The provider must have received the message before the timeout, also on a busy machine.
        without_content = {"deadline_seconds": ANSWER_TIMEOUT_SECONDS} if fault is SubmissionFault.HANG_AFTER else {}
        gateway, order = bench.build(**without_content), order_for(kind_of(name).channel)
        bench.faults.append(fault)
        with pytest.raises(DeliveryError) as raised:
            await gateway.send(order)
        await gateway.close()
        restarted_later = bench.build()
        found = await restarted_later.find(order)
        await restarted_later.close()
        assert raised.value.error is ErrorClass.UNKNOWN
        assert isinstance(found, DeliveryReport)
        assert bench.arrived() == 1


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize(
    "fault",
    [SubmissionFault.ERROR_BEFORE, SubmissionFault.DROP_BEFORE, SubmissionFault.HANG_BEFORE, SubmissionFault.PORTAL],
)
async def test_lost_request_is_unknown_and_submission_is_not_found(
    name: str, fault: SubmissionFault, tmp_path: Path
) -> None:
    async with BENCHES[name](name, tmp_path) as bench:
        without_content = {"deadline_seconds": ANSWER_TIMEOUT_SECONDS} if fault is SubmissionFault.HANG_BEFORE else {}
        gateway, order = bench.build(**without_content), order_for(kind_of(name).channel)
        bench.faults.append(fault)
        with pytest.raises(DeliveryError) as raised:
            await gateway.send(order)
        await gateway.close()
        restarted_later = bench.build()
        assert await restarted_later.find(order) == SubmissionNotFound(certain=False)
        await restarted_later.close()
        assert raised.value.error is ErrorClass.UNKNOWN


@pytest.mark.parametrize("name", OVER_HTTP)
async def test_too_many_requests_is_transient_and_not_sent(name: str, tmp_path: Path) -> None:
    async with BENCHES[name](name, tmp_path) as bench:
        gateway, order = bench.build(), order_for(kind_of(name).channel)
        bench.faults.append(SubmissionFault.TOO_MANY)
        with pytest.raises(DeliveryError) as raised:
            await gateway.send(order)
        assert raised.value.error is ErrorClass.TRANSIENT
        assert bench.arrived() == 0
        await gateway.send(order)
        assert bench.arrived() == 1
        await gateway.close()


@pytest.mark.parametrize("name", OVER_HTTP)
async def test_connection_refused_is_transient(name: str, tmp_path: Path) -> None:
    with claimed(1) as (port,):
        gateway = OVER_HTTP[name](name, tmp_path, base_url=f"http://127.0.0.1:{port}")
        with pytest.raises(DeliveryError) as raised:
            await gateway.send(order_for(kind_of(name).channel))
    await gateway.close()
    assert raised.value.error is ErrorClass.TRANSIENT


@pytest.mark.parametrize("name", OVER_HTTP)
async def test_send_cancellation_propagates(name: str, tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def hang(_: Request) -> Response:
        arrived.set()
        await asyncio.Event().wait()
        return Response()

    async with serve(Starlette(routes=[Route("/{path:path}", hang, methods=["GET", "POST"])])) as base_url:
        gateway = OVER_HTTP[name](name, tmp_path, base_url=base_url, deadline_seconds=30)
        sending = asyncio.create_task(gateway.send(order_for(kind_of(name).channel)))
        await arrived.wait()
        sending.cancel()
        async with asyncio.timeout(HANG_TIMEOUT):
            with pytest.raises(asyncio.CancelledError):
                await sending
        await gateway.close()


@pytest.mark.parametrize("name", OVER_HTTP)
async def test_wrong_credentials_are_configuration_error(name: str, tmp_path: Path) -> None:
    async with BENCHES[name](name, tmp_path) as bench:
        gateway = bench.build(**{CREDENTIAL_SETTING.get(name, "secret"): "salah-sama-sekali"})
        with pytest.raises(DeliveryError) as raised:
            await gateway.send(order_for(kind_of(name).channel))
        await gateway.close()
    assert raised.value.error is ErrorClass.CONFIGURATION


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize("status", [400, 401, 429, 500, 302, 200])
async def test_errors_and_logs_contain_no_secret_number_or_text(
    name: str, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serve(answering(status)) as base_url:
        gateway, order = OVER_HTTP[name](name, tmp_path, base_url=base_url), order_for(kind_of(name).channel)
        errors = [await refused(gateway.send(order)), await refused(gateway.find(order))]
        visible = "".join(everything_shown(error) for error in errors) + repr(gateway) + repr(order) + caplog.text
        await gateway.close()
    for private in (SECRET, order.address, order.address[-7:], "terganggu", PDF.decode()[:8]):
        assert private not in visible


async def refused(call: Any) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        await call
    return raised.value


def everything_shown(error: BaseException) -> str:
    """Return everything that a log could show: the chain of causes and contexts, and their attributes."""
    story = io.StringIO()
    traceback.TracebackException.from_exception(error).print(file=story, chain=True)
    chain: Sequence[BaseException | None] = [error, error.__cause__, error.__context__]
    return story.getvalue() + "".join(repr(link) + str(vars(link)) for link in chain if link)
