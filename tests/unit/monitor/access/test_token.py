"""What a token permits, and what none ever does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.access.api_token import ApiToken, first_exceeding
from monitor.access.principal import Principal
from monitor.access.role import Permission, parse_assignment
from tests.unit.alerts.people import T0


def token(*roles: str) -> ApiToken:
    given = frozenset(parse_assignment(each) for each in roles)
    return ApiToken(
        id=1, name="konsol", assignments=given, made_by="Ujian", made_at=T0, ends_at=T0 + timedelta(days=90)
    )


@pytest.mark.parametrize(
    ("wanted", "own", "beyond"),
    [
        (["viewer"], ["admin"], None),
        (["duty"], ["admin"], "duty"),
        (["duty"], ["admin", "duty"], None),
        (["duty:JCM"], ["duty"], None),
        (["duty"], ["duty:JCM"], "duty"),
        (["duty:MDC"], ["duty:JCM"], "duty:MDC"),
        # A role whose permissions others include is no extension.
        (["viewer:JCM"], ["clerk:JCM"], None),
        (["duty:JCM"], ["noc"], None),
        (["viewer", "noc"], ["duty"], "noc"),
    ],
)
def test_token_roles_exceeding_maker_returns_first_exceeding(
    wanted: list[str], own: list[str], beyond: str | None
) -> None:
    found = first_exceeding(
        frozenset(parse_assignment(each) for each in wanted), {parse_assignment(each) for each in own}
    )
    assert (None if found is None else str(found)) == beyond


def test_token_principal_has_roles_for_its_agencies_only() -> None:
    principal = Principal(token=token("duty:JCM"))
    assert principal.is_authenticated
    assert principal.by == "program konsol"
    assert principal.may(Permission.ACKNOWLEDGE, "JCM")
    assert not principal.may(Permission.ACKNOWLEDGE, "MDC")
    assert not principal.may(Permission.RELOAD)


def test_token_admin_cannot_manage_users() -> None:
    principal = Principal(token=token("admin"))
    assert principal.may(Permission.RELOAD, "")
    assert not principal.may(Permission.MANAGE_USERS)


def test_token_is_valid_until_end_or_revocation() -> None:
    given = token("viewer")
    assert given.is_valid(given.ends_at - timedelta(seconds=1))
    assert not given.is_valid(given.ends_at)
    assert not replace(given, revoked_at=T0).is_valid(T0)
