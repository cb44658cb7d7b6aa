"""`pantau incident-record` and `pantau purge` with a running service."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.persistence.audit import ChainHead
from monitor.audit.archive import Archive
from monitor.cli.service import LONG_TIMEOUT, request
from monitor.store.admin.purge import PurgeSet
from monitor.web.command.records import record_commands
from tests.unit.monitor.cli.office import IssuingOffice
from tests.unit.monitor.web.fake_service import Service

FILES = {"JCM-01.pdf": b"%PDF", "seal.json": b'{"entry": {"number": 7, "hash": "ab12"}}'}


@dataclass
class Records(Archive):
    """The records of one incident."""

    orders: list[tuple[str, ...]] = field(default_factory=list)
    incidents: Sequence[tuple[int, str]] = ((1, "JCM-01"), (2, "MDC-01"))

    async def head(self) -> ChainHead:
        return ChainHead()

    async def entries(self, after: int) -> Sequence[Mapping[str, Any]]:
        return []

    async def incident_record(self, number: str, by: str) -> Mapping[str, bytes] | None:
        self.orders.append(("dossier", number, by))
        return FILES if number == "JCM-01" else None

    async def purge_set(self, before: datetime) -> PurgeSet:
        self.orders.append(("look", before.astimezone(UTC).isoformat()))
        return PurgeSet(incidents=self.incidents, notification_ids=[1, 2, 3], entry_ids=[])

    async def purge(self, before: datetime, authority: str, by: str) -> str:
        self.orders.append(("purge", authority, by))
        return "2/3/0"


@asynccontextmanager
async def running(office: IssuingOffice) -> AsyncIterator[Records]:
    archive = Records()
    async with office.open(Service(), record_commands(archive)):
        yield archive


async def test_incident_record_is_written_with_owner_only_permissions(office: IssuingOffice, tmp_path: Path) -> None:
    place = tmp_path / "files" / "jcm"
    place.parent.mkdir()
    async with running(office) as archive:
        code, output = await office.ask(
            "incident-record", "jcm-01", "--output", str(place), "--by", "Puan Arkib Contoh"
        )
        assert (code, output.startswith(f"{place}: JCM-01.pdf, seal.json. TERHAD")) == (0, True)
        assert "Its head: 7:ab12." in output
        # A second time, over files that others can read.
        (place / "JCM-01.pdf").chmod(0o644)
        await office.ask("incident-record", "JCM-01", "--output", str(place))

    assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert archive.orders[0] == ("dossier", "JCM-01", "Puan Arkib Contoh")


async def test_incident_record_unknown_incident_is_reported(office: IssuingOffice, tmp_path: Path) -> None:
    async with running(office):
        code, output = await office.ask("incident-record", "JCM-99", "--output", str(tmp_path / "none"))
    assert (code, output) == (1, "there is no incident JCM-99; `pantau incidents` lists them\n")
    assert not (tmp_path / "none").exists()


async def test_incident_record_unwritable_path_is_reported(office: IssuingOffice, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with running(office):
        code, output = await office.ask("incident-record", "JCM-01", "--output", str(tmp_path / "file" / "below"))
    assert (code, output) == (1, f"{tmp_path / 'file' / 'below'} cannot be written: Not a directory\n")


PURGE = ("purge", "--before", "2019-01-01", "--authority", "ANM.600-1/7/3 (12)", "--by", "Puan Arkib Contoh")


async def test_purge_invalid_date_is_refused(office: IssuingOffice) -> None:
    code, output = await office.ask("purge", "--before", "2019-13-01", *PURGE[3:])
    assert (code, "'--before': '2019-13-01' is not a date; write 2019-12-31" in output) == (2, True)


async def test_purge_without_confirm_is_dry_run(office: IssuingOffice) -> None:
    async with running(office) as archive:
        code, output = await office.ask(*PURGE)
    assert code == 0
    assert "Incidents: JCM-01 MDC-01" in output
    assert "To be deleted: 2 incidents, 3 notifications, 0 audit log entries. Nothing is deleted yet." in output
    assert output.rstrip().endswith("--confirm 2/3/0")
    # The day starts at midnight in Malaysia.
    assert archive.orders == [("look", "2018-12-31T16:00:00+00:00")]


async def test_purge_with_confirmed_counts_is_carried_out(office: IssuingOffice) -> None:
    async with running(office) as archive:
        code, output = await office.ask(*PURGE, "--confirm", "2/3/0")
    assert code == 0
    assert (
        output == "Purged on the authority of ANM.600-1/7/3 (12): 2 incidents, 3 notifications, 0 audit log entries.\n"
    )
    assert archive.orders[-1] == ("purge", "ANM.600-1/7/3 (12)", "Puan Arkib Contoh")


@dataclass
class SlowRecords(Records):
    """An archive whose purge takes long."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def purge(self, before: datetime, authority: str, by: str) -> str:
        self.asked.set()
        await self.done.wait()
        return await super().purge(before, authority, by)


async def test_purge_has_longer_timeout_than_other_commands(office: IssuingOffice) -> None:
    archives = SlowRecords()
    disposal = {"before": "2019-01-01T00:00:00+08:00", "authority": "ANM.600-1/7/3 (12)", "by": "x", "confirm": "2/3/0"}
    async with office.open(Service(), record_commands(archives)):
        # With the timeout of other requests the client gives up, and the service continues.
        with pytest.raises(httpx.ReadTimeout):
            await asyncio.to_thread(request, office.socket, "POST", "/purge", disposal, timeout=0.1)
        archives.asked.clear()
        purging = asyncio.create_task(office.ask(*PURGE, "--confirm", "2/3/0"))
        await archives.asked.wait()
        archives.done.set()
        assert (await purging)[0] == 0
    assert timedelta(minutes=10).total_seconds() < LONG_TIMEOUT


async def test_purge_with_changed_counts_deletes_nothing(office: IssuingOffice) -> None:
    async with running(office) as archive:
        code, output = await office.ask(*PURGE, "--confirm", "1/3/0")
    assert (code, output) == (1, "the counts are now 2/3/0 and not 1/3/0: run the command again without --confirm\n")
    assert [order[0] for order in archive.orders] == ["look"]


@pytest.mark.parametrize("missing", ["--before", "--authority", "--by"])
async def test_purge_requires_date_authority_and_name(office: IssuingOffice, missing: str) -> None:
    place = PURGE.index(missing)
    async with running(office) as archive:
        code, output = await office.ask(*PURGE[:place], *PURGE[place + 2 :])
    assert code == 2
    assert missing in output
    assert archive.orders == []


@pytest.mark.parametrize(("authority", "by"), [("  ", "Puan Arkib Contoh"), ("ANM.600-1/7/3 (12)", " ")])
async def test_purge_blank_authority_or_name_is_refused(office: IssuingOffice, authority: str, by: str) -> None:
    async with running(office) as archive:
        code, _ = await office.ask("purge", "--before", "2019-01-01", "--authority", authority, "--by", by)
    assert code == 2
    assert archive.orders == []


async def test_purge_date_in_future_is_refused(office: IssuingOffice) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    async with running(office) as archive:
        code, output = await office.ask(
            "purge", "--before", tomorrow, "--authority", "ANM 1", "--by", "Puan Arkib Contoh"
        )
    assert (code, output) == (2, "--before: must not be in the future\n")
    assert archive.orders == []
