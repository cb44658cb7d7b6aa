"""What follows from a configuration is made once for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from monitor.config.loading import Configuration, LoadCache, load
from monitor.drills.plan import DrillPlans
from monitor.service.oncall import _RosterBuilder
from monitor.service.per_configuration import PerConfiguration
from tests.unit.monitor.cli.office import ENVIRON, IssuingOffice


def test_it_is_made_once_for_each_configuration_and_anew_for_the_next_even_if_that_says_the_same() -> None:
    in_force, made = [cast(Configuration, ["same"])], []

    def make(configuration: Configuration) -> int:
        made.append(configuration)
        return len(made)

    derived = PerConfiguration(lambda: in_force[0], make)
    assert made == [], "nothing is made before it is asked for"
    assert [derived(), derived()] == [1, 1]
    in_force[0] = cast(Configuration, ["same"])
    assert [derived(), derived()] == [2, 2]


def test_who_is_in_which_rota_and_drill_is_made_anew_of_what_has_changed_and_is_as_if_all_were(tmp_path: Path) -> None:
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
        configuration = load(office.config, ENVIRON, cache=memory).accepted()
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
