"""Evidence of a notified outage: complete, unchanged, and available after a crash."""

from __future__ import annotations

import csv
import hashlib
import json
import stat
import subprocess
from pathlib import Path

import pytest

from pantau_lab.mail import Fault
from tests.stories.running_service import JCM, running_service


def check_sums(directory: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=directory, check=True)


@pytest.mark.crash
async def test_outage_can_be_proven_from_first_run_to_posted_letter_after_crash(
    tmp_path: Path,
) -> None:
    async with running_service(tmp_path) as env:
        await env.wait_until_up()
        env.duty.keys = ["1"] * 9
        await env.world.network.systems[JCM.code].break_(Fault.REFUSE)
        await env.duty.expect_call("Tekan satu untuk mengesahkan")
        await env.until_notification("fax", "outage", "delivered")
        await env.until_notification("letter", "outage", "sent")
        await env.kill()
        await env.start()
        letter = next(n for n in await env.get("/notifications") if n["channel"] == "letter")
        (laid,) = env.letters()
        code, said = await env.pantau("letters", "posted", str(letter["id"]), "--unprinted", "--by", "Kerani Contoh")
        assert code == 0, said
        await env.world.network.systems[JCM.code].repair()
        await env.until_notification("letter", "recovery", "sent")

        code, verified = await env.pantau("audit", "verify")
        assert code == 0, verified
        _, head = await env.pantau("audit", "head")
        code, said = await env.pantau("incident-record", "jcm-01", "--output", str(tmp_path / "dossier"))
        assert code == 0, said
        code, said = await env.pantau("reload", "--by", "Siti Contoh")
        assert code == 0, said
        await env.stop()
        # The service is gone: its file is read.
        code, verified = await env.pantau("audit", "verify", "--expect-head", head.strip())
        assert code == 0, verified
        _, lines = await env.pantau("audit", "export")

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
    # The letter in the tray is the one in the audit log.
    digest = hashlib.sha256(env.letters("posted")[0].read_bytes()).hexdigest()
    assert laid.name == env.letters("posted")[0].name
    assert digest in {entry["detail"].get("sha256") for entry in entries}
    with files["evidence.csv"].open(encoding="utf-8") as file:
        outcomes = [row["outcome"] for row in csv.DictReader(file)]
    assert {"delivered", "rejected"} <= set(outcomes)
