"""Replies by SMS, by webhook and by polling, and the release in a call. Over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from alerts.gateways.twilio import sms as twilio_sms
from alerts.gateways.twilio import voice as twilio_voice
from alerts.model.gateway import (
    DeliveryError,
    ErrorClass,
    GatewayContext,
    InboundSms,
    Script,
    SendRequest,
    SmsContent,
    SupportsReplies,
    VoiceContent,
)
from alerts.provider import InboxPoll
from pantau_lab.callbacks import CallbackListener, RecordingCallbackHandler
from pantau_lab.carrier.api import app
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.carrier.phone import Phone
from pantau_lab.provider_fault import ReplyFault
from pantau_lab.serving import serve

SITI, RAVI = "+60100000101", "+60100000102"
OWN_NUMBER = "+60300000100"
THANKS = "RM0 JPC: JPC-07 telah disahkan oleh Siti Contoh. Terima kasih."


@dataclass(kw_only=True)
class World:
    carrier: Carrier
    desk: RecordingCallbackHandler
    listener: CallbackListener
    sms: twilio_sms.TwilioSms
    voice: twilio_voice.TwilioVoice

    @property
    def heard(self) -> list[tuple[str, str]]:
        return [(said.sender, said.text) for said in self.desk.received]

    def phone(self, number: str = SITI, **how: Any) -> Phone:
        return self.carrier.phone(number, **how)

    async def poll(self, since: datetime | None = None) -> None:
        await self.sms.collect(since or datetime.now(UTC) - timedelta(minutes=5), self.desk)
        await self.carrier.settled()


@asynccontextmanager
async def world(replies: str) -> AsyncIterator[World]:
    carrier, desk = Carrier(), RecordingCallbackHandler()
    listener = CallbackListener(handler=desk)
    async with AsyncExitStack() as stack:
        listener.public_base = await stack.enter_async_context(serve(listener.app()))
        api = await stack.enter_async_context(serve(app(carrier)))
        account = {"account_sid": carrier.account_sid, "auth_token": carrier.auth_token, "from_number": OWN_NUMBER}
        base = listener.public_base
        reachable = replies != "poll"
        if reachable:
            carrier.incoming_url = f"{base}/sms/sms"

        def context_of(name: str) -> GatewayContext:
            return GatewayContext(callback_base=f"{base}/{name}" if reachable else None, directory=".")

        sms = twilio_sms.TwilioSms(
            twilio_sms.TwilioSmsSettings.model_validate({**account, "base_url": api, "replies": replies}),
            context_of("sms"),
        )
        voice = twilio_voice.TwilioVoice(
            twilio_voice.TwilioVoiceSettings.model_validate({**account, "base_url": api}), context_of("voice")
        )
        listener.gateways |= {"sms": sms, "voice": voice}
        stack.push_async_callback(sms.close)
        stack.push_async_callback(voice.close)
        yield World(carrier=carrier, desk=desk, listener=listener, sms=sms, voice=voice)
        await carrier.settled()
        assert carrier.errors == []


# -- by SMS ----------------------------------------------------------------------------------------------------------


async def test_reply_by_webhook_is_answered_from_same_number() -> None:
    async with world("webhook") as play:
        play.desk.reply = THANKS
        siti = play.phone()
        await play.carrier.send_reply(siti, "1A")
        sms = await siti.expect_sms(THANKS)

        assert (play.heard, sms.sender) == ([(SITI, "1A")], OWN_NUMBER)


async def test_reply_is_polled_without_public_address() -> None:
    async with world("poll") as play:
        play.desk.reply = THANKS
        siti = play.phone()
        await play.carrier.send_reply(siti, "1A")
        assert play.heard == []

        await play.poll()
        await siti.expect_sms(THANKS)
        await play.poll()

        assert (play.heard, siti.unexpected()) == ([(SITI, "1A")], [])


async def test_replies_are_all_received_before_first_thanks() -> None:
    class CountingHandler(RecordingCallbackHandler):
        async def receive(self, sms: InboundSms) -> SmsContent | None:
            thanked.append(len(play.carrier.messages))
            return await super().receive(sms)

    thanked: list[int] = []
    async with world("poll") as play:
        play.desk = CountingHandler(reply=THANKS)
        people = [play.phone(), play.phone(RAVI)]
        for person in people:
            await play.carrier.send_reply(person, "1A")
        await play.poll()
        for person in people:
            await person.expect_sms(THANKS)

    assert thanked == [0, 0], "a slow provider delays no acknowledgement"


async def test_reply_without_response_gets_none() -> None:
    for replies in ("webhook", "poll"):
        async with world(replies) as play:
            siti = play.phone()
            await play.carrier.send_reply(siti, "STOP")
            await play.poll()

            assert (play.heard, siti.inbox) == ([(SITI, "STOP")], [])


async def test_reply_posted_twice_has_same_event_id() -> None:
    async with world("webhook") as play:
        play.desk.reply = THANKS
        siti = play.phone()
        await play.carrier.send_reply(siti, "1A", ReplyFault.TWICE)
        await siti.expect_sms(THANKS)

        assert (len(play.desk.received), len(play.desk.repeated), siti.unexpected()) == (1, 1, [])


async def test_poll_after_restart_has_same_event_id() -> None:
    async with world("poll") as play:
        await play.carrier.send_reply(play.phone(), "1A")
        await play.poll()
        play.sms._inbox_poll = InboxPoll()
        await play.poll()

        assert [said.event_id for said in play.desk.received] == play.desk.repeated


async def test_late_replies_are_all_collected() -> None:
    async with world("poll") as play:
        siti, ravi = play.phone(), play.phone(RAVI)
        await play.carrier.send_reply(siti, "1A", ReplyFault.HELD)
        await play.carrier.send_reply(ravi, "2A", ReplyFault.HELD)
        await play.poll()
        assert play.heard == []

        await play.carrier.let_through(newest_first=True)
        await play.poll()
        assert sorted(play.heard) == [(SITI, "1A"), (RAVI, "2A")]


async def test_poll_skips_older_replies_and_own_messages() -> None:
    async with world("poll") as play:
        await play.carrier.send_reply(play.phone(), "1A")
        await play.poll(since=datetime.now(UTC) + timedelta(hours=2))

        assert play.heard == []


async def test_reply_without_store_is_kept_and_not_thanked() -> None:
    async with world("poll") as play:
        play.desk.broken, play.desk.reply = OSError("the store is away"), THANKS
        siti = play.phone()
        await play.carrier.send_reply(siti, "1A")
        with pytest.raises(OSError, match="away"):
            await play.poll()
        assert siti.inbox == []

        play.desk.broken = None
        await play.poll()
        await siti.expect_sms(THANKS)


async def test_poll_refused_by_provider_raises_configuration_error() -> None:
    async with world("poll") as play:
        play.carrier.auth_token = "token-lain"
        with pytest.raises(DeliveryError) as refused:
            await play.poll()

        assert refused.value.error is ErrorClass.CONFIGURATION


@pytest.mark.parametrize(
    "form", [{"From": SITI, "To": "+60300000199"}, {"To": OWN_NUMBER}, {"From": SITI, "To": OWN_NUMBER}]
)
async def test_reply_unsigned_is_refused(form: dict[str, str]) -> None:
    async with world("webhook") as play:
        url = f"{play.listener.public_base}/sms/sms"
        async with httpx.AsyncClient(trust_env=False) as client:
            unsigned = await client.post(url, data={**form, "Body": "1A", "MessageSid": "SM1"})
        assert (unsigned.status_code, play.heard) == (403, [])


@pytest.mark.parametrize(
    ("replies", "base", "expected"),
    [
        ("off", "https://pantau.example", False),
        ("webhook", "https://pantau.example", True),
        ("webhook", None, False),
        ("poll", None, True),
    ],
)
async def test_receives_replies_only_with_poll_or_reachable_webhook(
    replies: str, base: str | None, *, expected: bool
) -> None:
    settings = {"account_sid": "AC" + "5" * 32, "auth_token": "rahsia", "from_number": OWN_NUMBER, "replies": replies}
    gateway: object = twilio_sms.GATEWAY.build(
        twilio_sms.TwilioSmsSettings.model_validate(settings), GatewayContext(callback_base=base, directory=".")
    )
    assert isinstance(gateway, SupportsReplies)
    assert gateway.receives_replies is expected
    await gateway.close()  # type: ignore[attr-defined]


def test_replies_to_sender_name_are_rejected() -> None:
    account = {"account_sid": "AC" + "5" * 32, "auth_token": "rahsia", "from_number": "PANTAU", "replies": "poll"}
    with pytest.raises(ValidationError, match="write off, or a number under from_number"):
        twilio_sms.TwilioSmsSettings.model_validate(account)


# -- release in a call -----------------------------------------------------------------------------------------------


def script(*, may_release: bool) -> VoiceContent:
    malay = Script(
        language="ms-MY",
        blocks=("Perhatian.",),
        menu="Tekan satu, dua, tiga" + (", atau lima." if may_release else "."),
        thanks="Direkodkan.",
        already="Telah disahkan.",
        goodbye="Sekian.",
        may_release=may_release,
    )
    return VoiceContent(scripts=(malay,))


async def call(play: World, keys: list[str], *, may_release: bool = True) -> str:
    """Call a phone that presses *keys*, and return the text spoken after the first key."""
    content = play.desk.contents["d1-1"] = script(may_release=may_release)
    phone, now = play.phone(keys=keys), datetime.now(UTC)
    send_request = SendRequest(
        reference="d1-1", address=SITI, content=content, created_at=now, expires_at=now + timedelta(minutes=5)
    )
    await play.voice.send(send_request)
    made = await phone.expect_call()
    await play.carrier.settled()
    return " / ".join(line.text for line in made.spoken if not line.text.startswith(("Perhatian", "Tekan")))


async def test_release_needs_key_five_pin_and_key_one() -> None:
    async with world("off") as play:
        said = await call(play, ["5", "280146#", "1"])

        assert play.desk.released == ["d1-1"]
        assert said == ("ms-MY: masukkan PIN / ms-MY: akan dihantar kepada dua penerima / ms-MY: telah dikeluarkan")
        assert not any(heard.acknowledged for heard in play.desk.events), "a release acknowledges nothing"


@pytest.mark.parametrize("keys", [["5", "280146#", "2"], ["5", "280146#", ""], ["5", ""], ["5", "280146#"], ["5"]])
async def test_release_without_final_key_one_is_not_given(keys: list[str]) -> None:
    async with world("off") as play:
        said = await call(play, keys)

        assert play.desk.released == []
        assert said.endswith("ms-MY: tidak dikeluarkan")


async def test_release_three_wrong_pins_end_call() -> None:
    async with world("off") as play:
        said = await call(play, ["5", "111111#", "222222#", "333333#", "280146#", "1"])

        assert (play.desk.released, play.desk.wrong_pins) == ([], 3)
        assert said.count("PIN salah") == 3


async def test_release_not_offered_ignores_key_five() -> None:
    async with world("off") as play:
        said = await call(play, ["5", "280146#", "1"], may_release=False)

        assert "PIN" not in said
        assert play.desk.released == []
