"""A duty officer's replies: SMS, voicemail, release by phone, and a false alarm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pantau_lab.carrier.phone import PhoneBehaviour, Sms
from pantau_lab.mail import Fault
from pantau_lab.provider_fault import ReplyFault
from pantau_lab.world import AGENCIES
from tests.stories.running_service import CALLED_ONCE, FAST_TIMING, JCM, RunningService, running_service

#: Long enough that nobody is called before a reply has arrived.
BY_SMS = replace(FAST_TIMING, call_after="10m", release_after="10m")
#: A person releases it soon after the first call.
BY_HAND = replace(FAST_TIMING, release="manual")


def code_in(sms: Sms) -> str:
    """Return the code in an SMS."""
    found = re.search(r"Balas (\d+A) untuk sahkan", sms.text)
    assert found is not None, sms.text
    return found[1]


async def incident(env: RunningService) -> tuple[str, str | None]:
    [one] = await env.get("/incidents")
    return one["state"], one["acknowledged_by"]


#: How replies arrive, and the program of the service.
REPLY_METHODS = [("webhook", ("monitor.cli",)), ("poll", ("tests.stories.short_intervals", "poller"))]


@pytest.mark.parametrize(("replies", "program"), REPLY_METHODS, ids=["webhook", "poll"])
async def test_sms_code_acknowledges_by_callback_and_by_polling(
    tmp_path: Path, replies: str, program: Sequence[str]
) -> None:
    async with running_service(tmp_path, replace(BY_SMS, replies=replies), program=program) as env:
        await env.wait_until_up()
        carrier = env.world.carrier
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        # On a slow machine one direction may be down before the other: then an SMS about that is correct.
        sms = await env.duty.expect_sms("AMARAN", "keluar dan masuk gagal", "Ruj JCM-01")
        code, told_before = code_in(sms), carrier.unexpected()
        assert sms.segments == 1

        await carrier.send_reply(env.duty, "apa ini?")
        await env.duty.expect_sms(f"Jawapan tidak difahami. Balas {code} untuk sahkan JCM-01")
        assert await incident(env) == ("triggered", None)
        await carrier.send_reply(env.duty, f"terima {code.lower()}", ReplyFault.TWICE)
        await env.duty.expect_sms(f"JCM-01 telah disahkan oleh {JCM.duty.name}")
        assert await incident(env) == ("acknowledged", JCM.duty.name)

        await env.world.network.systems[JCM.code].repair()
        await env.duty.expect_sms("PULIH", "JCM-01")
        await carrier.send_reply(env.duty, code)
        await env.duty.expect_sms("JCM-01 telah selesai")
        assert carrier.unexpected() == told_before


async def test_voicemail_counts_as_not_reached_and_call_is_repeated(tmp_path: Path) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        env.duty.behaviour = PhoneBehaviour.VOICEMAIL
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.duty.expect_sms("AMARAN")
        call = await env.duty.expect_call("Tekan satu untuk mengesahkan")
        assert call.keys == ""
        env.duty.behaviour, env.duty.keys = PhoneBehaviour.ANSWERS, ["1"]

        assert await incident(env) == ("triggered", None)
        calls = [n["state"] for n in await env.get("/notifications") if n["channel"] == "voice"]
        assert "delivered" not in calls

        again = await env.duty.expect_call("telah disahkan")
        assert again.keys == "1"
        await env.until_notification("voice", "outage", "delivered")
        assert await incident(env) == ("acknowledged", JCM.duty.name)


async def test_duty_officer_releases_announcement_by_phone(tmp_path: Path) -> None:
    async with running_service(tmp_path, BY_HAND, agencies=AGENCIES[:1]) as env:
        await env.wait_until_up()
        # The first call comes before the release is offered: three menus pass without a key.
        env.duty.keys = ["", "", "", "5", "111111#", "280146#", "1"]
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.duty.expect_sms("AMARAN")
        first = await env.duty.expect_call("Tekan satu untuk mengesahkan")
        assert "Tekan lima" not in first.text
        assert env.faxes() == []

        call = await env.duty.expect_call("telah dikeluarkan")
        assert call.text.count("Tekan lima untuk mengeluarkan notis gangguan") == 2, "before all of it, and after"
        told = [line.text for line in call.spoken if re.search(r"\bPIN\b|\bpenerima\b", line.text)]
        heard = [text for text in told if not text.startswith("Nombor notis")]
        assert any("PIN Pantau diminta hanya jika" in text for text in told), "it does not deny asking for one"
        assert [text.split(",")[0] for text in heard] == [
            "Sila masukkan PIN tuan atau puan",
            "PIN itu tidak betul. Sila masukkan PIN sekali lagi",
            heard[2].split(",")[0],
            "Notis telah dikeluarkan dan sedang dihantar kepada satu penerima. Terima kasih.",
        ]
        assert "kepada satu penerima, iaitu melalui satu faks dan satu surat." in heard[2]
        assert "pada setiap hari bekerja" in heard[2], "it covers what follows"

        await env.until_notification("fax", "outage", "delivered")
        await env.until_notification("letter", "outage", "sent")
        [one] = await env.get("/incidents")
        assert (one["announcement"], one["released_by"], one["state"]) == ("released", JCM.duty.name, "triggered")
        # Six digits may be a fraction of a second.
        written = re.sub(r"timestamp=\S+", "", env.log())
        assert "280146" not in written
        assert "111111" not in written


async def test_false_alarm_is_corrected_on_every_channel_without_recovery(
    tmp_path: Path,
) -> None:
    async with running_service(tmp_path, CALLED_ONCE) as env:
        await env.wait_until_up()
        env.duty.keys = ["1"] * 9
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.duty.expect_sms("AMARAN")
        await env.duty.expect_call("telah disahkan")
        await env.until_notification("fax", "outage", "delivered")
        await env.until_notification("letter", "outage", "sent")
        letter = next(n for n in await env.get("/notifications") if n["channel"] == "letter")
        assert (
            await env.control(f"/notifications/{letter['id']}/posted-unprinted", by="Kerani Contoh")
        ).status_code == 200

        word = {"by": JCM.duty.name, "reason": "pelayan rujukan silap"}
        refused = await env.control("/incidents/JCM-01/false-alarm", **word)
        assert refused.status_code == 409, "it is measured to fail"
        word |= {"despite": refused.json()["despite"]}
        assert (await env.control("/incidents/JCM-01/false-alarm", **word)).status_code == 200
        await env.duty.expect_sms("PEMBETULAN", "Amaran JCM-01 dibatalkan")
        await env.until_notification("fax", "correction", "delivered")
        await env.until_notification("letter", "correction", "sent")

        assert "PEMBATALAN NOTIS GANGGUAN E-MEL RASMI JABATAN CONTOH MALAYSIA" in env.faxes()[1]
        assert (len(env.letters()), len(env.letters("posted"))) == (1, 1)
        await env.world.network.systems[JCM.code].repair()
        await env.wait_until_up()
        assert not [n for n in await env.get("/notifications") if n["purpose"] == "recovery"]
        assert [i["number"] for i in await env.get("/incidents")] == ["JCM-01"], "it was not opened again meanwhile"
        assert env.world.carrier.unexpected() == []
