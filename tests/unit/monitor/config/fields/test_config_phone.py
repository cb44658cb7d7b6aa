"""Telephone numbers that are invalid, or invalid for their channel."""

from __future__ import annotations

import pytest

from tests.unit.monitor.config.ministry import Ministry

_AGENCY = "agencies/jabatan.yaml"
_NUMBER = "a number as in 010-000 0000, 03-1234 5678 or +60 3-1234 5678"

#: The edit (file, old text, new text) and its only problem.
MISTAKES = [
    (
        ("jabatan", "+44 20 7946 0103", "12"),
        f"{_AGENCY}:21: contacts.siti.voice: is not possible as a telephone number; write instead: {_NUMBER}",
    ),
    (
        ("jabatan", "+44 20 7946 0103", "tiada"),
        f"{_AGENCY}:21: contacts.siti.voice: is no telephone number; write instead: {_NUMBER}",
    ),
    (
        ("jabatan", "+44 20 7946 0103", "03-0000 0000"),
        (
            f"{_AGENCY}:21: warning: contacts.siti.voice: is in no range that is known to be assigned; "
            "write instead: the right number, if this is not it"
        ),
    ),
    (
        ("jabatan", "+1 202-555-0102", "03-0000 0000"),
        (
            f"{_AGENCY}:20: contacts.siti.sms: is no mobile number, and an SMS to a fixed line is lost; "
            "write instead: a mobile number, or voice:"
        ),
    ),
    (
        ("jabatan", "+44 20 7946 0104", "1-800-00-0000"),
        (
            f"{_AGENCY}:33: warning: announcement.recipients.kementerian.fax: cannot be reached from abroad, "
            "nor by gateways abroad; write instead: an ordinary number"
        ),
    ),
    (
        ("jabatan", "+44 20 7946 0104", "1-600-00-0000"),
        (
            f"{_AGENCY}:33: announcement.recipients.kementerian.fax: is charged at a premium rate (1-600); "
            "write instead: an ordinary number"
        ),
    ),
    (
        ("jabatan", '    voice: "+44 20 7946 0103"\n', ""),
        (f"{_AGENCY}:21: contacts.siti.extension: belongs to no line; write instead: voice: 03-1234 5678 beside it"),
    ),
    (
        ("jabatan", 'telephone: "+44 20 7946 0100"', "telephone: 12"),
        (
            f"{_AGENCY}:6: warning: letterhead.telephone: '12' is not possible as a telephone number; "
            "write instead: 03-1234 5678"
        ),
    ),
]


@pytest.mark.parametrize(("edit", "problem"), MISTAKES, ids=[mistake[0][2][:40] for mistake in MISTAKES])
def test_phone_number_mistake_is_only_problem(ministry: Ministry, edit: tuple[str, str, str], problem: str) -> None:
    ministry.edit(*edit)
    assert ministry.problems() == [problem]


@pytest.mark.parametrize("number", ["999", "112", "994", "991", "+60 999"])
def test_emergency_number_is_refused(ministry: Ministry, number: str) -> None:
    ministry.edit("jabatan", "+44 20 7946 0103", number)
    assert ministry.problems() == [
        (
            f"{_AGENCY}:21: contacts.siti.voice: is an emergency number; "
            "write instead: the number of a person or an office"
        )
    ]
