"""Password rules, password hashes and invitation codes."""

from __future__ import annotations

import pytest

from monitor.access.invitation_code import CodeKind, digest_of_code, normalise_code
from monitor.access.password import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH, password_problem
from monitor.service.access.secret import SessionKey, hash_password, new_code, verify_password
from monitor.web.page import PAGE_TEXTS

GOOD = "kerusi rotan di beranda hujan"


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        (GOOD, None),
        ("  spaces count, too  ", None),
        ("pendek sahaja", "password_short"),
        ((GOOD * 8)[:MAX_PASSWORD_LENGTH], None),
        ("x" * (MAX_PASSWORD_LENGTH + 1), "password_long"),
        ("passwordpassword", "password_guessable"),
        ("aaaaaaaaaaaaaaaaaaaa", "password_guessable"),
        ("123456789012345", "password_guessable"),
        ("JCMJCMJCMJCMJCM", "password_guessable"),
        ("siticontohsiticontoh", "password_guessable"),
        # Malay passwords that guessers try and that the library's lists lack.
        ("katalaluanrahsia", "password_guessable"),
        ("selamatpagimalaysia", "password_guessable"),
        ("jabatankementerian", "password_guessable"),
        ("malaysiamerdeka2026", "password_guessable"),
        ("akusayangkamu123", "password_guessable"),
        ("tukarkatalaluan1", "password_guessable"),
        ("merdeka!merdeka!42", "password_guessable"),
        # Malay passphrases that are not guessable.
        ("gerabak ungu menyanyi sumbang", None),
        ("zaitun-berlari-42-perahu", None),
        # Nobody guesses it without the stored hash, although it is the weakest accepted one.
        ("nasilemaksatay99", None),
    ],
)
def test_password_problem_short_long_or_guessable_is_reported(password: str, problem: str | None) -> None:
    assert password_problem(password, ["siti", "Siti", "Contoh", "JCM"]) == problem


def test_password_problem_texts_give_length_limits() -> None:
    for key, figure in (("password_short", MIN_PASSWORD_LENGTH), ("password_long", MAX_PASSWORD_LENGTH)):
        malay, english = PAGE_TEXTS["access"][key]
        assert f" {figure} aksara" in malay
        assert f" {figure} characters" in english


def test_hash_password_is_salted_argon2_and_verifies() -> None:
    kept = hash_password(GOOD)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert GOOD not in kept
    assert kept != hash_password(GOOD)
    assert verify_password(GOOD, kept)
    assert not verify_password(f"{GOOD} ", kept)


def test_normalise_code_accepts_lower_case_spaces_and_lookalikes() -> None:
    code = new_code(CodeKind.TELEPHONE)
    assert len(normalise_code(code)) == 10
    assert normalise_code(code.lower().replace("-", " ").replace("0", "o").replace("1", "l")) == normalise_code(code)
    letter = new_code(CodeKind.LETTER)
    assert len(normalise_code(letter)) == 24
    assert digest_of_code(letter) == digest_of_code(letter.replace("-", ""))
    assert digest_of_code(letter) != digest_of_code(new_code(CodeKind.LETTER))


def test_session_key_repr_and_digest_hide_key() -> None:
    key = SessionKey.new()
    assert len(key.text) >= 43
    assert key.text not in repr(key)
    assert key.text not in key.digest
