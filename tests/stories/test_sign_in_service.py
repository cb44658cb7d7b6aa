"""A failed sign-in service: staff are notified, and unknown health is not shown as up."""

from __future__ import annotations

from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from pantau_lab.world import AGENCIES
from tests.stories.in_process_service import Scraped
from tests.stories.running_service import JCM, RunningService, running_service


async def scraped(env: RunningService) -> Scraped:
    async with env.web() as client:
        return Scraped(text=(await client.get("/metrics")).text)


@pytest.mark.blind
@pytest.mark.falsegreen
async def test_sign_in_service_failure_is_notified_to_staff_and_shown_as_unknown(tmp_path: Path) -> None:
    """Defect: A sign-in service that is down answers as for a wrong password.

    Everything stays up, and the NOC gets a fault of our account.

    Pantau: What goes through a refused account is unknown, and staff are notified.
    """
    async with running_service(tmp_path, agencies=AGENCIES[:2]) as env:
        await env.wait_until_up()
        system = env.world.network.systems[JCM.code]

        await system.break_(Fault.PASSWORD)  # for every account, as a dead saslauthd does
        await env.duty.expect_sms("Log masuk e-mel ditolak", "mungkin bagi semua pengguna", "Ruj JCM-01")
        now = await scraped(env)
        assert {now.value("mail_up", agency=JCM.code, direction=each) for each in ("outbound", "inbound")} == {None}
        assert now.value("monitoring_fault", cause="credentials", reference="JCM/utama") == 1
        agencies = {each["agency"]: each for each in await env.get("/agencies")}
        assert [agencies[each.code]["state"] for each in AGENCIES[:2]] == ["unknown", "up"]
        assert [(i["number"], i["type"]) for i in await env.get("/incidents") if i["agency"]] == [("JCM-01", "sign_in")]
        # Nobody else is notified.
        told = {phone.owner for phone in env.world.carrier.phones.values() if phone.inbox or phone.calls}
        assert told == {env.duty.owner}
        assert env.letters() == []

        await system.repair()
        await env.duty.expect_sms("PULIH", "kembali seperti biasa", "Ruj JCM-01")
        await env.wait_until_up()
        assert (await scraped(env)).value("monitoring_fault", cause="credentials", reference="JCM/utama") is None
