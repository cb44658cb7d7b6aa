"""PINs of contacts, replies by SMS, and API tokens."""

from __future__ import annotations

import pytest

from alerts.gateways.twilio.sms import GATEWAY, TwilioSmsSettings
from monitor.service.per_configuration import build_pin_store
from tests.unit.monitor.config.ministry import KINDS, Ministry

PIN = "280146"


def with_pin(ministry: Ministry, pin: str, written: str = "pin_file: secrets/pin") -> None:
    ministry.put_secret("pin", pin + "\n")
    ministry.edit("jabatan", "name: Siti binti Contoh\n    sms", f"name: Siti binti Contoh\n    {written}\n    sms")


async def test_pin_is_hashed_and_checked_for_its_owner_only(ministry: Ministry) -> None:
    with_pin(ministry, PIN)
    configuration = ministry.load().require_configuration()
    agency = configuration.registry.agencies["JCONTOH"]
    pins = build_pin_store(configuration)

    assert await pins.check("JCONTOH", "siti", PIN)
    assert not await pins.check("JCONTOH", "siti", "280147")
    assert not await pins.check("JCONTOH", "rahim", PIN)
    assert not await pins.check("MPCONTOH", "siti", PIN)
    assert (pins.has_pin("JCONTOH", "siti"), pins.has_pin("JCONTOH", "rahim")) == (True, False)
    kept = agency.contacts["siti"].pin
    assert kept is not None
    assert PIN not in f"{kept.get_secret_value()} {agency!r} {agency.model_dump_json()} {pins!r}"


async def test_pin_of_shared_contact_is_valid_for_every_agency(ministry: Ministry) -> None:
    ministry.put_secret("pin", PIN)
    ministry.edit("pantau", "name: Rahim bin Contoh\n", "name: Rahim bin Contoh\n    pin_file: secrets/pin\n")

    assert await build_pin_store(ministry.load().require_configuration()).check("JCONTOH", "rahim", PIN)


@pytest.mark.parametrize(
    ("pin", "why"),
    [
        ("12345", "a PIN is 6 to 12 digits"),
        ("1234567890123", "a PIN is 6 to 12 digits"),
        ("28O146", "a PIN is 6 to 12 digits"),
        ("٢٨٠١٤٦", "a PIN is 6 to 12 digits"),
        ("000000", "easy to guess"),
        ("123456", "easy to guess"),
        ("987654", "easy to guess"),
    ],
)
def test_pin_invalid_is_refused_and_not_repeated(ministry: Ministry, pin: str, why: str) -> None:
    with_pin(ministry, pin)

    [problem] = ministry.problems()

    assert "contacts.siti.pin" in problem
    assert why in problem
    assert pin not in problem


def test_pin_inline_is_refused(ministry: Ministry) -> None:
    with_pin(ministry, PIN, f"pin: {PIN!r}")

    [problem] = ministry.problems()

    assert "a secret is never written in the configuration; write instead: pin_file: PATH, or pin_env: NAME" in problem


@pytest.mark.parametrize(
    ("replies", "public_url", "problems"),
    [("webhook", False, 1), ("webhook", True, 0), ("poll", False, 0), ("off", False, 0)],
)
def test_sms_replies_by_webhook_need_public_url(
    ministry: Ministry, monkeypatch: pytest.MonkeyPatch, replies: str, problems: int, *, public_url: bool
) -> None:
    monkeypatch.setitem(KINDS, GATEWAY.name, GATEWAY)
    account = f"account_sid: AC{'0' * 32}, auth_token_file: secrets/mail, from_number: '+15005550006'"
    ministry.edit(
        "pantau",
        "{gateway: pigeon, token_file: secrets/mail}",
        f"{{gateway: twilio_sms, {account}, replies: {replies}}}",
    )
    if public_url:
        ministry.edit(
            "pantau", "site: putrajaya", "callbacks: {public_url: 'https://pantau.contoh.gov.my'}\nsite: putrajaya"
        )

    found = [p for p in ministry.problems() if "replies" in p]

    assert len(found) == problems
    assert all(
        "gateways.sms[0].replies: providers cannot reach Pantau" in p and "write instead: poll" in p for p in found
    )
    assert TwilioSmsSettings.model_fields["replies"].default == "off"
