"""One-time codes: the figures of RFC 6238, what is near enough, and what people type."""

from __future__ import annotations

from base64 import b32encode
from datetime import UTC, datetime, timedelta

import pytest

from monitor.access.totp import (
    SECRET_OCTETS,
    encode_secret,
    group_secret,
    otpauth_uri,
    parse_totp,
    step_of,
)
from tests.authenticator import code_at

#: RFC 6238, appendix B.
RFC = b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_the_codes_are_those_of_the_rfc(seconds: int, code: str) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    assert code_at(RFC, now) == code
    assert step_of(RFC, code, now) == seconds // 30


@pytest.mark.parametrize("octets", [SECRET_OCTETS, 16, 17])
def test_a_secret_of_any_length_is_read_as_it_was_written(octets: int) -> None:
    secret, now = encode_secret(bytes(range(octets))), datetime.fromtimestamp(59, UTC)
    assert step_of(secret, code_at(secret, now), now) == 1


@pytest.mark.parametrize(("away", "found"), [(-2, None), (-1, -1), (0, 0), (1, 1), (2, None)])
def test_a_clock_that_is_off_by_a_step_is_near_enough_and_by_two_it_is_not(away: int, found: int | None) -> None:
    now = datetime(2026, 11, 29, 12, 0, 10, tzinfo=UTC)
    code = code_at(RFC, now + timedelta(seconds=30 * away))
    here = int(now.timestamp()) // 30
    assert step_of(RFC, code, now) == (None if found is None else here + found)


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("123456", "123456"),
        (" 123 456 ", "123456"),
        ("123-456", "123456"),
        ("12345", None),
        ("1234567", None),
        ("١٢٣٤٥٦", None),
        ("12345a", None),
        ("", None),
        ("ABCD-EFGH-JKMN-PQRS-TVWX-YZ01", None),
    ],
)
def test_what_is_typed_is_a_code_of_six_digits_or_something_else(typed: str, digits: str | None) -> None:
    assert parse_totp(typed) == digits


def test_a_secret_is_written_as_apps_take_it_and_in_groups_for_people() -> None:
    secret = encode_secret(bytes(range(SECRET_OCTETS)))
    assert group_secret(secret) == "AAAQ EAYE AUDA OCAJ BIFQ YDIO B4IB CEQT"
    assert otpauth_uri(secret, "siti", "Pantau") == (
        "otpauth://totp/Pantau:siti?digits=6&secret=AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT&algorithm=SHA1&issuer=Pantau&period=30"
    )
