"""Edits of an agency's document by the mailbox form."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from monitor.config.files.document import document_from_text
from monitor.service.portal.typed_mailbox import EnteredMailbox, mailbox_draft

BEFORE = """\
agency: JCM
name: Jabatan Contoh
domains: [jcm.gov.my]
mailboxes:
  # Ours since 2019.
  utama:
    address: pantau@jcm.gov.my
    smtp: {host: mel.jcm.gov.my, tls_name: mel.contoh.gov.my}
    imap:
      host: mel.jcm.gov.my   # the new one
      port: 1993
    login: {username: pantau, password_file: secrets/jcm}
"""
ENTERED = EnteredMailbox(
    key="kaunter",
    address="kaunter@jcm.gov.my",
    servers={
        "smtp": {"host": "mel.jcm.gov.my"},
        "imap": {"host": "mel.jcm.gov.my", "port": "", "security": "starttls"},
    },
    username="kaunter",
    password="rahsia kaunter",
)


def test_mailbox_draft_new_mailbox_has_stored_secret_name() -> None:
    draft = mailbox_draft("JCM", BEFORE, "digest", ENTERED)

    ((name, secret),) = draft.typed.items()
    assert re.fullmatch("typed-[a-z2-7]{16}", name)
    assert secret == "rahsia kaunter"
    assert draft.text == BEFORE + (
        "  kaunter:\n"
        "    address: kaunter@jcm.gov.my\n"
        "    smtp:\n"
        "      host: mel.jcm.gov.my\n"
        "    imap:\n"
        "      host: mel.jcm.gov.my\n"
        "      security: starttls\n"
        "    login:\n"
        "      username: kaunter\n"
        f"      password_stored: {name}\n"
    )
    assert "rahsia" not in repr(draft)
    assert "rahsia" not in repr(ENTERED)


def test_mailbox_draft_replaces_file_secret_and_keeps_comments() -> None:
    servers = {"smtp": {"host": "smtp.jcm.gov.my"}, "imap": {"host": "imap.jcm.gov.my", "port": "993"}}
    changed = replace(ENTERED, key="utama", address="pantau@jcm.gov.my", username="pantau", servers=servers)
    draft = mailbox_draft("JCM", BEFORE, "digest", changed)

    (name,) = draft.typed
    assert draft.text == (
        BEFORE.replace("{host: mel.jcm.gov.my, tls_name: mel.contoh.gov.my}", "{host: smtp.jcm.gov.my}")
        .replace("host: mel.jcm.gov.my   # the new one", "host: imap.jcm.gov.my   # the new one")
        .replace("1993", "993")
        .replace("password_file: secrets/jcm", f"password_stored: {name}")
    )


def test_mailbox_draft_without_new_password_keeps_previous_one() -> None:
    first = mailbox_draft("JCM", BEFORE, "digest", ENTERED)
    again = mailbox_draft("JCM", first.text, "digest", replace(ENTERED, password="", username="kaunter2"))

    assert again.typed == {}
    assert again.text == first.text.replace("username: kaunter", "username: kaunter2")


@pytest.mark.parametrize("gone", ["smtp", "imap"])
def test_mailbox_draft_omitted_server_is_removed(gone: str) -> None:
    first = mailbox_draft("JCM", BEFORE, "digest", ENTERED)
    servers = {key: each for key, each in ENTERED.servers.items() if key != gone}
    again = mailbox_draft("JCM", first.text, "digest", replace(ENTERED, password="", servers=servers))

    assert document_from_text(again.text, "").data["mailboxes"]["kaunter"].keys() == {"address", "login", *servers}


def test_mailbox_draft_switches_between_password_and_oauth() -> None:
    oauth = {
        "provider": "microsoft",
        "tenant": "jcm.gov.my",
        "flow": "refresh_token",
        "client_id": "pantau",
        "scope": "",
    }
    first = mailbox_draft("JCM", BEFORE, "digest", ENTERED)
    tokens = replace(ENTERED, password="", oauth=oauth, tokens={"refresh_token": "segar"})
    second = mailbox_draft("JCM", first.text, "digest", tokens)
    third = mailbox_draft("JCM", second.text, "digest", ENTERED)

    (name,) = second.typed
    assert document_from_text(second.text, "").data["mailboxes"]["kaunter"]["login"] == {
        "username": "kaunter",
        "oauth": {"provider": "microsoft", "tenant": "jcm.gov.my", "flow": "refresh_token", "client_id": "pantau"}
        | {"refresh_token_stored": name},
    }
    assert document_from_text(third.text, "").data["mailboxes"]["kaunter"]["login"] == {
        "username": "kaunter",
        "password_stored": next(iter(third.typed)),
    }
