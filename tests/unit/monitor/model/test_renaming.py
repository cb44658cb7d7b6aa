"""Renaming of agencies and mailboxes in stored names."""

from __future__ import annotations

import pytest

from monitor.model.renaming import RenamedKind, Renaming

AGENCY = Renaming(kind=RenamedKind.AGENCY, old="JCM", new="JKM")
MAILBOX = Renaming(kind=RenamedKind.MAILBOX, old="JCM/kedua", new="JCM/cawangan")
REFERENCE = Renaming(kind=RenamedKind.MAILBOX, old="rujukan-a", new="rujukan-x")
#: Name, and its new name by each renaming; `None`: unchanged.
SUBJECTS = [
    ("JCM/internal", "JKM/internal", None, None),
    ("JCM/internal/kedua", "JKM/internal/kedua", "JCM/internal/cawangan", None),
    ("JCM/outbound/rujukan-a", "JKM/outbound/rujukan-a", None, "JCM/outbound/rujukan-x"),
    ("JCM/inbound/kedua/rujukan-a", "JKM/inbound/kedua/rujukan-a", None, None),
    (
        "JCM/inbound/rujukan-a/kedua",
        "JKM/inbound/rujukan-a/kedua",
        "JCM/inbound/rujukan-a/cawangan",
        "JCM/inbound/rujukan-x/kedua",
    ),
    ("JCMX/internal", None, None, None),
    ("UCM/internal/kedua", None, None, None),
    ("UCM/outbound/rujukan-a/JCM", None, None, "UCM/outbound/rujukan-x/JCM"),
    ("control/rujukan-a/rujukan-b", None, None, "control/rujukan-x/rujukan-b"),
    ("control/rujukan-b/rujukan-a", None, None, "control/rujukan-b/rujukan-x"),
    ("ours/network", None, None, None),
    ("ours/credentials/JCM/utama", "ours/credentials/JKM/utama", None, None),
    (
        "ours/credentials/JCM/kedua#sender",
        "ours/credentials/JKM/kedua#sender",
        "ours/credentials/JCM/cawangan#sender",
        None,
    ),
    ("ours/credentials/rujukan-a#recipient", None, None, "ours/credentials/rujukan-x#recipient"),
    ("ours/reference/rujukan-a", None, None, "ours/reference/rujukan-x"),
]


@pytest.mark.parametrize(("name", "by_agency", "by_mailbox", "by_reference"), SUBJECTS, ids=str)
def test_renaming_tracker_and_key_rename_own_parts_only(
    name: str, by_agency: str | None, by_mailbox: str | None, by_reference: str | None
) -> None:
    for renaming, called in ((AGENCY, by_agency), (MAILBOX, by_mailbox), (REFERENCE, by_reference)):
        assert renaming.tracker(name) == renaming.key(name) == (called or name)


def test_renaming_applies_to_agency_mailbox_and_rota() -> None:
    assert [AGENCY.key(each) for each in ("JCM", "JCMX", "UCM")] == ["JKM", "JCMX", "UCM"]
    assert [AGENCY.mailbox(each) for each in ("JCM/utama", "rujukan-a")] == ["JKM/utama", "rujukan-a"]
    assert [AGENCY.rota(each) for each in ("JCM/bertugas", "noc")] == ["JKM/bertugas", "noc"]
    assert (MAILBOX.key("JCM"), MAILBOX.rota("JCM/kedua")) == ("JCM", "JCM/kedua")
