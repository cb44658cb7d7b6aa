"""Device cookie of a browser in which a user has signed in before."""

from __future__ import annotations

from monitor.access.device import device_cookie_suffix, device_cookie_value, verify_device_cookie

COOKIE = device_cookie_value(1, "penyemak-imbas", "$argon2id$rahsia")


def test_device_cookie_other_user_or_password_is_refused() -> None:
    assert verify_device_cookie(COOKIE, 1, "$argon2id$rahsia") == "penyemak-imbas"
    assert verify_device_cookie(COOKIE, 2, "$argon2id$rahsia") is None
    assert verify_device_cookie(COOKIE, 1, "$argon2id$lain") is None


def test_device_cookie_forged_is_refused() -> None:
    proof = COOKIE.partition(".")[2]
    for forged in (
        "",
        ".",
        "penyemak-imbas",
        f"lain.{proof}",
        f"{COOKIE}0",
        COOKIE.upper(),
        f".{proof}",
        "é.ü",
        f"a.{COOKIE}",
    ):
        assert verify_device_cookie(forged, 1, "$argon2id$rahsia") is None, forged


def test_device_cookie_suffix_is_per_user_and_hides_user_name() -> None:
    assert device_cookie_suffix("siti") != device_cookie_suffix("ravi")
    assert "siti" not in device_cookie_suffix("siti")
    assert device_cookie_suffix("siti").removeprefix("-device-").isalnum()


def test_device_cookie_suffix_and_value_are_stable() -> None:
    assert device_cookie_suffix("siti") == "-device-a7ad5342de24"
    assert COOKIE == "penyemak-imbas.ef7dc09f9fdfb6c19ec7de070f16b06a4705c2d1f61a8c80a797a1db5d2bce1b"
