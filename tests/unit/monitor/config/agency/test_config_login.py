"""Servers and login of a mailbox."""

from __future__ import annotations

import pytest

from pantau_lab.oauth import LabServiceAccount
from probes.credentials.oauth import TokenCache
from probes.credentials.oauth_endpoint import ClientCredentialsIssuer, RefreshTokenIssuer
from probes.credentials.oauth_local import TokenFile
from probes.credentials.service_account import ServiceAccountIssuer
from probes.model.mailbox import Mailbox, OAuth, Password, Security
from tests.unit.monitor.config.ministry import SECRET, Ministry

_SERVERS = "smtp: {host: smtp.gmail.com}\n    imap: {host: imap.gmail.com}\n"
_LOGIN = "login: {username: pantau, password_file: secrets/mail}"
_MICROSOFT = (
    "oauth: {provider: microsoft, tenant: jabatan-contoh.gov.my, flow: client_credentials,"
    " client_id: pantau, client_secret_file: secrets/mail}"
)
_GOOGLE = (
    "oauth: {provider: google, flow: refresh_token, client_id: pantau,"
    " client_secret_file: secrets/mail, refresh_token_file: secrets/segar}"
)

_ACCOUNT = LabServiceAccount()
_DELEGATED = (
    f"oauth: {{provider: google, flow: service_account, client_id: '{_ACCOUNT.client_id}',"
    " service_account_file: secrets/akaun}"
)


def mailbox(ministry: Ministry) -> Mailbox:
    """Return the mailbox of the agency from its routes."""
    routes = ministry.load().require_configuration().registry.routes
    return next(route.route.sender for route in routes if route.route.sender.name == "JCONTOH/utama")


def set_login(ministry: Ministry, login_section: str) -> None:
    ministry.put_secret("segar", "segar-0\n")
    ministry.put_secret("akaun", _ACCOUNT.key_file())
    ministry.edit("jabatan", _LOGIN, f"login: {{username: pantau, {login_section}}}")


def tokens_of(box: Mailbox) -> object:
    assert isinstance(box.login, OAuth)
    return box.login.tokens


def issuer_of(box: Mailbox) -> object:
    tokens = tokens_of(box)
    assert isinstance(tokens, TokenCache)
    return tokens._issuer


def test_oauth_microsoft_uses_tenant_and_client_credentials(ministry: Ministry) -> None:
    set_login(ministry, _MICROSOFT)
    issuer = issuer_of(mailbox(ministry))
    assert isinstance(issuer, ClientCredentialsIssuer)
    client = issuer._client
    assert client.token_url == "https://login.microsoftonline.com/jabatan-contoh.gov.my/oauth2/v2.0/token"
    assert client.scope == "https://outlook.office365.com/.default"
    assert client.client_secret == SECRET


def test_oauth_google_uses_refresh_token(ministry: Ministry) -> None:
    set_login(ministry, _GOOGLE)
    issuer = issuer_of(mailbox(ministry))
    assert isinstance(issuer, RefreshTokenIssuer)
    assert issuer._client.token_url == "https://oauth2.googleapis.com/token"
    assert issuer._client.scope is None


def test_oauth_service_account_acts_for_mailbox_user(ministry: Ministry) -> None:
    set_login(ministry, _DELEGATED)
    issuer = issuer_of(mailbox(ministry))
    assert isinstance(issuer, ServiceAccountIssuer)
    assert (issuer._subject, issuer._account.email) == ("pantau", _ACCOUNT.email)
    assert (issuer._client.token_url, issuer._scope) == (
        "https://oauth2.googleapis.com/token",
        "https://mail.google.com/",
    )
    # The key file has several lines; a password has one.
    ministry.put_secret("akaun", "{rahsia\nkedua")
    (said,) = ministry.problems()
    assert "has more than one line" in said
    assert "rahsia" not in said


def test_oauth_other_provider_uses_token_url(ministry: Ministry) -> None:
    login_section = _MICROSOFT.replace(
        "provider: microsoft, tenant: jabatan-contoh.gov.my", "token_url: https://masuk.contoh/t"
    )
    set_login(ministry, login_section.replace("client_id", "scope: mel baca, client_id"))
    issuer = issuer_of(mailbox(ministry))
    assert isinstance(issuer, ClientCredentialsIssuer)
    assert (issuer._client.token_url, issuer._client.scope) == ("https://masuk.contoh/t", "mel baca")


def test_login_token_is_read_from_file_or_command(ministry: Ministry) -> None:
    set_login(ministry, "token_file: secrets/tanda")
    tokens = tokens_of(mailbox(ministry))
    assert isinstance(tokens, TokenFile)
    assert tokens._file == ministry.directory / "secrets/tanda"
    ministry.edit("jabatan", "token_file: secrets/tanda", "token_command: [oama, access, peti]")
    assert isinstance(tokens_of(mailbox(ministry)), TokenCache)


def test_oauth_tenant_is_stripped(ministry: Ministry) -> None:
    set_login(ministry, _MICROSOFT.replace("jabatan-contoh.gov.my", '" jabatan-contoh.gov.my "'))
    issuer = issuer_of(mailbox(ministry))
    assert isinstance(issuer, ClientCredentialsIssuer)
    assert "/jabatan-contoh.gov.my/" in issuer._client.token_url


def test_login_secrets_are_not_in_repr(ministry: Ministry) -> None:
    for login_section in (_MICROSOFT, _GOOGLE.replace("segar}", "mail}")):
        set_login(ministry, login_section)
        loaded = ministry.load()
        assert SECRET not in repr((loaded, mailbox(ministry), issuer_of(mailbox(ministry))))
        ministry.edit("jabatan", login_section, _LOGIN.removeprefix("login: {username: pantau, ").removesuffix("}"))


@pytest.mark.parametrize(
    ("login_section", "problem"),
    [
        (
            "token_file: secrets/x, token_command: [cat]",
            "token_command: is a second way to sign in beside token_file; write instead: one of the two",
        ),
        (
            "password_file: secrets/mail, token_file: secrets/x",
            "token_file: is a second way to sign in beside password; write instead: one of the two",
        ),
        (
            f"password_file: secrets/mail, {_MICROSOFT}",
            "oauth: is a second way to sign in beside password; write instead: one of the two",
        ),
        ("token_command: []", "token_command: is empty; write instead: [PROGRAM, ARGUMENT, ...]"),
        (
            _MICROSOFT.replace(" tenant: jabatan-contoh.gov.my,", ""),
            "oauth.tenant: is missing; write instead: tenant: jabatan-contoh.gov.my, or the id of the tenant",
        ),
        (
            _MICROSOFT.replace("jabatan-contoh.gov.my", "../lain"),
            "oauth.tenant: '../lain' is no tenant; write instead: jabatan-contoh.gov.my, or the id of the tenant",
        ),
        (
            _MICROSOFT.replace("provider: microsoft, ", "token_url: https://x.contoh/t, "),
            "oauth.tenant: belongs to Microsoft; write instead: provider: microsoft",
        ),
        (
            _MICROSOFT.replace("provider: microsoft, tenant: jabatan-contoh.gov.my, ", ""),
            "oauth.token_url: is missing; write instead: provider: microsoft | google, or token_url: https://...",
        ),
        (
            _MICROSOFT.replace("tenant:", "token_url: http://masuk.contoh/t, tenant:"),
            (
                "oauth.token_url: must be https, without a login: secrets are sent there; "
                "write instead: https://log-masuk.jabatan-contoh.gov.my/token"
            ),
        ),
        (
            _MICROSOFT.replace("tenant:", r'token_url: "https://masuk.contoh\n/t", tenant:'),
            "oauth.token_url: is longer than one line; write instead: one line of text",
        ),
        (
            _MICROSOFT.replace(", client_secret_file: secrets/mail", ""),
            ("oauth.client_secret: is missing; write instead: client_secret_file: PATH, or client_secret_env: NAME"),
        ),
        (
            _MICROSOFT.replace("client_secret_file: secrets/mail", "client_secret_file: secrets/tiada"),
            (
                "oauth.client_secret_file: the file secrets/tiada does not exist; "
                "write instead: the path of a file that holds only the secret; a relative one starts at ."
            ),
        ),
        (
            _MICROSOFT.replace("client_id:", "rotation_file: secrets/x, client_id:"),
            "oauth.rotation_file: is not used by this flow; write instead: flow: refresh_token",
        ),
        (
            _GOOGLE.replace(", refresh_token_file: secrets/segar", ""),
            ("oauth.refresh_token: is missing; write instead: refresh_token_file: PATH, or refresh_token_env: NAME"),
        ),
        (
            _GOOGLE.replace("flow: refresh_token", "flow: client_credentials").replace(
                ", refresh_token_file: secrets/segar", ""
            ),
            (
                "oauth.flow: Google gives a client by itself no access to mailboxes; "
                "write instead: service_account, or refresh_token"
            ),
        ),
        (
            _MICROSOFT.replace("flow: client_credentials", "flow: service_account").replace(
                "client_secret_file", "service_account_file"
            ),
            "oauth.flow: Microsoft has no such accounts; write instead: client_credentials",
        ),
        (
            _DELEGATED.replace("secrets/akaun", "secrets/mail"),
            (
                "oauth.service_account_file: is no JSON, as the file of a service account's key is; write instead: "
                "service_account_file: PATH, or service_account_env: NAME"
            ),
        ),
        (
            _DELEGATED.replace(_ACCOUNT.client_id, "1"),
            f"oauth.client_id: is not that of the service account's key; write instead: {_ACCOUNT.client_id}",
        ),
        (
            _DELEGATED.replace("client_id", "refresh_token_file: secrets/segar, client_id"),
            "oauth.refresh_token_file: is not used by this flow; write instead: flow: refresh_token",
        ),
        (
            _MICROSOFT.replace("client_credentials", "password"),
            "oauth.flow: 'password' is not possible here; write instead: client_credentials or refresh_token or service_account",
        ),
    ],
)
def test_login_invalid_settings_are_a_problem(ministry: Ministry, login_section: str, problem: str) -> None:
    set_login(ministry, login_section)
    assert ministry.problems() == [f"agencies/jabatan.yaml:16: mailboxes.utama.login.{problem}"]


def test_login_without_credentials_is_a_problem(ministry: Ministry) -> None:
    ministry.edit("jabatan", _LOGIN, "login: {username: pantau}")
    assert ministry.problems() == [
        (
            "agencies/jabatan.yaml:16: mailboxes.utama.login.password: is missing; write instead: "
            "password_file: PATH, or password_env: NAME; or oauth, token_file or token_command"
        )
    ]


def test_mailbox_can_be_read_over_pop3(ministry: Ministry) -> None:
    ministry.edit("jabatan", "imap: {host: imap.gmail.com}", "pop3: {host: pop.gmail.com}")
    box = mailbox(ministry)
    assert box.imap is None
    assert box.pop3 is not None
    assert (box.pop3.host, box.pop3.port, box.pop3.security) == ("pop.gmail.com", 995, Security.IMPLICIT)
    assert isinstance(box.login, Password)
    ministry.edit("jabatan", "pop.gmail.com}", "pop.gmail.com, security: starttls}")
    other = mailbox(ministry).pop3
    assert other is not None
    assert other.port == 110


def test_mailbox_inbox_can_be_another_folder(ministry: Ministry) -> None:
    assert mailbox(ministry).inbox == "INBOX"
    ministry.edit("jabatan", _LOGIN, f"{_LOGIN}\n    inbox: Kongsi/Pro")
    assert mailbox(ministry).inbox == "Kongsi/Pro"


@pytest.mark.parametrize(
    ("servers", "more", "problem"),
    [
        (
            "",
            "",
            (
                "12: mailboxes.utama: has no server: nothing is sent from it, and nothing read; "
                "write instead: smtp:, imap: or pop3:"
            ),
        ),
        (
            f"{_SERVERS}    pop3: {{host: pop.gmail.com}}\n    ",
            "",
            (
                "16: mailboxes.utama.pop3: is a second way to read it beside imap; "
                "write instead: imap: it sees junk folders, too"
            ),
        ),
        (
            "smtp: {host: smtp.gmail.com}\n    pop3: {host: pop.gmail.com}\n    ",
            "inbox: Pro",
            "17: mailboxes.utama.inbox: names folders, and only IMAP has them; write instead: imap:",
        ),
        (
            "smtp: {host: smtp.gmail.com}\n    pop3: {host: pop.gmail.com}\n    ",
            "junk_folders: [Sarap]",
            "17: mailboxes.utama.junk_folders: names folders, and only IMAP has them; write instead: imap:",
        ),
    ],
)
def test_mailbox_unusable_servers_are_a_problem(ministry: Ministry, servers: str, more: str, problem: str) -> None:
    ministry.edit("jabatan", f"{_SERVERS}    ", servers)
    if more:
        ministry.edit("jabatan", _LOGIN, f"{_LOGIN}\n    {more}")
    assert f"agencies/jabatan.yaml:{problem}" in ministry.problems()
