"""The mark by which a browser is known in which somebody has signed in before."""

from __future__ import annotations

from monitor.access.device import device_cookie, device_mark, marked_device

MARK = device_mark(1, "penyemak-imbas", "$argon2id$rahsia")


def test_a_mark_is_of_one_user_and_of_their_password_as_it_is() -> None:
    assert marked_device(MARK, 1, "$argon2id$rahsia") == "penyemak-imbas"
    assert marked_device(MARK, 2, "$argon2id$rahsia") is None
    assert marked_device(MARK, 1, "$argon2id$lain") is None


def test_nobody_makes_a_mark_of_another_or_of_nothing() -> None:
    proof = MARK.partition(".")[2]
    for forged in (
        "",
        ".",
        "penyemak-imbas",
        f"lain.{proof}",
        f"{MARK}0",
        MARK.upper(),
        f".{proof}",
        "é.ü",
        f"a.{MARK}",
    ):
        assert marked_device(forged, 1, "$argon2id$rahsia") is None, forged


def test_several_people_are_known_in_one_browser_and_a_cookies_name_tells_no_name() -> None:
    assert device_cookie("siti") != device_cookie("ravi")
    assert "siti" not in device_cookie("siti")
    assert device_cookie("siti").removeprefix("-device-").isalnum()


def test_who_was_known_before_an_update_is_known_after_it() -> None:
    assert device_cookie("siti") == "-device-a7ad5342de24"
    assert MARK == "penyemak-imbas.ef7dc09f9fdfb6c19ec7de070f16b06a4705c2d1f61a8c80a797a1db5d2bce1b"
