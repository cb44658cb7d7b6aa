"""Sign-in names and passwords of the demo."""

from __future__ import annotations

from pathlib import Path

from monitor.access.password import password_problem
from monitor.access.role import Role, parse_assignment
from pantau_lab.seed.login import WORDS, demo_logins, write_logins


def test_demo_logins_cover_every_role_with_unique_passwords() -> None:
    logins = demo_logins()
    assert {parse_assignment(each.role).role for each in logins} == set(Role)
    assert len({each.password for each in (*logins, *demo_logins())}) == 2 * len(logins)
    assert len(set(WORDS)) == len(WORDS)


def test_demo_passwords_satisfy_portal_rules() -> None:
    for _ in range(20):
        for login in demo_logins():
            names = [login.name, *login.full_name.split(), "JCM", "MDC", "UCM"]
            assert password_problem(login.password, names) is None, login.password


def test_write_logins_file_is_private_and_repr_has_no_password(tmp_path: Path) -> None:
    logins = demo_logins()
    write_logins(tmp_path / "sign-in.txt", logins)
    assert (tmp_path / "sign-in.txt").stat().st_mode & 0o777 == 0o600
    lines = (tmp_path / "sign-in.txt").read_text().splitlines()
    assert [line.split("\t") for line in lines] == [[each.role, each.name, each.password] for each in logins]
    assert logins[0].password not in repr(logins)
