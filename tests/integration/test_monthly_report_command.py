"""`pantau monthly-report` with a running service."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import typer
from typer.testing import CliRunner

from monitor.cli.paper.record import monthly_report
from tests.integration.monitor_only import service, write_files

app = typer.Typer()
app.command()(monthly_report)


def run(place: Path, *words: str) -> tuple[int, str]:
    """Return the exit code of the command, and its output on one line."""
    config = ["--config", str(place / "pantau.yaml"), "--by", "Siti"]
    result = CliRunner().invoke(app, [*words, *config])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.replace(f"{place}/", "").split())


async def test_monthly_report_is_readable_by_owner_only(tmp_path: Path) -> None:
    settings = write_files(tmp_path) / "pantau.yaml"
    settings.write_text(settings.read_text().replace("agencies: database", "agencies: agencies/"))
    async with service(tmp_path):
        month = re.search(r"[0-9]{4}-[0-9]{2}$", (await asyncio.to_thread(run, tmp_path, "jcm", "november"))[1])
        assert month is not None
        code, said = await asyncio.to_thread(run, tmp_path, "jcm", month[0], "--output", str(tmp_path / "out"))
        unknown = await asyncio.to_thread(run, tmp_path, "JCN", month[0])
    name = f"penyata-JCM-{month[0]}"
    names = [f"{name}.pdf", *(f"{name}-{what}.csv" for what in ("days", "incidents", "notifications", "drills"))]
    assert (code, said[said.index("out: ") :]) == (0, f"out: {', '.join(names)}")
    assert [(tmp_path / "out" / each).stat().st_mode & 0o777 for each in names] == [0o600] * 5
    assert (tmp_path / "out" / names[0]).read_bytes().startswith(b"%PDF-")
    assert unknown[0] == 1
    assert unknown[1].endswith("there is no agency 'JCN'; did you mean JCM?")
