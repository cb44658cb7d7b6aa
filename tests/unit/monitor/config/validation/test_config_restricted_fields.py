"""Secrets, servers and files in an agency's document that only an administrator may change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.config.files.document import Document, document_from_text
from monitor.config.files.reading import as_model, field_annotation, is_secret, item_type, keys_of, unwrap
from monitor.config.model.registry import Agency
from monitor.config.validation.restricted_fields import check_domains, check_egress, check_restricted_fields
from probes.model.egress import AllowedNetwork, EgressPolicy

BEFORE = """\
agency: JCM
name: Jabatan Contoh
domains: [jcm.gov.my]
letterhead:
  crest: jata/jcm.svg
mailboxes:
  utama:
    address: pantau@jcm.gov.my
    smtp: {host: mel.jcm.gov.my, tls_name: mel.contoh.gov.my}
    imap: {host: mel.jcm.gov.my}
    login: {username: pantau, password_file: secrets/jcm}
contacts:
  siti: {name: Siti, sms: 010-000 0101, pin_file: secrets/pin}
"""


def restricted_problems(was: str, becomes: str, *, before: str = BEFORE) -> list[str]:
    assert was in before
    after = document_from_text(before.replace(was, becomes), "JCM in the store")
    return [str(problem) for problem in check_restricted_fields(document_from_text(before, "").data, after)]


@pytest.mark.parametrize(
    ("was", "becomes", "where"),
    [
        ("secrets/jcm", "/etc/shadow", "11: mailboxes.utama.login.password_file"),
        ("password_file: secrets/jcm", "password_env: PGPASSWORD", "11: mailboxes.utama.login"),
        ("username: pantau", "username: setiausaha", "11: mailboxes.utama.login.username"),
        ("host: mel.jcm.gov.my, tls", "host: penyerang.contoh.gov.my, tls", "9: mailboxes.utama.smtp.host"),
        (", tls_name: mel.contoh.gov.my", "", "9: mailboxes.utama.smtp"),
        ("imap: {host: mel.jcm.gov.my}", "imap: {host: mel.jcm.gov.my, port: 25}", "10: mailboxes.utama.imap.port"),
        ("    login:", "    ca_file: /etc/passwd\n    login:", "11: mailboxes.utama.ca_file"),
        ("jata/jcm.svg", "/etc/pantau/pantau.key", "5: letterhead.crest"),
        ("secrets/pin", "secrets/jcm", "13: contacts.siti.pin_file"),
        ("pin_file", "pin_env", "13: contacts.siti.pin_env"),
        ("  siti: {", "  ali: {name: Ali, pin_file: secrets/pin}\n  siti: {", "13: contacts.ali.pin_file"),
        ("  utama:", "  lain:", "9: mailboxes.lain.smtp"),
        # A removed value is reported at its parent.
        (", pin_file: secrets/pin", "", "13: contacts.siti.pin_file"),
        ("    imap: {host: mel.jcm.gov.my}\n", "", "7: mailboxes.utama.imap"),
        ("  crest: jata/jcm.svg\n", "  telephone: 03-0000 0100\n", "4: letterhead.crest"),
        ("letterhead:\n  crest: jata/jcm.svg\n", "", "1: letterhead.crest"),
        (", password_file: secrets/jcm", "", "11: mailboxes.utama.login"),
    ],
)
def test_restricted_fields_other_secret_source_or_server_is_refused_at_line(was: str, becomes: str, where: str) -> None:
    first, *_ = restricted_problems(was, becomes)
    assert first.startswith(f"JCM in the store:{where}: only an administrator may change")


def test_restricted_fields_remedy_is_previous_value() -> None:
    assert restricted_problems("secrets/jcm", "/etc/shadow")[0].endswith("; write instead: secrets/jcm")
    assert restricted_problems(", pin_file: secrets/pin", "")[0].endswith("; write instead: pin_file: secrets/pin")


def test_restricted_fields_ca_file_removable_with_stored_password_only() -> None:
    trusting = BEFORE.replace("    login:", "    ca_file: ca/jcm.pem\n    login:")
    (message,) = restricted_problems("    ca_file: ca/jcm.pem\n", "", before=trusting)
    assert "mailboxes.utama.ca_file: only an administrator" in message
    taken_over = BEFORE.replace("password_file: secrets/jcm", f"password_stored: {NAME}")
    assert (
        check_restricted_fields(document_from_text(trusting, "").data, document_from_text(taken_over, "JCM"), {NAME})
        == ()
    )


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("Siti", "Siti binti Contoh"),
        ("010-000 0101", "010-000 0102"),
        ("  crest: jata/jcm.svg\n", "  crest: jata/jcm.svg\n  telephone: 03-0000 0100\n"),
        ("contacts:\n  siti: {name: Siti, sms: 010-000 0101, pin_file: secrets/pin}\n", ""),
        (BEFORE[BEFORE.index("mailboxes:") : BEFORE.index("contacts:")], ""),
        ("address: pantau@", "address: mel@"),
        ("contacts:\n", "probing: {interval: 10m}\ncontacts:\n"),
        # The same value in another notation.
        ("secrets/jcm", "'secrets/jcm'"),
    ],
)
def test_restricted_fields_other_changes_are_allowed(was: str, becomes: str) -> None:
    assert restricted_problems(was, becomes) == []


def places(asked: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each file, secret and command in a document."""
    model, below = as_model(asked), item_type(asked)
    if model is not None:
        for key, field in keys_of(model).items():
            yield from places(
                field_annotation(field), (*path, f"{key}_file" if is_secret(field_annotation(field)) else key)
            )
    elif below is not None and path[-1] != "token_command":
        yield from places(below, (*path, "*"))
    elif unwrap(asked) is Path or is_secret(asked) or path[-1] == "token_command":
        yield path


FOUND = sorted(places(Agency))


def test_restricted_fields_model_has_file_secret_and_command_paths() -> None:
    assert ("mailboxes", "*", "login", "oauth", "client_secret_file") in FOUND
    assert len(FOUND) >= 8


@pytest.mark.parametrize("path", FOUND, ids="/".join)
def test_restricted_fields_cover_each_file_secret_and_command(path: tuple[str, ...]) -> None:
    value: Any = "/etc/shadow"
    for part in reversed(path):
        value = [value] if part == "*" and path[0] not in {"mailboxes", "contacts"} else {part.replace("*", "x"): value}
    assert check_restricted_fields({}, Document(file="JCM", data=value))


NAME, OTHER = "typed-aaaabbbbccccdddd", "typed-eeeeffffgggghhhh"
WITH_STORED_SECRET = BEFORE.replace("password_file: secrets/jcm", f"password_stored: {NAME}")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        # The server of a stored secret is checked with the secret, not here.
        ("host: mel.jcm.gov.my, tls", "host: mel2.jcm.gov.my, tls"),
        ("    imap: {host: mel.jcm.gov.my}\n", ""),
        ("username: pantau", "username: peti"),
    ],
)
def test_restricted_fields_mailbox_with_stored_secret_is_editable(was: str, becomes: str) -> None:
    assert restricted_problems(was, becomes, before=WITH_STORED_SECRET) == []


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        (NAME, OTHER, "mailboxes.utama.login.password_stored: names a secret that nobody has entered here"),
        ("  utama:", "  lain:", "mailboxes.lain.login.password_stored: names a secret that nobody has entered here"),
        (f"password_stored: {NAME}", "password_file: /etc/shadow", "mailboxes.utama.login: only an administrator"),
        (
            f"password_stored: {NAME}",
            "token_command: [cat, /etc/shadow]",
            "mailboxes.utama.login: only an administrator",
        ),
        ("    login:", "    ca_file: /etc/passwd\n    login:", "mailboxes.utama.ca_file: only an administrator"),
        (
            f"password_stored: {NAME}",
            f"oauth: {{token_url: 'https://x.my', refresh_token_stored: {NAME}}}",
            "mailboxes.utama.login: only an administrator",
        ),
    ],
)
def test_restricted_fields_unknown_stored_secret_or_local_file_is_refused(was: str, becomes: str, message: str) -> None:
    assert any(message in each for each in restricted_problems(was, becomes, before=WITH_STORED_SECRET))


def test_restricted_fields_stored_secret_may_replace_file_but_not_join_it() -> None:
    other_server = WITH_STORED_SECRET.replace("imap: {host: mel.jcm.gov.my}", "imap: {host: mel.penyedia.example}")
    after, before = document_from_text(other_server, "JCM"), document_from_text(BEFORE, "").data

    assert check_restricted_fields(before, after, {NAME}) == ()
    assert [each.key for each in check_restricted_fields(before, after)] == ["mailboxes.utama.login.password_stored"]
    both = document_from_text(
        other_server.replace(f"_stored: {NAME}", f"_stored: {NAME}, password_file: secrets/jcm"), "JCM"
    )
    assert check_restricted_fields(before, both, {NAME})


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("{host: 127.0.0.1, port: 5432}", "imap.port: is a port that mail servers do not use"),
        ("{host: mel.jcm.gov.my, port: 5432}", "imap.port: is a port that mail servers do not use"),
        ("{host: 127.0.0.1}", "imap.host: is this machine itself"),
        ("{host: '::ffff:127.0.0.1'}", "imap.host: is this machine itself"),
        ("{host: 169.254.169.254}", "imap.host: is the link of this machine"),
        ("{host: 10.21.0.1}", "imap.host: is a private network that the settings do not name"),
        ("{host: 10.20.0.1}", ""),
        ("{host: 10.20.0.9, port: 2525}", ""),
        ("{host: mel.jcm.gov.my, security: starttls}", ""),
        ("{host: mel.jcm.gov.my, port: empat}", ""),
    ],
)
def test_egress_forbidden_address_or_port_is_reported_at_its_key(server: str, message: str) -> None:
    egress = EgressPolicy(exceptions=(AllowedNetwork.read("10.20.0.0/16"), AllowedNetwork.read("10.20.0.9:2525")))
    after = document_from_text(WITH_STORED_SECRET.replace("imap: {host: mel.jcm.gov.my}", f"imap: {server}"), "JCM")
    before = document_from_text(WITH_STORED_SECRET, "").data

    found = [str(each) for each in check_egress(before, after, egress)]
    assert len(found) == (1 if message else 0)
    assert message in "".join(found)
    # Existing values and mailboxes of operators are not checked.
    assert check_egress(after.data, after, egress) == ()
    placed = document_from_text(after.text.replace("password_stored", "password_file"), "JCM")
    assert check_egress(before, placed, egress) == ()


@pytest.mark.parametrize(
    ("becomes", "refused"),
    [
        ("domains: [jcm.gov.my, kementerian-lain.gov.my]", ["3: domains[1]"]),
        ("domains: [kementerian-lain.gov.my]", ["3: domains[0]"]),
        ("domains: [bukan-jcm.gov.my, lain.jcm.gov.my.example.com]", ["3: domains[0]", "3: domains[1]"]),
        ("domains: [JCM.gov.my, cawangan.jcm.gov.my]", []),
        ("domains: []", []),
        ("domains: jcm.gov.my", []),
    ],
)
def test_domains_of_own_subdomains_are_allowed_and_others_refused(becomes: str, refused: list[str]) -> None:
    after = document_from_text(BEFORE.replace("domains: [jcm.gov.my]", becomes), "JCM in the store")
    found = [str(problem) for problem in check_domains(document_from_text(BEFORE, "").data, after)]
    assert [each.split(": only an administrator may register a domain")[0] for each in found] == [
        f"JCM in the store:{each}" for each in refused
    ]
