"""After an outage that people were told of, everything about it can be proven, and nothing of it has been changed."""

from __future__ import annotations

import csv
import hashlib
import json
import stat
import subprocess
from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from tests.stories.theatre import JCM, theatre


def check_sums(directory: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=directory, check=True)


@pytest.mark.crash
async def test_an_outage_can_be_proven_from_its_first_run_to_the_posted_letter_also_after_a_crash(
    tmp_path: Path,
) -> None:
    async with theatre(tmp_path) as play:
        await play.everybody_is_up()
        play.duty.keys = ["1"] * 9
        await play.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await play.duty.expect_call("Tekan satu untuk mengesahkan")
        await play.until_notice("fax", "outage", "delivered")
        await play.until_notice("letter", "outage", "sent")
        await play.kill()
        await play.start()
        letter = next(n for n in await play.get("/notifications") if n["channel"] == "letter")
        (laid,) = play.letters()
        code, said = await play.pantau("letters", "posted", str(letter["id"]), "--unprinted", "--by", "Kerani Contoh")
        assert code == 0, said
        await play.world.network.systems[JCM.code].repair()
        await play.until_notice("letter", "recovery", "sent")

        code, verified = await play.pantau("audit", "verify")
        assert code == 0, verified
        _, head = await play.pantau("audit", "head")
        code, said = await play.pantau("incident-record", "jcm-01", "--output", str(tmp_path / "dossier"))
        assert code == 0, said
        code, said = await play.pantau("reload", "--by", "Siti Contoh")
        assert code == 0, said
        await play.stop()
        # The service is gone: its file is read.
        code, verified = await play.pantau("audit", "verify", "--expect-head", head.strip())
        assert code == 0, verified
        _, lines = await play.pantau("audit", "export")

    files = {path.name: path for path in (tmp_path / "dossier").iterdir()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert files["JCM-01.pdf"].read_bytes().startswith(b"%PDF")
    check_sums(tmp_path / "dossier")

    entries = [json.loads(line) for line in lines.splitlines()]
    events = [(entry["actor"], entry["event"]) for entry in entries]
    assert [event for _, event in events].count("service started") == 2
    assert [event for _, event in events].count("service stopped") == 1, "the first life ended in a crash"
    for told in (
        ("engine", "incident opened"),
        ("engine", "outage notice decided"),
        ("engine", "attempt written"),
        (JCM.duty.name, "incident acknowledged"),
        ("Kerani Contoh", "letter dispatched"),
        ("engine", "incident resolved"),
        ("Siti Contoh", "configuration taken up"),
    ):
        assert told in events
    # What lay in the tray is what the journal says was laid there.
    digest = hashlib.sha256(play.letters("posted")[0].read_bytes()).hexdigest()
    assert laid.name == play.letters("posted")[0].name
    assert digest in {entry["detail"].get("sha256") for entry in entries}
    with files["evidence.csv"].open(encoding="utf-8") as file:
        outcomes = [row["outcome"] for row in csv.DictReader(file)]
    assert {"delivered", "rejected"} <= set(outcomes)
