"""Permissions of roles, compared with a table of the test's own."""

from __future__ import annotations

import pytest

from monitor.access.principal import LOCAL_PERMISSIONS, Principal, User
from monitor.access.role import (
    ALL_AGENCIES,
    PANTAU_ITSELF,
    PERMISSIONS,
    UNRESTRICTED_SCOPE,
    AgencyScope,
    Permission,
    Role,
    RoleAssignment,
    parse_assignment,
    scope_of,
)

ALLOWED = {
    Permission.READ: "viewer officer clerk duty noc admin",
    Permission.READ_PEOPLE: "officer duty noc admin",
    Permission.READ_AUDIT_LOG: "noc admin",
    Permission.ACKNOWLEDGE: "duty noc",
    Permission.RELEASE: "duty noc",
    Permission.MANAGE_INCIDENTS: "duty noc",
    Permission.SILENCE: "duty noc",
    Permission.OVERRIDE: "officer duty noc",
    Permission.POST_LETTERS: "clerk",
    Permission.EDIT_AGENCY: "officer admin",
    Permission.CONFIGURE_SECRETS: "admin",
    Permission.RUN_TESTS: "officer noc",
    Permission.RELOAD: "admin",
    Permission.MANAGE_USERS: "admin",
}


def assignment(text: str) -> RoleAssignment:
    return parse_assignment(text)


@pytest.mark.parametrize("permission", Permission)
@pytest.mark.parametrize("role", Role)
def test_role_permissions_match_table(role: Role, permission: Permission) -> None:
    assert (permission in PERMISSIONS[role]) is (role in ALLOWED[permission].split())


def test_scope_agency_role_excludes_other_agencies_and_pantau() -> None:
    scope = scope_of([assignment("officer:JCM"), assignment("viewer:MDC")], Permission.EDIT_AGENCY)
    assert scope == AgencyScope(agencies=frozenset({"JCM"}))
    assert [code in scope for code in ("JCM", "MDC", PANTAU_ITSELF, ALL_AGENCIES)] == [True, False, False, False]
    assert scope_of([assignment("officer:JCM"), assignment("viewer:MDC")], Permission.READ).agencies == {"JCM", "MDC"}


def test_scope_unrestricted_role_includes_every_agency_and_pantau() -> None:
    scope = scope_of([assignment("viewer"), assignment("viewer:JCM")], Permission.READ)
    assert scope == UNRESTRICTED_SCOPE
    assert all(code in scope for code in ("JCM", "ZZZ", PANTAU_ITSELF))
    assert scope
    assert not scope_of([assignment("viewer")], Permission.RELEASE)


def test_principal_anonymous_has_open_permissions_only() -> None:
    assert not any(Principal().may(each) for each in Permission)
    open_here = Principal(open_permissions=LOCAL_PERMISSIONS)
    assert {each for each in Permission if open_here.may(each, "JCM")} == LOCAL_PERMISSIONS


def test_principal_by_gives_full_and_user_name() -> None:
    user = User(id=1, name="siti", full_name="Siti Contoh", assignments={assignment("duty:JCM")})
    principal = Principal(user=user)
    assert principal.by == "Siti Contoh (siti)"
    assert (principal.refusal_name, Principal().refusal_name) == ("siti", "nobody who has signed in")
    assert principal.may(Permission.RELEASE)
    assert principal.may(Permission.RELEASE, "JCM")
    assert not principal.may(Permission.RELEASE, "MDC")


SITI = User(id=1, name="siti", full_name="Siti Contoh", assignments={assignment("duty:JCM")})
WALLBOARD_SCOPE = AgencyScope(agencies=frozenset({"MDC"}))


@pytest.mark.parametrize(
    ("principal", "is_known", "reads", "may"),
    [
        (Principal(), False, AgencyScope(), 0),
        (Principal(user=SITI), True, AgencyScope(agencies=frozenset({"JCM"})), len(PERMISSIONS[Role.DUTY])),
        # A user without a required second factor has no permission.
        (Principal(user=SITI, needs_second_factor_setup=True), True, AgencyScope(), 0),
        # A wallboard may read only, whoever has signed in on it.
        (Principal(wallboard=WALLBOARD_SCOPE), False, WALLBOARD_SCOPE, 1),
        (Principal(user=SITI, wallboard=WALLBOARD_SCOPE), True, WALLBOARD_SCOPE, len(PERMISSIONS[Role.DUTY])),
    ],
    ids=["nobody", "signed in", "held", "wall", "signed in at a wall"],
)
def test_principal_read_scope_and_permission_count(
    principal: Principal, reads: AgencyScope, may: int, *, is_known: bool
) -> None:
    assert principal.is_authenticated is is_known
    assert principal.scope(Permission.READ) == reads
    assert sum(principal.may(each) for each in Permission) == may


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("officer:jcm", RoleAssignment(role=Role.OFFICER, agency="JCM")),
        (" Duty ", RoleAssignment(role=Role.DUTY, agency=ALL_AGENCIES)),
        ("admin", RoleAssignment(role=Role.ADMIN, agency=ALL_AGENCIES)),
    ],
)
def test_parse_assignment_accepts_case_and_spaces(text: str, expected: RoleAssignment) -> None:
    assert parse_assignment(text) == expected
    assert parse_assignment(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("boss", "'boss' is no role; write one of viewer, officer, clerk, duty, noc, admin"),
        ("", "'' is no role"),
        ("duty:", "'duty:' names no agency; write duty:JCONTOH, or duty alone"),
        ("admin:JCM", "an admin is one for all agencies; write admin"),
    ],
)
def test_parse_assignment_invalid_explains_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(")):
        parse_assignment(text)
