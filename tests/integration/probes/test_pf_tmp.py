import pytest
from tests.integration.probes.trip import between
from tests.real.mailserver import REFERENCE
pytestmark = pytest.mark.real
async def test_x(mail_server):
    import asyncio
    box = mail_server.mailbox("penerima-keluar")
    async with between(mail_server.mailbox("semakan", domain=REFERENCE), box) as trips:
        print((await trips.run()).outcome)
        await asyncio.sleep(1)
    await asyncio.sleep(1)
    print([l for l in mail_server.log().splitlines() if "penerima-keluar" in l and "imap" in l])
