"""Domains and addresses that the circular of 1 June 2007 forbids (3c to 3f)."""

from __future__ import annotations

import pytest

from tests.unit.monitor.config.ministry import AGENCY, Ministry

_AGENCY = "agencies/jabatan.yaml"

#: The edit (file, old text, new text) and its only problem.
MISTAKES = [
    (
        ("jabatan", "pantau@jabatan-contoh.gov.my", "pantau@gmail.com"),
        (
            f"{_AGENCY}:13: mailboxes.utama.address: 'pantau@gmail.com' is at a private provider (circular, 3f); "
            "write instead: an address at jabatan-contoh.gov.my"
        ),
    ),
    (
        ("jabatan", "pantau@jabatan-contoh.gov.my", "pantau@Lain.gov.my"),
        (
            f"{_AGENCY}:13: mailboxes.utama.address: 'pantau@Lain.gov.my' is outside the agency's registered domains "
            "(circular, 3c and 3e); write instead: an address at jabatan-contoh.gov.my, or register lain.gov.my under domains"
        ),
    ),
    (
        ("jabatan", "domains: [", "domains: [jabatan-contoh.com, "),
        (
            f"{_AGENCY}:3: domains[0]: 'jabatan-contoh.com' has no official suffix (circular, 3d); write instead: a domain "
            "of the agency below gov.my or edu.my or mil.my; or list its suffix in official_suffixes"
        ),
    ),
    (
        ("jabatan", "domains: [", "domains: [jahat-gov.my, "),
        (
            f"{_AGENCY}:3: domains[0]: 'jahat-gov.my' has no official suffix (circular, 3d); write instead: a domain "
            "of the agency below gov.my or edu.my or mil.my; or list its suffix in official_suffixes"
        ),
    ),
    (
        ("jabatan", "domains: [", "domains: [mel.yahoo.com, "),
        (
            f"{_AGENCY}:3: domains[0]: 'mel.yahoo.com' is a private provider's domain (circular, 3f); "
            "write instead: a domain of the agency below gov.my or edu.my or mil.my"
        ),
    ),
    (
        ("jabatan", "domains: [", "domains: [gov.my, "),
        f"{_AGENCY}:3: domains[0]: 'gov.my' is no domain of one agency; write instead: jabatan-contoh.gov.my",
    ),
    (
        ("pantau", "pantau@rujukan-a.gov.my", "pantau@hotmail.com"),
        (
            "pantau.yaml:6: references.rujukan-a.address: 'pantau@hotmail.com' is at a private provider (circular, 3f); "
            "write instead: an address of a partner agency"
        ),
    ),
    (
        ("pantau", "pantau@rujukan-a.gov.my", "pantau@rujukan.example"),
        (
            "pantau.yaml:6: warning: references.rujukan-a.address: 'pantau@rujukan.example' has no official suffix "
            "(circular, 3d); write instead: an address of a partner agency, if there is one"
        ),
    ),
]


@pytest.mark.parametrize(("edit", "problem"), MISTAKES, ids=[mistake[0][2][:40] for mistake in MISTAKES])
def test_address_or_domain_mistake_is_only_problem(
    ministry: Ministry, edit: tuple[str, str, str], problem: str
) -> None:
    ministry.edit(*edit)
    assert ministry.problems() == [problem]


def test_official_address_may_use_any_server(ministry: Ministry) -> None:
    assert "smtp.gmail.com" in AGENCY
    ministry.edit("jabatan", "pantau@jabatan-contoh.gov.my", "pantau@cawangan.Jabatan-Contoh.gov.my")
    assert ministry.problems() == []


def test_listed_suffix_is_official(ministry: Ministry) -> None:
    ministry.edit("pantau", "state_dir: state", "official_suffixes: [gov.my, edu.my, perbadanan-contoh.com.my]")
    ministry.edit("jabatan", "domains: [", "domains: [perbadanan-contoh.com.my, ")
    assert ministry.problems() == []
