"""Time-based one-time passwords: RFC 6238 vectors, tolerance and input."""

from __future__ import annotations

from base64 import b32encode
from datetime import UTC, datetime, timedelta

import pytest

from monitor.access.totp import (
    SECRET_OCTETS,
    encode_secret,
    group_secret,
    matching_step,
    otpauth_uri,
    parse_totp,
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
def test_totp_codes_match_rfc_vectors(seconds: int, code: str) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    assert code_at(RFC, now) == code
    assert matching_step(RFC, code, now) == seconds // 30


@pytest.mark.parametrize("octets", [SECRET_OCTETS, 16, 17])
def test_totp_secret_any_length_round_trips(octets: int) -> None:
    secret, now = encode_secret(bytes(range(octets))), datetime.fromtimestamp(59, UTC)
    assert matching_step(secret, code_at(secret, now), now) == 1


@pytest.mark.parametrize(("step_offset", "found"), [(-2, None), (-1, -1), (0, 0), (1, 1), (2, None)])
def test_matching_step_accepts_one_step_and_refuses_two(step_offset: int, found: int | None) -> None:
    now = datetime(2026, 11, 29, 12, 0, 10, tzinfo=UTC)
    code = code_at(RFC, now + timedelta(seconds=30 * step_offset))
    here = int(now.timestamp()) // 30
    assert matching_step(RFC, code, now) == (None if found is None else here + found)


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
def test_parse_totp_accepts_six_digits_only(typed: str, digits: str | None) -> None:
    assert parse_totp(typed) == digits


def test_totp_secret_grouping_and_otpauth_uri() -> None:
    secret = encode_secret(bytes(range(SECRET_OCTETS)))
    assert group_secret(secret) == "AAAQ EAYE AUDA OCAJ BIFQ YDIO B4IB CEQT"
    assert otpauth_uri(secret, "siti", "Pantau") == (
        "otpauth://totp/Pantau:siti?digits=6&secret=AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT&algorithm=SHA1&issuer=Pantau&period=30"
    )
