"""`pantau check` on the shipped and on invalid configurations."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import typer
from typer.testing import CliRunner

from monitor.cli.operation.check import check

_DEPLOY = Path(__file__).parents[2] / "deploy"
_PASSWORD = {"PANTAU_MPCONTOH_PASSWORD": "kata-laluan-contoh"}

app = typer.Typer()
app.command()(check)


def run(config: Path, **environ: str) -> tuple[int, list[str]]:
    result = CliRunner().invoke(app, ["--config", str(config)], env=environ)
    return result.exit_code, result.stdout.replace(f"{config.parent}/", "").splitlines()


def test_check_sample_warns_only_of_placeholders_and_unverified_numbers(sample: Path) -> None:
    code, lines = run(sample, **_PASSWORD)
    assert code == 1
    assert lines[-1] == "pantau.yaml: accepted: 2 agencies, 12 routes, 4 gateways; 0 errors, 16 warnings"
    assert lines[-2] == "pantau.yaml: the store grows to about 68.3 MB: 91,246 runs, 105,120 hourly counts"
    assert all(": warning: " in line for line in lines[:-2])
    placeholders = [line for line in lines[:-2] if "is in no range that is known" in line]
    assert len(placeholders) == 10
    assert all("is not verified" in line for line in lines[:-2] if line not in placeholders)


def test_check_tutorial_configuration_warns_only_of_its_number(first: Path) -> None:
    code, lines = run(first)
    assert code == 1
    assert lines[-1] == "pantau.yaml: accepted: 1 agency, 7 routes, 1 gateway; 0 errors, 2 warnings"
    assert all("contacts.pegawai" in line for line in lines[:-2])


def test_check_site_settings_has_no_warnings(site: Path) -> None:
    code, lines = run(site)
    assert (code, lines[-1]) == (0, "pantau.yaml: accepted: 1 agency, 7 routes, 0 gateways; 0 errors, 0 warnings")


def test_check_hub_settings_adds_no_warnings(hub: Path) -> None:
    code, lines = run(hub, **_PASSWORD)
    assert (code, lines[-1]) == (
        1,
        "pantau.yaml: accepted: 2 agencies, 12 routes, 4 gateways; 0 errors, 16 warnings",
    )


def test_check_on_call_gap_without_fallback_warns(sample: Path) -> None:
    agency = sample.parent / "agencies" / "jabatan-contoh.yaml"
    agency.write_text(agency.read_text().replace("days: rest", "days: workdays"))
    _, lines = run(sample, **_PASSWORD)
    assert lines[-1] == "pantau.yaml: accepted: 2 agencies, 12 routes, 4 gateways; 0 errors, 16 warnings"

    agency.write_text(agency.read_text().replace("  fallback: pegawai-bertugas\n", ""))
    code, lines = run(sample, **_PASSWORD)
    assert code == 1
    (gap,) = [line for line in lines[:-2] if "nobody is on call" in line]
    where = f"agencies/jabatan-contoh.yaml:{line_of(agency, 'bertugas:')}"
    assert gap.startswith(f"{where}: warning: rotas.bertugas: nobody is on call from ")
    assert lines[-1] == "pantau.yaml: accepted: 2 agencies, 12 routes, 4 gateways; 0 errors, 17 warnings"


def test_check_missing_secrets_are_all_named(tmp_path: Path) -> None:
    shutil.copytree(_DEPLOY / "agencies", tmp_path / "agencies")
    shutil.copy(_DEPLOY / "pantau.yaml", tmp_path)
    code, lines = run(tmp_path / "pantau.yaml")
    errors = [line for line in lines[:-1] if ": warning: " not in line]
    assert code == 2
    assert len(errors) == 9
    assert all("does not exist" in line or "is not set" in line for line in errors)


def line_of(file: Path, words: str) -> int:
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if words in line)


def test_check_prints_one_line_per_problem_and_summary(sample: Path) -> None:
    agency = sample.parent / "agencies" / "jabatan-contoh.yaml"
    agency.write_text(agency.read_text().replace("channels: [fax, letter]", "channels: [faks, email]"))
    majlis = sample.parent / "agencies" / "majlis-contoh.yaml"
    majlis.write_text(majlis.read_text().replace("pantau@mpcontoh.gov.my\n", "pantau@gmail.com\n"))
    code, lines = run(sample, **_PASSWORD)
    assert code == 2
    channels, address = line_of(agency, "channels: [faks, email]"), line_of(majlis, "pantau@gmail.com")
    assert [line.split(": ")[:2] for line in lines if "warning" not in line] == [
        [f"agencies/jabatan-contoh.yaml:{channels}", "announcement.recipients.kementerian.channels[0]"],
        [f"agencies/jabatan-contoh.yaml:{channels}", "announcement.recipients.kementerian.channels[1]"],
        [f"agencies/majlis-contoh.yaml:{address}", "mailboxes.awan.address"],
    ]
    assert lines[-1] == "pantau.yaml: refused: 3 errors, 10 warnings in 3 files"


def test_check_runs_from_shell(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "monitor.cli", "check", "--config", "tiada.yaml"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(_DEPLOY.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout.splitlines() == [
        "tiada.yaml: cannot be read: No such file or directory; write instead: a file of text, or another path where it is named",
        "tiada.yaml: refused: 1 error, 0 warnings in 1 file",
    ]
