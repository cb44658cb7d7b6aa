"""What a mailbox as it is typed makes of an agency's document."""

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
TYPED = EnteredMailbox(
    key="kaunter",
    address="kaunter@jcm.gov.my",
    servers={
        "smtp": {"host": "mel.jcm.gov.my"},
        "imap": {"host": "mel.jcm.gov.my", "port": "", "security": "starttls"},
    },
    username="kaunter",
    password="rahsia kaunter",
)


def test_another_mailbox_is_added_with_the_name_of_what_was_typed() -> None:
    draft = mailbox_draft("JCM", BEFORE, "digest", TYPED)

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
    assert "rahsia" not in repr(TYPED)


def test_what_is_typed_comes_in_the_place_of_what_was_placed_and_remarks_stay() -> None:
    servers = {"smtp": {"host": "smtp.jcm.gov.my"}, "imap": {"host": "imap.jcm.gov.my", "port": "993"}}
    changed = replace(TYPED, key="utama", address="pantau@jcm.gov.my", username="pantau", servers=servers)
    draft = mailbox_draft("JCM", BEFORE, "digest", changed)

    (name,) = draft.typed
    assert draft.text == (
        BEFORE.replace("{host: mel.jcm.gov.my, tls_name: mel.contoh.gov.my}", "{host: smtp.jcm.gov.my}")
        .replace("host: mel.jcm.gov.my   # the new one", "host: imap.jcm.gov.my   # the new one")
        .replace("1993", "993")
        .replace("password_file: secrets/jcm", f"password_stored: {name}")
    )


def test_without_another_password_the_one_of_before_stays() -> None:
    first = mailbox_draft("JCM", BEFORE, "digest", TYPED)
    again = mailbox_draft("JCM", first.text, "digest", replace(TYPED, password="", username="kaunter2"))

    assert again.typed == {}
    assert again.text == first.text.replace("username: kaunter", "username: kaunter2")


@pytest.mark.parametrize("gone", ["smtp", "imap"])
def test_a_server_that_is_left_out_is_taken_out(gone: str) -> None:
    first = mailbox_draft("JCM", BEFORE, "digest", TYPED)
    servers = {key: each for key, each in TYPED.servers.items() if key != gone}
    again = mailbox_draft("JCM", first.text, "digest", replace(TYPED, password="", servers=servers))

    assert document_from_text(again.text, "").data["mailboxes"]["kaunter"].keys() == {"address", "login", *servers}


def test_a_sign_in_with_tokens_comes_in_the_place_of_a_password_and_back() -> None:
    oauth = {
        "provider": "microsoft",
        "tenant": "jcm.gov.my",
        "flow": "refresh_token",
        "client_id": "pantau",
        "scope": "",
    }
    first = mailbox_draft("JCM", BEFORE, "digest", TYPED)
    tokens = replace(TYPED, password="", oauth=oauth, tokens={"refresh_token": "segar"})
    second = mailbox_draft("JCM", first.text, "digest", tokens)
    third = mailbox_draft("JCM", second.text, "digest", TYPED)

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
