"""Values that are derived once for each configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from monitor.config.loading import Configuration, LoadCache, load
from monitor.drills.plan import DrillPlans
from monitor.service.oncall import _RosterBuilder
from monitor.service.per_configuration import PerConfiguration
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice


def test_per_configuration_builds_once_for_each_configuration_object() -> None:
    start_reloader, made = [cast(Configuration, ["same"])], []

    def make(configuration: Configuration) -> int:
        made.append(configuration)
        return len(made)

    derived = PerConfiguration(lambda: start_reloader[0], make)
    assert made == [], "nothing is made before it is asked for"
    assert [derived(), derived()] == [1, 1]
    start_reloader[0] = cast(Configuration, ["same"])
    assert [derived(), derived()] == [2, 2]


def test_roster_and_drill_plans_rebuilt_partially_equal_full_build(tmp_path: Path) -> None:
    office, memory = IssuingOffice(tmp_path), LoadCache()
    agency = office.directory / "agencies" / "jabatan-contoh.yaml"

    def write(file: Path, old: str, new: str) -> Callable[[], object]:
        return lambda: file.write_text(file.read_text().replace(old, new))

    edits: list[Callable[[], object]] = [
        lambda: None,
        write(agency, "name: Ali bin Contoh", "name: Ali bin Baharu"),
        write(agency, "people: [siti, ali]", "people: [ali]"),
        write(office.config, "Pegawai Bertugas Pusat Operasi", "Pegawai Lain"),
        write(office.config, "state: putrajaya", "state: johor"),
        (office.directory / "agencies" / "majlis-contoh.yaml").unlink,
    ]
    duties, drills, before = _RosterBuilder(), DrillPlans(), None
    for edit in edits:
        edit()
        configuration = load(office.config, ENVIRON, cache=memory).require_configuration()
        made, trained = duties.build(configuration), drills.make(configuration).targets
        assert made == _RosterBuilder().build(configuration)
        assert trained == DrillPlans().make(configuration).targets
        if edit is edits[1]:
            assert before is not None
            assert made.staff["MPCONTOH"] is before.staff["MPCONTOH"]
            assert made.staff["JCONTOH"] is not before.staff["JCONTOH"]
        before = made
    assert before is not None
    assert "MPCONTOH" not in before.staff
