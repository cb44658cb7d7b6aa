"""The mailbox's own junk folder, and those of others that the same sign-in shows."""

from __future__ import annotations

import pytest

from probes.protocol.folder import Namespaces, needs_namespaces, own_folders, parse_namespaces
from probes.protocol.imap_response import ImapResponse

DOVECOT = 'NAMESPACE (("" "/")) (("shared/" "/")) NIL'
CYRUS = 'NAMESPACE (("INBOX." ".")) (("user." ".")) (("" "."))'
GMAIL = 'NAMESPACE (("" "/")) NIL NIL'
SEVERAL = r'NAMESPACE (("" "/")("Arkib/" "/" "X-PARAM" ("FLAG1" "FLAG2"))) NIL (("#sh\"x/" "/")("Awam/" "/"))'


def read(text: str) -> Namespaces:
    return parse_namespaces([ImapResponse(text="FLAGS (x)"), ImapResponse(text=text)])


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (DOVECOT, {"": True, "shared/": False}),
        (CYRUS, {"INBOX.": True, "user.": False, "": False}),
        (GMAIL, {"": True}),
        (SEVERAL, {"": True, "Arkib/": True, '#sh"x/': False, "Awam/": False}),
        ("NAMESPACE NIL NIL NIL", {}),
        ("NAMESPACE ))((", {}),
        ("NAMESPACE", {}),
        ("LIST () NIL x", {}),
    ],
)
def test_namespaces_are_parsed(text: str, known: Namespaces) -> None:
    assert read(text) == known


PRO = "shared/pro@jabatan-contoh.gov.my"


@pytest.mark.parametrize(
    ("said", "inbox", "marked", "junk"),
    [
        # Own junk folder, wherever the server keeps it.
        (DOVECOT, "INBOX", ["Junk"], ["Junk"]),
        (GMAIL, "INBOX", ["[Gmail]/Spam"], ["[Gmail]/Spam"]),
        (CYRUS, "INBOX", ["INBOX.Junk"], ["INBOX.Junk"]),
        ("", "INBOX", ["INBOX.Junk", "Junk E-mail"], ["INBOX.Junk", "Junk E-mail"]),
        # Shared junk folders of others are not read.
        (DOVECOT, "INBOX", ["Junk", f"{PRO}/Junk"], ["Junk"]),
        (CYRUS, "INBOX", ["INBOX.Junk", "user.pro.Junk", "awam.Sarap"], ["INBOX.Junk"]),
        # Shared mailbox: its own junk folder, and not that of the reading account.
        (DOVECOT, PRO, ["Junk", f"{PRO}/Junk"], [f"{PRO}/Junk"]),
        (DOVECOT, f"{PRO}/INBOX", ["Junk", f"{PRO}/Junk", f"{PRO}.lain/Junk"], [f"{PRO}/Junk"]),
        (DOVECOT, PRO, ["Junk", f"{PRO}2/Junk"], []),
        (CYRUS, "user.pro", ["INBOX.Junk", "user.pro.Junk"], ["user.pro.Junk"]),
        ("", PRO, ["Junk", f"{PRO}/Junk"], [f"{PRO}/Junk"]),
        # An own folder into which a rule files incoming mail.
        (DOVECOT, "Pantau", ["Junk"], ["Junk"]),
        (CYRUS, "INBOX.Pantau", ["INBOX.Junk"], ["INBOX.Junk"]),
        ("", "Pantau", ["Junk"], ["Junk"]),
    ],
)
def test_junk_folders_belong_to_own_mailbox(said: str, inbox: str, marked: list[str], junk: list[str]) -> None:
    assert own_folders(inbox, marked, read(said)) == tuple(junk)


@pytest.mark.parametrize(
    ("inbox", "marked", "asked"),
    [
        ("INBOX", ["Junk"], False),
        ("INBOX", [], False),
        ("Pantau", ["Junk"], False),
        ("INBOX", ["Junk", f"{PRO}/Junk"], True),
        (PRO, ["Junk"], True),
    ],
)
def test_namespaces_are_needed_only_for_folders_elsewhere(inbox: str, marked: list[str], *, asked: bool) -> None:
    assert needs_namespaces(inbox, marked) is asked
