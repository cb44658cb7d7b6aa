"""Secrets that were entered in the portal, as documents name them."""

from __future__ import annotations

import json
import sqlite3

import pytest

from monitor.access.encryption import SecretId, SecretPurpose
from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.fields.trust import Trust
from monitor.config.files.problem import Severity
from monitor.config.files.secret import StoredSecret
from monitor.config.loading import LoadCache
from monitor.config.model.registry import Registry
from monitor.store.admin.keyring import Keyring, new_key
from probes.credentials.oauth_endpoint import RefreshTokenStore
from probes.model.egress import AllowedNetwork, EgressPolicy
from probes.model.mailbox import Password, UnavailableLogin
from tests.mailbox_parts import imap_of
from tests.unit.monitor.config.ministry import SECRET, Ministry

NAME = "typed-aaaabbbbccccdddd"
ALLOWED_RECIPIENTS = ("imap.gmail.com:993 implicit", "smtp.gmail.com:465 implicit")
PLACE = "agencies/jabatan.yaml:16: warning: mailboxes.utama.login.password_stored"
_PASSWORD_FILE = "password_file: secrets/mail"


@pytest.fixture
def ministry(ministry: Ministry) -> Ministry:
    """Return a configuration whose agency has a stored password."""
    ministry.edit("jabatan", _PASSWORD_FILE, f"password_stored: {NAME}")
    return ministry


@pytest.fixture
def key(ministry: Ministry) -> str:
    """Configure a secrets key, and return it."""
    key = new_key()
    ministry.put_secret("key", key)
    ministry.edit("pantau", "state_dir: state", "state_dir: state\nportal: {secrets_key_file: secrets/key}")
    return key


def store_secret(ministry: Ministry, key: str, secret: StoredSecret, name: str = NAME) -> None:
    """Store the secret as the portal does."""
    (ministry.directory / "state").mkdir(exist_ok=True)
    kept = Keyring(key).encrypt(SecretId(purpose=SecretPurpose.MAILBOX, owner=name), secret.serialize())
    with sqlite3.connect(ministry.directory / "state" / "pantau.sqlite") as store:
        columns = "purpose TEXT, owner TEXT, key_id TEXT, ciphertext TEXT, written_by TEXT, written_at TEXT"
        store.execute(f"CREATE TABLE IF NOT EXISTS secret ({columns})")
        row = ("mailbox", name, kept.key_id, kept.text, "Siti", "2026-01-01 00:00:00")
        store.execute("INSERT INTO secret VALUES (?, ?, ?, ?, ?, ?)", row)


def problems(ministry: Ministry) -> list[str]:
    """Return the problems about stored secrets."""
    return [each for each in ministry.problems() if "_stored" in each or "typed" in each]


def registry_of(ministry: Ministry, cache: LoadCache | None = None) -> Registry:
    return ministry.load(cache=cache).require_configuration().registry


def test_stored_secret_is_used_for_login_with_egress_policy(ministry: Ministry, key: str) -> None:
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))

    assert problems(ministry) == []
    mailbox = registry_of(ministry).mailboxes["JCONTOH/utama"].mailbox
    assert mailbox.login == Password(username="pantau", secret=SECRET)
    assert imap_of(mailbox).egress == EgressPolicy()
    assert imap_of(registry_of(ministry).mailboxes["rujukan-a"].mailbox).egress is None


def test_allowed_mail_networks_change_applies_at_once(ministry: Ministry, key: str) -> None:
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))
    cache = LoadCache()
    cache.active_registry = registry_of(ministry, cache)
    ministry.edit("pantau", "secrets/key}", "secrets/key, allowed_mail_networks: [10.20.0.0/16]}")

    mailbox = registry_of(ministry, cache).mailboxes["JCONTOH/utama"].mailbox
    assert imap_of(mailbox).egress == EgressPolicy(exceptions=(AllowedNetwork.read("10.20.0.0/16"),))


def test_stored_secret_missing_disables_login_of_its_mailbox_only(
    ministry: Ministry,
) -> None:
    why = "the secret from the portal is not in this database, so Pantau cannot sign in to the mailbox"

    assert problems(ministry) == [f"{PLACE}: {why}; write instead: it again, on the agency's page in the portal"]
    registry = registry_of(ministry)
    assert registry.mailboxes["JCONTOH/utama"].mailbox.login == UnavailableLogin(username="pantau", reason=why)
    assert isinstance(registry.mailboxes["rujukan-a"].mailbox.login, Password)


def test_stored_secret_undecryptable_names_required_key(ministry: Ministry, key: str) -> None:
    lost = new_key()
    store_secret(ministry, lost, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))

    (said,) = problems(ministry)
    assert f"cannot be decrypted: it was encrypted with the key {Keyring(lost).key_id}, which is not available" in said
    ministry.edit("pantau", "portal: {secrets_key_file: secrets/key}\n", "")
    (said,) = problems(ministry)
    assert "portal.secrets_key_file names no readable key" in said


@pytest.mark.parametrize("file", ["gone", "", "no key", "unreadable"])
def test_secrets_key_lost_is_a_loss_and_other_mailboxes_still_work(ministry: Ministry, key: str, file: str) -> None:
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))
    place = ministry.directory / "secrets" / "key"
    place.unlink()
    if file == "unreadable":
        place.mkdir()
    elif file != "gone":
        place.write_text(file)
    loaded = ministry.load()

    (lost,) = loaded.losses
    assert (lost.key, lost.severity, loaded.errors) == ("portal.secrets_key_file", Severity.LOSS, ())
    assert str(lost).endswith(
        "no secret can be stored; write instead: the file with the key, from its backup; without a backup: "
        "`pantau secrets generate-key --to FILE`, and enter all secrets again"
    )
    assert [each for each in map(str, loaded.warnings) if "names no readable key" in each]
    mailboxes = loaded.require_configuration().registry.mailboxes
    assert isinstance(mailboxes["JCONTOH/utama"].mailbox.login, UnavailableLogin)
    assert isinstance(mailboxes["rujukan-a"].mailbox.login, Password)


def test_secrets_key_lost_rest_of_portal_is_still_checked(ministry: Ministry, key: str) -> None:
    ministry.edit("pantau", "secrets/key}", "secrets/gone, second_factor: [admin]}\nlisten: 0.0.0.0:8080")
    loaded = ministry.load()

    assert [each.key for each in loaded.losses] == ["portal.secrets_key_file"]
    assert {each.key for each in loaded.errors} == {"listen", "portal.address"}


def test_previous_secrets_key_lost_affects_only_secrets_encrypted_with_it(ministry: Ministry, key: str) -> None:
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))
    ministry.edit("pantau", "secrets/key}", "secrets/key, previous_secrets_key_file: secrets/gone}")
    loaded = ministry.load()

    assert [each.key for each in loaded.losses] == ["portal.previous_secrets_key_file"]
    assert not loaded.require_configuration().is_secrets_key_missing
    assert isinstance(registry_of(ministry).mailboxes["JCONTOH/utama"].mailbox.login, Password)


def test_load_cache_keeps_decrypted_secret_after_key_is_lost(ministry: Ministry, key: str) -> None:
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))
    cache = LoadCache()
    registry_of(ministry, cache)
    (ministry.directory / "secrets" / "key").unlink()

    assert isinstance(registry_of(ministry, cache).mailboxes["JCONTOH/utama"].mailbox.login, Password)


def test_stored_secret_is_refused_for_other_server(ministry: Ministry, key: str) -> None:
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))
    ministry.edit("jabatan", "imap: {host: imap.gmail.com}", "imap: {host: imap.penyerang.example}")

    (said,) = problems(ministry)
    assert (
        "login.password_stored: was entered for imap.gmail.com:993 implicit, smtp.gmail.com:465 implicit, and not for"
        in said
    )
    assert (
        "imap.penyerang.example:993 implicit; write instead: the previous servers; or the secret, entered again" in said
    )
    assert SECRET not in said


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("imap: {host: imap.gmail.com}", "imap: {host: imap.gmail.com, port: 995}"),
        ("imap: {host: imap.gmail.com}", "imap: {host: imap.gmail.com, port: 993, security: starttls}"),
        ("imap: {host: imap.gmail.com}", "imap: {host: imap.gmail.com, tls_name: penyerang.example}"),
        ("imap: {host: imap.gmail.com}", "pop3: {host: imap.gmail.com}"),
    ],
)
def test_stored_secret_other_port_security_or_tls_name_is_other_server(
    ministry: Ministry, key: str, was: str, becomes: str
) -> None:
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))
    ministry.edit("jabatan", was, becomes)

    assert any("was entered for" in each for each in problems(ministry))


def test_stored_secret_fewer_servers_or_other_case_is_accepted(ministry: Ministry, key: str) -> None:
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))
    ministry.edit("jabatan", "imap: {host: imap.gmail.com}", "imap: {host: IMAP.gmail.com, port: 993}")
    assert problems(ministry) == []
    ministry.edit("jabatan", "    smtp: {host: smtp.gmail.com}\n", "")
    assert not any("was entered for" in each for each in problems(ministry))


def test_stored_refresh_token_is_bound_to_token_endpoint(ministry: Ministry, key: str) -> None:
    endpoint = "https://login.microsoftonline.com/jcm.gov.my/oauth2/v2.0/token"
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=(*ALLOWED_RECIPIENTS, endpoint)))
    login_section = f"oauth: {{provider: microsoft, tenant: jcm.gov.my, flow: refresh_token, client_id: x, refresh_token_stored: {NAME}}}"
    ministry.edit("jabatan", f"password_stored: {NAME}", login_section)
    assert problems(ministry) == []

    ministry.edit("jabatan", "tenant: jcm.gov.my", "tenant: lain.gov.my")
    (said,) = problems(ministry)
    assert "login.oauth.refresh_token_stored: was entered for" in said
    assert "and not for https://login.microsoftonline.com/lain.gov.my/oauth2/v2.0/token" in said


def test_stored_client_secret_is_bound_to_username(ministry: Ministry, key: str) -> None:
    endpoint = "https://login.microsoftonline.com/jcm.gov.my/oauth2/v2.0/token"
    store_secret(
        ministry, key, StoredSecret(SECRET, allowed_recipients=(*ALLOWED_RECIPIENTS, endpoint, "username: pantau"))
    )
    login_section = f"oauth: {{provider: microsoft, tenant: jcm.gov.my, flow: client_credentials, client_id: x, client_secret_stored: {NAME}}}"
    ministry.edit("jabatan", f"password_stored: {NAME}", login_section)
    assert problems(ministry) == []

    ministry.edit("jabatan", "username: pantau", "username: ketua-pengarah")
    (said,) = problems(ministry)
    assert "login.oauth.client_secret_stored: was entered for" in said
    assert "and not for username: ketua-pengarah" in said


def test_stored_refresh_token_without_rotations_is_newest_and_with_them_original(ministry: Ministry, key: str) -> None:
    endpoint = "https://login.microsoftonline.com/jcm.gov.my/oauth2/v2.0/token"
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=(*ALLOWED_RECIPIENTS, endpoint)))
    login_section = f"oauth: {{provider: microsoft, tenant: jcm.gov.my, flow: refresh_token, client_id: x, refresh_token_stored: {NAME}}}"
    ministry.edit("jabatan", f"password_stored: {NAME}", login_section)
    with sqlite3.connect(ministry.directory / "state" / "pantau.sqlite") as store:
        kept = Keyring(key).encrypt(SecretId(purpose=SecretPurpose.RENEWED, owner=NAME), "segar-7")
        row = ("renewed", NAME, kept.key_id, kept.text, "Pantau", "2026-01-02 00:00:00")
        store.execute("INSERT INTO secret VALUES (?, ?, ?, ?, ?, ?)", row)

    def token(cache: LoadCache) -> str:
        oauth = registry_of(ministry, cache).mailboxes["JCONTOH/utama"].settings.login.oauth
        assert oauth is not None
        assert oauth.refresh_token is not None
        return oauth.refresh_token.get_secret_value()

    followed: list[tuple[str, str]] = []

    def follow(name: str, typed: str) -> RefreshTokenStore:
        followed.append((name, typed))
        return RefreshTokenStore(typed)

    assert token(LoadCache()) == "segar-7"
    # A new configuration for each rotated token would open all connections again.
    assert token(LoadCache(rotations=follow)) == SECRET
    assert followed == [(NAME, SECRET)]
    assert problems(ministry) == []


def test_stored_secret_is_not_in_repr_or_json(ministry: Ministry, key: str) -> None:
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))
    configuration = ministry.load().require_configuration()

    agency = configuration.registry.agencies["JCONTOH"]
    shown = [repr(configuration), repr(agency), agency.model_dump_json(), str(agency.mailboxes["utama"].login.password)]
    assert not any(SECRET in each for each in shown)


def test_stored_secret_added_later_is_read(ministry: Ministry, key: str) -> None:
    cache = LoadCache()
    assert isinstance(registry_of(ministry, cache).mailboxes["JCONTOH/utama"].mailbox.login, UnavailableLogin)

    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))
    assert isinstance(registry_of(ministry, cache).mailboxes["JCONTOH/utama"].mailbox.login, Password)


def test_stored_secret_while_database_unreadable_is_taken_from_cache(ministry: Ministry, key: str) -> None:
    store_secret(ministry, key, StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS))
    cache = LoadCache()
    registry_of(ministry, cache)
    store = ministry.directory / "state" / "pantau.sqlite"
    store.write_bytes(b"no database" * 1000)

    assert isinstance(registry_of(ministry, cache).mailboxes["JCONTOH/utama"].mailbox.login, Password)
    assert any("secrets from the portal cannot be read" in each for each in problems(ministry))


def test_stored_secret_in_settings_or_with_invalid_name_is_refused(ministry: Ministry) -> None:
    ministry.edit("pantau", _PASSWORD_FILE, f"password_stored: {NAME}")
    ministry.edit("jabatan", NAME, "rahsia")

    said = "\n".join(problems(ministry))
    assert (
        "references.rujukan-a.login.password_stored: only secrets of an agency's mailboxes are entered in the portal"
        in said
    )
    assert "mailboxes.utama.login.password_stored: is no name of a secret that was entered in the portal" in said


def test_stored_secret_beside_password_file_is_refused(ministry: Ministry) -> None:
    ministry.edit("jabatan", f"password_stored: {NAME}", f"password_stored: {NAME}, {_PASSWORD_FILE}")

    assert any("password_stored: is a second source beside password_file" in each for each in problems(ministry))


def test_stored_secret_round_trip_keeps_allowed_recipients() -> None:
    secret = StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS)

    assert StoredSecret.parse(secret.serialize()) == secret
    assert json.loads(secret.serialize())["hearers"] == sorted(ALLOWED_RECIPIENTS)
    assert secret != StoredSecret(SECRET)
    with pytest.raises(ValueError, match="is no secret"):
        StoredSecret.parse("[]")


def test_stored_secret_for_other_servers_builds_unavailable_login() -> None:
    login = {"username": "pantau", "password": StoredSecret(SECRET, allowed_recipients=ALLOWED_RECIPIENTS)}
    said = {"address": "pantau@jcm.gov.my", "imap": {"host": "imap.penyerang.example"}, "login": login}
    mailbox = MailboxSettings.model_validate(said).build("JCM/utama", Trust(), EgressPolicy())

    assert mailbox.login == UnavailableLogin(username="pantau", reason="it was entered for other servers")
