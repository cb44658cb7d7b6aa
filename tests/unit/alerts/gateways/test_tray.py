"""Tray of letters: each is complete, written once and traceable."""

import asyncio
import fcntl
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from alerts.gateways.tray import Tray, TraySettings
from alerts.model.gateway import (
    CallbackRejectedError,
    CallbackRequest,
    DeliveryError,
    DeliveryReport,
    ErrorClass,
    GatewayContext,
    PageContent,
    SendRequest,
    SubmissionNotFound,
    SubmissionState,
    SupportsManualPosting,
)
from pantau_lab.callbacks import RecordingCallbackHandler

LETTER = PageContent(pdf=b"%PDF-1.7 surat\n" * 100, title="Pemakluman Gangguan E-mel", pages=2)


def order(reference: str = "d42-1", *, address: str = "Ketua Setiausaha, Kementerian Contoh") -> SendRequest:
    return SendRequest(
        reference=reference,
        address=address,
        content=LETTER,
        # 4.30 on the 25th in Malaysia.
        created_at=datetime(2026, 11, 24, 20, 30, tzinfo=UTC),
        expires_at=datetime(2026, 12, 1, tzinfo=UTC),
    )


@pytest.fixture
def tray(tmp_path: Path) -> Tray:
    return Tray(TraySettings(directory=Path("letters")), GatewayContext(callback_base=None, directory=str(tmp_path)))


def files(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path / "letters")) for path in tmp_path.rglob("*") if path.is_file())


NAME = "2026-11-25_d42-1_pemakluman-gangguan-e-mel-ketua-setiausaha-kementerian-contoh.pdf"


async def test_send_writes_letter_with_readable_name(tray: Tray, tmp_path: Path) -> None:
    report = await tray.send(order())
    assert report == DeliveryReport(progress=SubmissionState.ACCEPTED, provider_id="d42-1")
    assert files(tmp_path) == [NAME]
    assert (tmp_path / "letters" / NAME).read_bytes() == LETTER.pdf
    assert (tmp_path / "letters" / NAME).stat().st_mode & 0o777 == 0o640


async def test_send_same_reference_twice_writes_one_letter(tray: Tray, tmp_path: Path) -> None:
    await tray.send(order())
    await tray.send(order(address="Another name after a correction"))
    await tray.record_posting("d42-1")
    report = await tray.send(order())
    assert report.progress is SubmissionState.SENT
    assert files(tmp_path) == [f"posted/{NAME}"]


async def test_references_with_common_prefix_are_different_letters(tray: Tray, tmp_path: Path) -> None:
    await tray.send(order("d42-11"))
    assert await tray.find(order("d42-1")) == SubmissionNotFound(certain=True)
    await tray.send(order("d42-1"))
    assert len(files(tmp_path)) == 2


async def test_letter_is_sent_once_posting_is_recorded(tray: Tray) -> None:
    await tray.send(order())
    assert isinstance(tray, SupportsManualPosting)
    assert await tray.record_posting("d42-1")
    assert (await tray.check(order(), "d42-1")).progress is SubmissionState.SENT
    assert await tray.record_posting("d42-1")
    assert not await tray.withdraw(order(), "d42-1")


async def test_unposted_letter_is_withdrawn(tray: Tray, tmp_path: Path) -> None:
    await tray.send(order())
    assert await tray.withdraw(order(), "d42-1")
    assert await tray.withdraw(order(), "d42-1")
    assert not await tray.record_posting("d42-1")
    report = await tray.check(order(), "d42-1")
    assert (report.progress, report.code) == (SubmissionState.FAILED, "withdrawn")
    assert files(tmp_path) == [f"withdrawn/{NAME}"]


async def test_concurrent_posting_and_withdrawal_have_one_winner(tray: Tray, tmp_path: Path) -> None:
    for number in range(20):
        reference = f"d{number}-1"
        await tray.send(order(reference))
        posted, withdrawn = await asyncio.gather(
            tray.record_posting(reference), tray.withdraw(order(reference), reference)
        )
        assert posted is not withdrawn


async def test_withdrawn_letter_already_posted_is_recorded_as_posted(tray: Tray, tmp_path: Path) -> None:
    await tray.send(order())
    assert await tray.withdraw(order(), "d42-1")
    assert not await tray.record_posting("d42-1")
    assert await tray.record_posting("d42-1", already_posted=True)
    assert files(tmp_path) == [f"posted/{NAME}"]
    assert (await tray.check(order(), "d42-1")).progress is SubmissionState.SENT


async def test_read_returns_unposted_letters_under_any_name_within_size_limit(tray: Tray, tmp_path: Path) -> None:
    for reference in ("d42-1", "d42-11", "d43-1", "d44-1"):
        await tray.send(order(reference))
    await tray.record_posting("d43-1")
    in_tray = tmp_path / "letters" / NAME
    in_tray.rename(in_tray.with_name(f"dicetak {NAME}"))
    (tmp_path / "letters" / NAME.replace("d42-1", "d44-1")).write_bytes(b"x" * (5 * 1024 * 1024))
    assert await tray.read(["d42-1", "d43-1", "d44-1", "d45-1"]) == {"d42-1": LETTER.pdf}


async def test_read_missing_tray_raises_error(tray: Tray) -> None:
    with pytest.raises(DeliveryError, match="No such file"):
        await tray.read(["d42-1"])


async def test_check_removed_letter_is_unknown_error(tray: Tray, tmp_path: Path) -> None:
    await tray.send(order())
    (tmp_path / "letters" / NAME).unlink()
    with pytest.raises(DeliveryError) as raised:
        await tray.check(order(), "d42-1")
    assert (raised.value.error, raised.value.code) == (ErrorClass.UNKNOWN, "missing")


@pytest.mark.parametrize("name", ["dipos {}", "{} (salinan)", "sudah pos - {} - Devi"])
@pytest.mark.parametrize("ending", [".pdf", ".PDF"])
async def test_renamed_letter_is_still_found_by_reference(tray: Tray, tmp_path: Path, name: str, ending: str) -> None:
    await tray.send(order())
    posted = tmp_path / "letters" / "posted"
    posted.mkdir()
    in_tray = tmp_path / "letters" / NAME
    in_tray.rename(posted / f"{name.format(in_tray.stem)}{ending}")
    assert [reference for reference, _ in await tray.list_letters()] == ["d42-1"]
    assert (await tray.check(order(), "d42-1")).progress is SubmissionState.SENT
    assert await tray.find(order("d42-2")) == SubmissionNotFound(certain=True)


async def test_unwritable_tray_error_states_reason_without_addressee(tray: Tray, tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("a file where the tray should be")
    with pytest.raises(DeliveryError) as raised:
        await tray.send(order())
    assert raised.value.error is ErrorClass.CONFIGURATION
    assert "kementerian" not in f"{raised.value}{raised.value.__cause__}".lower()


@pytest.mark.parametrize("reference", ["../d42-1", "d42-1/x", "", ".", "d_42", "*"])
async def test_unsafe_reference_is_rejected(tray: Tray, reference: str) -> None:
    assert not await tray.record_posting(reference)
    with pytest.raises(ValueError, match="not safe"):
        await tray.send(order(reference))


async def test_title_without_latin_letters_has_default_file_name(tray: Tray, tmp_path: Path) -> None:
    letter = PageContent(pdf=b"%PDF-", title="通知", pages=1)
    now = datetime(2026, 11, 24, tzinfo=UTC)
    await tray.send(SendRequest(reference="d1-1", address="部长", content=letter, created_at=now, expires_at=now))
    assert files(tmp_path) == ["2026-11-24_d1-1_surat.pdf"]


async def test_tray_rejects_callbacks(tray: Tray) -> None:
    incoming = CallbackRequest(path="status/d1-1", url="", form={}, headers={}, body=b"")
    with pytest.raises(CallbackRejectedError):
        await tray.handle_callback(incoming, RecordingCallbackHandler())


KILLED_BEFORE_THE_RENAME = """
import asyncio, os, pathlib, signal, sys
sys.path[:0] = [{tests!r}]
from test_tray import order
from alerts.model.gateway import GatewayContext
from alerts.gateways.tray import Tray, TraySettings

pathlib.Path.rename = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
tray = Tray(TraySettings(directory="letters"), GatewayContext(callback_base=None, directory={directory!r}))
asyncio.run(tray.send(order()))
"""


@pytest.mark.crash
async def test_send_killed_before_rename_leaves_no_letter_and_retry_cleans_up(tray: Tray, tmp_path: Path) -> None:
    program = KILLED_BEFORE_THE_RENAME.format(tests=str(Path(__file__).parent), directory=str(tmp_path))
    killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert [name for name in files(tmp_path) if name.endswith(".pdf")] == []
    assert len(files(tmp_path)) == 1
    assert await tray.find(order()) == SubmissionNotFound(certain=True)
    await tray.send(order())
    assert files(tmp_path) == [NAME]


@pytest.mark.crash
async def test_remove_incomplete_removes_files_of_killed_process(tray: Tray, tmp_path: Path) -> None:
    program = KILLED_BEFORE_THE_RENAME.format(tests=str(Path(__file__).parent), directory=str(tmp_path))
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False, timeout=60)
    assert [name.endswith(".part") for name in files(tmp_path)] == [True]
    await tray.remove_incomplete()
    assert files(tmp_path) == []


async def test_remove_incomplete_keeps_locked_file(tray: Tray, tmp_path: Path) -> None:
    await tray.send(order("d1-1"))
    theirs = tmp_path / "letters" / ".d2-1_x.part"
    with theirs.open("wb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        await tray.remove_incomplete()
        assert theirs.exists()
    await tray.remove_incomplete()
    assert files(tmp_path) == [NAME.replace("d42-1", "d1-1")]


async def test_remove_incomplete_without_directory_does_nothing(tray: Tray, tmp_path: Path) -> None:
    await tray.remove_incomplete()
    assert files(tmp_path) == []


async def test_letters_posted_before_0_3_stay_posted(tray: Tray, tmp_path: Path) -> None:
    """Version 0.2.0 kept posted letters in `dispatched`. They count as posted; unmarking returns them to the tray."""
    await tray.send(order("d42-1"))
    await tray.record_posting("d42-1")
    (tmp_path / "letters" / "posted").rename(tmp_path / "letters" / "dispatched")
    assert [place for _, place in await tray.list_letters()] == [f"dispatched/{NAME}"]
    report = await tray.send(order("d42-1"))
    assert report.progress is SubmissionState.SENT
    assert files(tmp_path) == [f"dispatched/{NAME}"]
    assert await tray.record_posting("d42-1")
    assert await tray.undo_posting("d42-1")
    assert files(tmp_path) == [NAME]
