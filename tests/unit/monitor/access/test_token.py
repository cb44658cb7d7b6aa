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
        # A role that is made of what others permit is no more than those.
        (["viewer:JCM"], ["clerk:JCM"], None),
        (["duty:JCM"], ["noc"], None),
        (["viewer", "noc"], ["duty"], "noc"),
    ],
)
def test_a_token_has_no_more_than_its_maker(wanted: list[str], own: list[str], beyond: str | None) -> None:
    found = first_exceeding(
        frozenset(parse_assignment(each) for each in wanted), {parse_assignment(each) for each in own}
    )
    assert (None if found is None else str(found)) == beyond


def test_a_program_may_what_its_token_permits_and_for_these_agencies() -> None:
    principal = Principal(token=token("duty:JCM"))
    assert principal.is_authenticated
    assert principal.by == "program konsol"
    assert principal.may(Permission.ACKNOWLEDGE, "JCM")
    assert not principal.may(Permission.ACKNOWLEDGE, "MDC")
    assert not principal.may(Permission.RELOAD)


def test_no_token_makes_users_or_tokens_whatever_it_permits() -> None:
    principal = Principal(token=token("admin"))
    assert principal.may(Permission.RELOAD, "")
    assert not principal.may(Permission.MANAGE_USERS)


def test_a_token_stands_up_to_its_end() -> None:
    given = token("viewer")
    assert given.is_valid(given.ends_at - timedelta(seconds=1))
    assert not given.is_valid(given.ends_at)
    assert not replace(given, revoked_at=T0).is_valid(T0)
