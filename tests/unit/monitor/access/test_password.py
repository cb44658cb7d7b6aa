"""Which passwords and codes are good, and what is kept of them."""

from __future__ import annotations

import pytest

from monitor.access.invitation_code import CodeWay, digest_of_code, normalise_code
from monitor.access.password import LONGEST, SHORTEST, password_problem
from monitor.service.access.secret import SessionKey, hash_password, new_code, verify_password
from monitor.web.page import WORDS

GOOD = "kerusi rotan di beranda hujan"


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        (GOOD, None),
        ("  spaces count, too  ", None),
        ("pendek sahaja", "password_short"),
        ((GOOD * 8)[:LONGEST], None),
        ("x" * (LONGEST + 1), "password_long"),
        ("passwordpassword", "password_guessable"),
        ("aaaaaaaaaaaaaaaaaaaa", "password_guessable"),
        ("123456789012345", "password_guessable"),
        ("JCMJCMJCMJCMJCM", "password_guessable"),
        ("siticontohsiticontoh", "password_guessable"),
        # What guessers of Malay try, which the library's own lists lack.
        ("katalaluanrahsia", "password_guessable"),
        ("selamatpagimalaysia", "password_guessable"),
        ("jabatankementerian", "password_guessable"),
        ("malaysiamerdeka2026", "password_guessable"),
        ("akusayangkamu123", "password_guessable"),
        ("tukarkatalaluan1", "password_guessable"),
        ("merdeka!merdeka!42", "password_guessable"),
        # And what they do not, though it is Malay.
        ("gerabak ungu menyanyi sumbang", None),
        ("zaitun-berlari-42-perahu", None),
        # Nobody guesses it without what is stored, though it is the best of none.
        ("nasilemaksatay99", None),
    ],
)
def test_a_password_is_long_and_nothing_that_guessers_try(password: str, problem: str | None) -> None:
    assert password_problem(password, ["siti", "Siti", "Contoh", "JCM"]) == problem


def test_whoever_is_refused_is_told_how_long_it_must_and_may_be() -> None:
    for key, figure in (("password_short", SHORTEST), ("password_long", LONGEST)):
        malay, english = WORDS["access"][key]
        assert f" {figure} aksara" in malay
        assert f" {figure} characters" in english


def test_of_a_password_only_what_it_is_compared_with_is_kept() -> None:
    kept = hash_password(GOOD)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert GOOD not in kept
    assert kept != hash_password(GOOD)
    assert verify_password(GOOD, kept)
    assert not verify_password(f"{GOOD} ", kept)


def test_a_code_is_read_however_it_is_typed() -> None:
    code = new_code(CodeWay.TELEPHONE)
    assert len(normalise_code(code)) == 10
    assert normalise_code(code.lower().replace("-", " ").replace("0", "o").replace("1", "l")) == normalise_code(code)
    letter = new_code(CodeWay.LETTER)
    assert len(normalise_code(letter)) == 24
    assert digest_of_code(letter) == digest_of_code(letter.replace("-", ""))
    assert digest_of_code(letter) != digest_of_code(new_code(CodeWay.LETTER))


def test_a_session_key_shows_itself_to_nobody() -> None:
    key = SessionKey.new()
    assert len(key.text) >= 43
    assert key.text not in repr(key)
    assert key.text not in key.digest
