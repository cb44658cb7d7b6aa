"""`pantau apply` and `pantau export` of agency files, with and without a running service."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from monitor.cli.store.documents import apply, export
from monitor.config.loading import AgencySource, load
from monitor.model.document import EditSource, WrittenDocument
from monitor.store.admin.documents import Documents, read_documents
from monitor.store.backend.database import Database
from tests.integration.monitor_only import agency, service, write_files
from tests.unit.alerts.people import T0

app = typer.Typer()
app.command("apply")(apply)
app.command("export")(export)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Write a service that only monitors, with two agency files that are not applied yet."""
    return write_files(tmp_path)


def run(place: Path, command: str, directory: str = "agencies", *words: str) -> tuple[int, list[str]]:
    """Return the exit code of the command, and its lines without directories."""
    config = ["--config", str(place / "pantau.yaml"), "--by", "Siti"][: 4 if command == "apply" else 2]
    result = CliRunner().invoke(app, [command, str(place / directory), *words, *config])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output.replace(f"{place}/", "").splitlines()


def stored(place: Path) -> dict[str, str | None]:
    return {code: each.text for code, each in read_documents(place / "state", None).items()}


def applied_names(place: Path) -> Mapping[str, str]:
    """Return the names of the agencies that the service has applied."""
    with closing(sqlite3.connect(place / "state" / "pantau.sqlite")) as store:
        rows = store.execute("SELECT key, document FROM record WHERE kind = 'agency'").fetchall()
    return {key: json.loads(document)["name"] for key, document in rows}


async def write_from_portal(place: Path, code: str, text: str | None) -> None:
    """Write a version as the portal does."""
    async with Database.open(place / "state") as database:
        documents = Documents(database)
        wanted = [] if text is None else [WrittenDocument(agency=code, name=f"{code.lower()}.yaml", text=text)]
        gone = [code] if text is None else []
        await documents.write(await documents.latest(), wanted, gone, edit_source=EditSource.PORTAL, by="Ravi", now=T0)


def test_apply_and_export_round_trip(place: Path) -> None:
    assert run(place, "apply") == (
        0,
        ["+ JCM: new", "+ MDC: new", "2 written. A service applies them at its start, or with `pantau reload`."],
    )
    assert run(place, "apply") == (0, ["The store is up to date."])
    assert run(place, "export", "out") == (
        0,
        [
            "out/jcm.yaml: version 1",
            "out/mdc.yaml: version 1",
            "Of 2 in the store: 2 written to out, 0 kept because they were edited.",
        ],
    )
    for file in ("jcm.yaml", "mdc.yaml"):
        assert (place / "out" / file).read_bytes() == (place / "agencies" / file).read_bytes()
    assert run(place, "apply", "out") == (0, ["The store is up to date."])
    accepted = load(place / "pantau.yaml", {}).require_configuration()
    assert set(accepted.registry.agencies) == {"JCM", "MDC"}


def test_apply_shows_diff_and_dry_run_writes_nothing(place: Path) -> None:
    run(place, "apply")
    file = place / "agencies" / "jcm.yaml"
    file.write_text(file.read_text().replace("Jabatan JCM", "Jabatan Contoh"))
    code, lines = run(place, "apply", "agencies", "--dry-run")
    assert code == 0
    assert re.fullmatch(r"--- JCM version 1 \(by Siti, \d\d/\d\d/\d{4} \d\d:\d\d, files\)", lines[0])
    assert lines[1] == "+++ jcm.yaml"
    assert [line for line in lines if line[0] in "+-"][2:] == ["-name: Jabatan JCM", "+name: Jabatan Contoh"]
    assert lines[-1] == "Nothing is written; 1 would be."
    assert stored(place)["JCM"] == agency("JCM")


def test_apply_one_invalid_file_writes_none(place: Path) -> None:
    (place / "agencies" / "mdc.yaml").write_text(agency("MDC").replace("domains", "domain"))
    code, lines = run(place, "apply")
    assert code == 2
    assert lines[0].startswith("agencies/mdc.yaml:1: domains: is missing")
    assert lines[-1] == "Nothing is written."
    assert stored(place) == {}


def test_apply_conflict_with_agency_in_store_is_refused(place: Path) -> None:
    run(place, "apply")
    (place / "more").mkdir()
    (place / "more" / "x.yaml").write_text(agency("X", "jcm.gov.my"))
    code, lines = run(place, "apply", "more")
    assert code == 2
    assert lines[0].startswith(
        "more/x.yaml:7: mailboxes.utama.address: the mailbox address 'pantau@jcm.gov.my' is also at JCM in the store:7"
    )
    assert "X" not in stored(place)


def test_apply_concurrent_edit_is_shown_and_overwritten_by_version_only(place: Path) -> None:
    run(place, "apply")
    asyncio.run(write_from_portal(place, "JCM", agency("JCM").replace("Jabatan JCM", "Theirs")))
    file = place / "agencies" / "jcm.yaml"
    file.write_text(file.read_text().replace("Jabatan JCM", "Ours"))

    code, lines = run(place, "apply")
    assert code == 1
    assert lines[0] == "! JCM: somebody else wrote it meanwhile: version 2, by Ravi, 24/11/2026 14:15, portal."
    assert [line for line in lines if re.match(r"[+-]\w", line)] == [
        "-name: Jabatan JCM",
        "+name: Theirs",
        "-name: Jabatan JCM",
        "+name: Ours",
    ]
    assert lines[-2].endswith("pantau apply agencies --expect-version JCM=2")
    assert run(place, "apply", "agencies", "--expect-version", "JCM=1")[0] == 1
    assert "name: Theirs" in (stored(place)["JCM"] or "")
    assert run(place, "apply", "agencies", "--expect-version", "jcm=2")[0] == 0
    assert "name: Ours" in (stored(place)["JCM"] or "")


def test_apply_unchanged_file_reverts_nothing_and_export_updates_it(place: Path) -> None:
    run(place, "apply")
    asyncio.run(write_from_portal(place, "JCM", agency("JCM").replace("Jabatan JCM", "Theirs")))
    code, lines = run(place, "apply")
    assert (code, lines[-1]) == (0, "The store is up to date.")
    assert lines[0].startswith("  JCM: version 2 in the store is newer (by Ravi,")
    assert run(place, "export")[0] == 0
    assert "Theirs" in (place / "agencies" / "jcm.yaml").read_text()


def test_export_keeps_edited_file(place: Path) -> None:
    run(place, "apply")
    asyncio.run(write_from_portal(place, "JCM", agency("JCM").replace("Jabatan JCM", "Theirs")))
    file = place / "agencies" / "jcm.yaml"
    file.write_text("agency: JCM\n")
    code, lines = run(place, "export")
    assert code == 1
    assert lines[0].startswith("agencies/jcm.yaml: was edited since")
    assert file.read_text() == "agency: JCM\n"


def test_apply_prune_removes_agency_and_export_removes_its_file(place: Path) -> None:
    run(place, "apply")
    run(place, "export", "out")
    (place / "agencies" / "mdc.yaml").unlink()
    assert run(place, "apply") == (
        0,
        ["  MDC: is in the store only, and stays; --prune removes it", "The store is up to date."],
    )
    assert run(place, "apply", "agencies", "--prune")[1][0] == "- MDC: removed"
    code, lines = run(place, "apply", "out")
    assert code == 1
    assert lines[0].startswith("! MDC: somebody else removed it meanwhile: version 2, by Siti")
    run(place, "export", "out")
    assert not (place / "out" / "mdc.yaml").exists()
    assert stored(place) == {"JCM": agency("JCM"), "MDC": None}


def test_apply_agencies_in_files_is_refused(place: Path) -> None:
    settings = place / "pantau.yaml"
    settings.write_text(settings.read_text().replace("agencies: database", "agencies: agencies/"))
    code, lines = run(place, "apply")
    assert code == 2
    assert lines[0].endswith("write instead: agencies: database")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--expect-version", "JCM"], "'JCM' is not a version; write JCONTOH=7"),
        (["--expect-version", "JCM=x"], "'JCM=x' is not a version; write JCONTOH=7"),
    ],
)
def test_apply_invalid_expect_version_says_what_to_write(place: Path, words: Sequence[str], says: str) -> None:
    code, lines = run(place, "apply", "agencies", *words)
    assert code == 2
    assert says in " ".join(" ".join(lines).replace("│", " ").split())


@pytest.mark.parametrize("directory", ["nowhere", "secrets"])
def test_apply_directory_without_agencies_is_named(place: Path, directory: str) -> None:
    code, (line, *_) = run(place, "apply", directory)
    assert code == 2
    assert line.startswith(directory)


def test_apply_unreadable_marks_file_is_named_and_nothing_written(place: Path) -> None:
    (place / "agencies" / ".pantau-documents.json").write_text("{")
    code, lines = run(place, "apply")
    assert code == 2
    assert lines[0].startswith("agencies/.pantau-documents.json cannot be read; move it away")
    assert stored(place) == {}


def test_apply_file_not_utf8_is_reported_as_by_check(place: Path) -> None:
    (place / "agencies" / "mdc.yaml").write_bytes(b"agency: \xff\n")
    code, lines = run(place, "apply")
    assert code == 2
    assert lines[0] == "agencies/mdc.yaml:1: is not UTF-8 text; write instead: the same, saved as UTF-8"


def test_apply_file_name_not_utf8_is_reported(place: Path) -> None:
    (place / "agencies" / "b\udcff.yaml").write_text(agency("B"))
    code, lines = run(place, "apply")
    assert code == 2
    assert lines[0].endswith("write instead: a name in plain letters")
    assert stored(place) == {}


async def test_apply_running_service_applies_documents(place: Path) -> None:
    await asyncio.to_thread(run, place, "apply")
    async with service(place):
        file = place / "agencies" / "jcm.yaml"
        file.write_text(file.read_text().replace("Jabatan JCM", "Jabatan Contoh"))
        code, lines = await asyncio.to_thread(run, place, "apply")
        assert (code, lines[-1]) == (0, "1 written. The service has applied them.")
        assert applied_names(place)["JCM"] == "Jabatan Contoh"
        (place / "agencies" / "mdc.yaml").unlink()
        code, lines = await asyncio.to_thread(run, place, "apply", "agencies", "--prune", "--no-reload")
        assert lines[-1] == "1 written. A service applies them at its start, or with `pantau reload`."
        assert set(applied_names(place)) == {"JCM", "MDC"}
        assert (await asyncio.to_thread(run, place, "export", "out"))[0] == 0
    assert sorted(each.name for each in (place / "out").iterdir()) == [".pantau-documents.json", "jcm.yaml"]


async def test_service_start_imports_files_into_store(place: Path) -> None:
    settings = place / "pantau.yaml"
    there = settings.read_text()
    settings.write_text(there.replace("agencies: database", "agencies: agencies/"))
    async with service(place):
        pass
    settings.write_text(there)
    assert stored(place) == {code: agency(code) for code in ("JCM", "MDC")}
    assert run(place, "export")[0] == 0
    assert set(load(settings, {}).require_configuration().registry.agencies) == {"JCM", "MDC"}


def test_load_empty_store_with_portal_is_accepted_and_later_errors_warned(
    place: Path,
) -> None:
    settings = place / "pantau.yaml"
    settings.write_text(settings.read_text() + "portal: {}\n")
    asyncio.run(create_store(place))
    found = load(settings, {})
    assert (found.errors, [each.key for each in found.problems]) == ((), ["agencies"])
    before, _, _ = settings.read_text().partition("references:")
    settings.write_text(before + "portal: {}\n")
    found = load(settings, {})
    assert found.errors == ()
    assert any("references: there are fewer than two" in str(each) for each in found.problems)
    # The errors that the portal would report for the first agency.
    refused = load(settings, {}, documents=[AgencySource(label="JCM", name="jcm.yaml", text=agency("JCM"))]).errors
    assert any("one alone cannot show which side is at fault" in str(each) for each in refused)


async def create_store(place: Path) -> None:
    async with Database.open(place / "state"):
        pass
