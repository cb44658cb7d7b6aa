"""Settings of the service: addresses, files, and names that must be unique."""

from __future__ import annotations

import pytest

from tests.unit.monitor.config.ministry import AGENCY, Ministry, second_agency

_AGENCY = "agencies/jabatan.yaml"

#: The edit (file, old text, new text) and its only problem.
MISTAKES = [
    (
        ("pantau", "state_dir: state", "listen: 0.0.0.0:8080"),
        (
            "pantau.yaml:2: listen: 0.0.0.0:8080 is not loopback, and there is no sign-in; "
            "write instead: 127.0.0.1:8080; or configure `portal`, so that users sign in"
        ),
    ),
    (
        ("pantau", "state_dir: state", "listen: 0.0.0.0:8080\nportal: {address: 'https://pantau.contoh.gov.my'}"),
        (
            "pantau.yaml:2: listen: 0.0.0.0:8080 is not loopback, and passwords would be sent unencrypted; "
            "write instead: portal.certificate and portal.key; or portal.trusted_proxies, if a proxy terminates TLS"
        ),
    ),
    (
        ("pantau", "state_dir: state", "listen: 0.0.0.0:8080\nportal: {trusted_proxies: [10.20.0.5]}"),
        (
            "pantau.yaml:3: portal.address: is missing: browsers on other machines need a host name; "
            "write instead: https://pantau.kementerian-contoh.gov.my"
        ),
    ),
    (
        ("pantau", "state_dir: state", "portal: {certificate: pantau.pem}"),
        (
            "pantau.yaml:2: portal.key: is missing: a certificate and its key go together; "
            "write instead: the path of a PEM file"
        ),
    ),
    (
        (
            "pantau",
            "state_dir: state",
            "portal: {openid: {issuer: 'https://log-masuk.contoh.gov.my', client_id: x, client_secret_file: secrets/mail}}",
        ),
        (
            "pantau.yaml:2: portal.openid: needs portal.address, to which the provider redirects browsers; write instead: "
            "portal.address, and /sign-in/openid/answer below it as the redirect URI at the provider"
        ),
    ),
    (
        (
            "pantau",
            "state_dir: state",
            "portal: {address: 'https://p.contoh.gov.my', openid: {issuer: 'http://x.my', client_id: x, client_secret_file: secrets/mail}}",
        ),
        (
            "pantau.yaml:2: portal.openid.issuer: must be an https address, as the provider's metadata names it; "
            "write instead: https://log-masuk.contoh.gov.my"
        ),
    ),
    (
        (
            "pantau",
            "state_dir: state",
            "portal: {mailbox_consent: {google: {client_id: x, client_secret_file: secrets/mail}}}",
        ),
        (
            "pantau.yaml:2: portal.mailbox_consent.google: needs portal.address, to which the provider redirects browsers; "
            "write instead: portal.address, and /mailboxes/consent below it as the redirect URI at Google"
        ),
    ),
    (
        ("pantau", "state_dir: state", "portal: {mailbox_consent: {microsoft: {client_id: x, tenant: 'a/b'}}}"),
        (
            "pantau.yaml:2: portal.mailbox_consent.microsoft.tenant: 'a/b' is no tenant; "
            "write instead: jabatan-contoh.gov.my, or the id of the tenant"
        ),
    ),
    (
        ("pantau", "state_dir: state", "portal: {mailbox_consent: {microsoft: {client_id: x, tenant: jabatan-é}}}"),
        (
            "pantau.yaml:2: portal.mailbox_consent.microsoft.tenant: 'jabatan-é' is no tenant; "
            "write instead: jabatan-contoh.gov.my, or the id of the tenant"
        ),
    ),
    (
        (
            "pantau",
            "state_dir: state",
            "portal: {mailbox_consent: {microsoft: {client_id: x, token_url: 'https://log-masuk.contoh.gov.my/t'}}}",
        ),
        (
            "pantau.yaml:2: portal.mailbox_consent.microsoft.device_url: is missing: device_url and token_url go together; "
            "write instead: https://log-masuk.contoh.gov.my/token"
        ),
    ),
    (
        ("pantau", "state_dir: state", "portal: {trusted_proxies: [proksi]}"),
        (
            "pantau.yaml:2: portal.trusted_proxies[0]: 'proksi' is no address or network; "
            "write instead: 10.20.0.5, or 10.20.0.0/24"
        ),
    ),
    (
        ("pantau", "state_dir: state", "portal: {allowed_mail_networks: [10.20.0.0/16, '10.20.0.5:smtp']}"),
        (
            "pantau.yaml:2: portal.allowed_mail_networks[1]: '10.20.0.5:smtp' is no network; "
            "write instead: 10.20.0.0/16; or 10.20.0.5:2525, to open one more port there"
        ),
    ),
    (
        ("pantau", "state_dir: state", "portal: {secrets_key_file: secrets/mail}"),
        (
            "pantau.yaml:2: portal.secrets_key_file: is no key of 44 characters, as `pantau secrets generate-key` creates it: "
            "encrypted secrets cannot be read, Pantau cannot sign in to mailboxes with secrets from the portal, and no secret "
            "can be stored; write instead: the file with the key, from its backup; without a backup: `pantau secrets "
            "generate-key --to FILE`, and enter all secrets again"
        ),
    ),
    (
        ("pantau", "state_dir: state", "portal: {second_factor: [admin]}"),
        (
            "pantau.yaml:2: portal.secrets_key_file: is missing: the secrets of `second_factor` are encrypted with it; "
            "write instead: PATH, of a file that `pantau secrets generate-key --to PATH` makes"
        ),
    ),
    (
        ("pantau", "state_dir: state", "callbacks: {listen: 127.0.0.1:8080}"),
        "pantau.yaml:2: callbacks.listen: is the same as listen; write instead: another port: 127.0.0.1:8081",
    ),
    (
        ("pantau", "agencies: agencies/", "agencies: secrets/"),
        (
            "pantau.yaml:1: agencies: secrets holds no agency file (*.yaml); "
            "write instead: a directory with one file an agency"
        ),
    ),
    (
        ("pantau", "agencies: agencies/", "agencies: tiada/"),
        "pantau.yaml:1: agencies: tiada is no directory that can be read; write instead: the directory of agency files, or: database",
    ),
    (
        ("pantau", "state_dir: state", "wording: kata"),
        "pantau.yaml:2: wording: kata: is no directory; write instead: the one with ms.yaml or en.yaml",
    ),
    (
        ("jabatan", "smtp: {host", "ca_file: tiada.pem\n    smtp: {host"),
        (
            f"{_AGENCY}:14: mailboxes.utama.ca_file: cannot be read: No such file or directory; "
            "write instead: the path of a PEM file with certificates"
        ),
    ),
    (
        ("jabatan", "smtp: {host", "ca_file: secrets/mail\n    smtp: {host"),
        (
            f"{_AGENCY}:14: mailboxes.utama.ca_file: holds no certificates in PEM form; "
            "write instead: the path of a PEM file with certificates"
        ),
    ),
]


@pytest.mark.parametrize(("edit", "problem"), MISTAKES, ids=[mistake[0][2][:40] for mistake in MISTAKES])
def test_service_mistake_is_only_problem(ministry: Ministry, edit: tuple[str, str, str], problem: str) -> None:
    ministry.edit(*edit)
    assert ministry.problems() == [problem]


def test_duplicate_names_are_reported_with_both_places(ministry: Ministry) -> None:
    text = AGENCY.replace("contacts:\n  siti:", "contacts:\n  rahim: {name: Rahim, voice: +442079460105}\n  siti:")
    ministry.write("kedua", text)
    assert ministry.problems() == [
        (
            "agencies/kedua.yaml:1: agency: the agency code 'JCONTOH' is also at agencies/jabatan.yaml:1; "
            "write instead: another short code, or one file for both"
        ),
        (
            "agencies/kedua.yaml:13: mailboxes.utama.address: the mailbox address 'pantau@jabatan-contoh.gov.my' is also at "
            "agencies/jabatan.yaml:13; write instead: a separate mailbox for each entry"
        ),
        (
            "agencies/kedua.yaml:18: contacts.rahim: the contact 'rahim' is also at pantau.yaml:21; "
            "write instead: another key, or name the shared contact"
        ),
        (
            "agencies/kedua.yaml:27: escalation.steps[1].contacts[0]: the step does not reach 'rahim', who has no address "
            "for sms; write instead: sms: 010-000 0000 for rahim"
        ),
    ]


def test_noc_contact_with_key_of_shared_contact_is_refused(ministry: Ministry) -> None:
    own = 'contacts: {rahim: {name: Rahim Lain, sms: "+1 202-555-0105"}}'
    ministry.edit("pantau", "  name: Pusat Operasi Contoh\n", f"  name: Pusat Operasi Contoh\n  {own}\n")
    (problem,) = ministry.problems()
    assert "noc.contacts.rahim: the contact 'rahim' is also at pantau.yaml:" in problem


def test_reference_address_used_by_agency_is_refused(ministry: Ministry) -> None:
    ministry.edit("jabatan", "[jabatan-contoh.gov.my]", "[jabatan-contoh.gov.my, rujukan-a.gov.my]")
    ministry.edit("jabatan", "pantau@jabatan-contoh.gov.my", "PANTAU@rujukan-a.gov.my")
    assert ministry.problems() == [
        (
            f"{_AGENCY}:13: mailboxes.utama.address: the mailbox address 'PANTAU@rujukan-a.gov.my' is also at "
            "pantau.yaml:6; write instead: a separate mailbox for each entry"
        )
    ]


@pytest.mark.parametrize(
    ("listen", "problem"),
    [
        ("127.0.0.1:0", []),
        ("[::1]:8080", []),
        ("0.0.0.0:80", ["must be loopback"]),
        ("x", ["'x' is no address with a port"]),
    ],
)
def test_listen_environment_variable_is_checked(ministry: Ministry, listen: str, problem: list[str]) -> None:
    instead = "write instead: 127.0.0.1:8080; any other address must be in the settings file, with `portal`"
    assert ministry.problems({"PANTAU_LISTEN": listen}) == [
        f"environment: PANTAU_LISTEN: {message}; {instead}" for message in problem
    ]


def test_agencies_directory_ignores_other_files(ministry: Ministry) -> None:
    for name in ("README.md", ".jabatan.yaml.swp", ".tersembunyi.yaml", "jabatan.yaml~"):
        (ministry.directory / "agencies" / name).write_text("agency: [")
    ministry.write("kedua", second_agency())
    assert list(ministry.load().require_configuration().registry.agencies) == ["JCONTOH", "MPCONTOH"]
