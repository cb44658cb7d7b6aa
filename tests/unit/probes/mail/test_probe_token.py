"""A token identifies the run of a message and cannot be forged."""

from __future__ import annotations

import base64
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.mail.token import Origin, TokenSigner

NOW = datetime(2026, 3, 2, 8, 30, 15, 400000, tzinfo=UTC)
ROUTE = "jabatan-contoh/outbound/reference-a"
SIGNER = TokenSigner(b"kunci-untuk-ujian-sahaja", "putrajaya-1")
TOKEN = SIGNER.issue(ROUTE, NOW, id_octets=bytes(range(8)))
ANOTHER = SIGNER.issue(ROUTE, NOW, id_octets=bytes(8))


def test_token_has_id_prober_and_time_of_issue() -> None:
    assert TOKEN.id == "0001020304050607"
    assert TOKEN.prober == SIGNER.prober
    assert TOKEN.sent_at == NOW.replace(microsecond=0)
    assert SIGNER.issue("another", NOW, id_octets=bytes(range(8))).text != TOKEN.text


def test_token_uses_only_header_safe_letters() -> None:
    letters = TOKEN.text.removeprefix("pantau-")
    assert TOKEN.text.isascii()
    assert len(letters) == 56
    assert set(letters) <= set("abcdefghijklmnopqrstuvwxyz234567")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (TOKEN.text, [TOKEN.id]),
        (TOKEN.text.upper(), [TOKEN.id]),
        (f"Re: [LUAR] Semakan e-mel {TOKEN.text}, diterima", [TOKEN.id]),
        (f"<{TOKEN.text}@semakan.invalid>", [TOKEN.id]),
        (f"{TOKEN.text} {ANOTHER.text} {TOKEN.text}", [TOKEN.id, ANOTHER.id]),
        ("pantau-ialah-nama-perkhidmatan", []),
        ("", []),
    ],
)
def test_tokens_are_found_in_text(text: str, ids: list[str]) -> None:
    reading = SIGNER.read(text)
    assert [token.id for token in reading.tokens] == ids
    assert reading.forged == ()


def flipped(position: int) -> str:
    letters = list(TOKEN.text)
    letters[position] = "a" if letters[position] != "a" else "b"
    return "".join(letters)


@pytest.mark.parametrize(
    "text",
    [
        *(flipped(position) for position in (7, 12, 30, 45, 62)),
        TOKEN.text[:-1],
        TOKEN.text[:40],
        TOKEN.text + "a",
        "pantau-" + base64.b32encode(bytes(35)).decode().lower(),
        TokenSigner(b"kunci-orang-lain-yang-cukup-panjang", "putrajaya-1").issue(ROUTE, NOW, id_octets=bytes(8)).text,
    ],
)
def test_token_not_verifying_is_forged(text: str) -> None:
    reading = SIGNER.read(f"Semakan e-mel {text}")
    assert reading.tokens == ()
    assert reading.forged == (text.lower(),)


def test_token_of_other_version_does_not_verify() -> None:
    octets = bytearray(base64.b32decode(TOKEN.text.removeprefix("pantau-").upper()))
    octets[0] = 2
    assert SIGNER.read("pantau-" + base64.b32encode(bytes(octets)).decode().lower()).tokens == ()


def test_token_of_other_prober_with_same_key_is_distinguished() -> None:
    other = TokenSigner(b"kunci-untuk-ujian-sahaja", "kuching-1")
    (token,) = SIGNER.read(other.issue(ROUTE, NOW).text).tokens
    assert token.prober == other.prober != SIGNER.prober


def test_token_end_is_rounded_up_to_minute_and_limited() -> None:
    def over_after(lasts: timedelta) -> timedelta:
        token = SIGNER.issue(ROUTE, NOW, lasts)
        return token.ends_at - token.sent_at

    assert over_after(timedelta(minutes=4, seconds=30)) == timedelta(minutes=5)
    assert over_after(timedelta(minutes=4)) == timedelta(minutes=4)
    assert over_after(timedelta(days=3)) == timedelta(minutes=255)
    assert TOKEN.ends_at == TOKEN.sent_at


def test_token_origin_by_process_and_prober() -> None:
    key = b"kunci-untuk-ujian-sahaja"
    ours, other = TokenSigner(key, "putrajaya-1", process_started_at=NOW), TokenSigner(key, "putrajaya-1")
    before, after = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
    assert {ours.origin(ours.issue(ROUTE, at)) for at in (before, NOW, after)} == {Origin.THIS_PROCESS}
    assert [ours.origin(other.issue(ROUTE, at)) for at in (before, after)] == [
        Origin.EARLIER_PROCESS,
        Origin.PROBER_CONFLICT,
    ]
    kuching = TokenSigner(key, "kuching-1").issue(ROUTE, after)
    assert ours.origin(kuching) is Origin.OTHER_PROBER
    ours.inherit(["kuching-1", "kuching-2"])
    assert ours.origin(kuching) is Origin.INHERITED
    ours.inherit(["kuching-2"])
    assert ours.origin(kuching) is Origin.OTHER_PROBER, "it is back"


def test_token_ids_are_unique_and_consecutive_ones_differ_at_start() -> None:
    ids = [SIGNER.issue(ROUTE, NOW).id for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert all(one[:2] != another[:2] for one, another in itertools.pairwise(ids))


def test_signer_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 octets"):
        TokenSigner(b"pendek", "p")


def test_signer_read_text_with_many_forgeries_is_limited() -> None:
    assert len(SIGNER.read(" ".join(f"pantau-{'a' * 30}{i % 6 + 2}{i // 6 + 2}" for i in range(200))).forged) <= 50


@given(st.binary(min_size=8, max_size=8), st.text(), st.integers(0, 10**9))
def test_token_any_values_are_read_back(id_octets: bytes, route: str, seconds: int) -> None:
    token = SIGNER.issue(route, NOW + timedelta(seconds=seconds), id_octets=id_octets)
    assert SIGNER.read(f"x{token.text.upper()}.").tokens == (token,) or SIGNER.read(f"x {token.text}").tokens == (
        token,
    )


@given(st.text(alphabet="pantu-abcxyz234567 \n", max_size=300))
def test_signer_read_random_text_verifies_nothing(text: str) -> None:
    assert SIGNER.read(text).tokens == ()
