"""Secrets that people have typed in the portal, as documents name them."""

from __future__ import annotations

import json
import sqlite3

import pytest

from monitor.access.encryption import SecretPlace, SecretPurpose
from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.fields.trust import Trust
from monitor.config.files.problem import Severity
from monitor.config.files.secret import StoredSecret
from monitor.config.loading import LoadCache
from monitor.config.model.registry import Registry
from monitor.store.admin.keyring import Keyring, new_key
from probes.credentials.oauth_endpoint import Rotation
from probes.model.egress import EgressException, EgressPolicy
from probes.model.mailbox import Password, UnavailableLogin
from tests.ends import imap_of
from tests.unit.monitor.config.ministry import SECRET, Ministry

NAME = "typed-aaaabbbbccccdddd"
HEARERS = ("imap.gmail.com:993 implicit", "smtp.gmail.com:465 implicit")
PLACE = "agencies/jabatan.yaml:16: warning: mailboxes.utama.login.password_stored"
_IN_A_FILE = "password_file: secrets/mail"


@pytest.fixture
def ministry(ministry: Ministry) -> Ministry:
    """One whose agency's password was typed."""
    ministry.edit("jabatan", _IN_A_FILE, f"password_stored: {NAME}")
    return ministry


@pytest.fixture
def key(ministry: Ministry) -> str:
    """Name a key in its settings, and return it."""
    key = new_key()
    ministry.put_secret("key", key)
    ministry.edit("pantau", "state_dir: state", "state_dir: state\nportal: {secrets_key_file: secrets/key}")
    return key


def keep(ministry: Ministry, key: str, secret: StoredSecret, name: str = NAME) -> None:
    """Put it into the store as the portal does."""
    (ministry.directory / "state").mkdir(exist_ok=True)
    kept = Keyring(key).encrypt(SecretPlace(purpose=SecretPurpose.MAILBOX, owner=name), secret.serialize())
    with sqlite3.connect(ministry.directory / "state" / "pantau.sqlite") as store:
        columns = "purpose TEXT, owner TEXT, key_id TEXT, ciphertext TEXT, written_by TEXT, written_at TEXT"
        store.execute(f"CREATE TABLE IF NOT EXISTS secret ({columns})")
        row = ("mailbox", name, kept.key_id, kept.text, "Siti", "2026-01-01 00:00:00")
        store.execute("INSERT INTO secret VALUES (?, ?, ?, ?, ?, ?)", row)


def problems(ministry: Ministry) -> list[str]:
    """Return what is said of the secrets; of the forms' other keys others tell."""
    return [each for each in ministry.problems() if "_stored" in each or "typed" in each]


def registry_of(ministry: Ministry, memory: LoadCache | None = None) -> Registry:
    return ministry.load(memory=memory).accepted().registry


def test_what_was_typed_is_signed_in_with_and_its_servers_have_bounds(ministry: Ministry, key: str) -> None:
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))

    assert problems(ministry) == []
    mailbox = registry_of(ministry).mailboxes["JCONTOH/utama"].mailbox
    assert mailbox.login == Password(username="pantau", secret=SECRET)
    assert imap_of(mailbox).egress == EgressPolicy()
    assert imap_of(registry_of(ministry).mailboxes["rujukan-a"].mailbox).egress is None


def test_what_the_site_opens_counts_at_once(ministry: Ministry, key: str) -> None:
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))
    memory = LoadCache()
    memory.active_registry = registry_of(ministry, memory)
    ministry.edit("pantau", "secrets/key}", "secrets/key, allowed_mail_networks: [10.20.0.0/16]}")

    mailbox = registry_of(ministry, memory).mailboxes["JCONTOH/utama"].mailbox
    assert imap_of(mailbox).egress == EgressPolicy(exceptions=(EgressException.read("10.20.0.0/16"),))


def test_one_that_is_not_there_keeps_its_own_mailbox_from_being_signed_in_to_and_nothing_else(
    ministry: Ministry,
) -> None:
    why = "what was typed is not in this store: the mailbox is not signed in to"

    assert problems(ministry) == [f"{PLACE}: {why}; write instead: it again, on the agency's page in the portal"]
    registry = registry_of(ministry)
    assert registry.mailboxes["JCONTOH/utama"].mailbox.login == UnavailableLogin(username="pantau", reason=why)
    assert isinstance(registry.mailboxes["rujukan-a"].mailbox.login, Password)


def test_one_that_is_locked_says_with_which_key_it_could_be_read(ministry: Ministry, key: str) -> None:
    lost = new_key()
    keep(ministry, lost, StoredSecret(SECRET, allowed_hosts=HEARERS))

    (said,) = problems(ministry)
    assert f"cannot be read: it was encrypted with the key {Keyring(lost).key_id}, which is not here" in said
    ministry.edit("pantau", "portal: {secrets_key_file: secrets/key}\n", "")
    (said,) = problems(ministry)
    assert "portal.secrets_key_file names no key" in said


@pytest.mark.parametrize("file", ["gone", "", "no key", "unreadable"])
def test_a_key_that_is_lost_is_an_error_and_keeps_no_other_mail_from_being_watched(
    ministry: Ministry, key: str, file: str
) -> None:
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))
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
        "no secret is kept; write instead: the file with the key, from its copy; without one: "
        "`pantau secrets generate-key --to FILE`, and all is typed again"
    )
    assert [each for each in map(str, loaded.warnings) if "names no key that can be read" in each]
    mailboxes = loaded.accepted().registry.mailboxes
    assert isinstance(mailboxes["JCONTOH/utama"].mailbox.login, UnavailableLogin)
    assert isinstance(mailboxes["rujukan-a"].mailbox.login, Password)


def test_where_a_key_is_lost_the_rest_of_the_portal_is_checked_all_the_same(ministry: Ministry, key: str) -> None:
    ministry.edit("pantau", "secrets/key}", "secrets/gone, second_factor: [admin]}\nlisten: 0.0.0.0:8080")
    loaded = ministry.load()

    assert [each.key for each in loaded.losses] == ["portal.secrets_key_file"]
    assert {each.key for each in loaded.errors} == {"listen", "portal.address"}


def test_a_key_of_before_that_is_lost_costs_only_what_is_under_it_still(ministry: Ministry, key: str) -> None:
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))
    ministry.edit("pantau", "secrets/key}", "secrets/key, previous_secrets_key_file: secrets/gone}")
    loaded = ministry.load()

    assert [each.key for each in loaded.losses] == ["portal.previous_secrets_key_file"]
    assert not loaded.accepted().is_secrets_key_missing
    assert isinstance(registry_of(ministry).mailboxes["JCONTOH/utama"].mailbox.login, Password)


def test_one_who_reads_on_knows_what_was_read_before_the_key_was_lost(ministry: Ministry, key: str) -> None:
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))
    memory = LoadCache()
    registry_of(ministry, memory)
    (ministry.directory / "secrets" / "key").unlink()

    assert isinstance(registry_of(ministry, memory).mailboxes["JCONTOH/utama"].mailbox.login, Password)


def test_it_is_given_to_no_server_that_it_was_not_typed_for(ministry: Ministry, key: str) -> None:
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))
    ministry.edit("jabatan", "imap: {host: imap.gmail.com}", "imap: {host: imap.penyerang.example}")

    (said,) = problems(ministry)
    assert (
        "login.password_stored: was typed for imap.gmail.com:993 implicit, smtp.gmail.com:465 implicit, and not for"
        in said
    )
    assert (
        "imap.penyerang.example:993 implicit; write instead: the servers of before; or the secret, typed again" in said
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
def test_another_port_another_way_or_another_name_is_another_server(
    ministry: Ministry, key: str, was: str, becomes: str
) -> None:
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))
    ministry.edit("jabatan", was, becomes)

    assert any("was typed for" in each for each in problems(ministry))


def test_one_server_less_or_the_same_in_other_letters_is_none(ministry: Ministry, key: str) -> None:
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))
    ministry.edit("jabatan", "imap: {host: imap.gmail.com}", "imap: {host: IMAP.gmail.com, port: 993}")
    assert problems(ministry) == []
    ministry.edit("jabatan", "    smtp: {host: smtp.gmail.com}\n", "")
    assert not any("was typed for" in each for each in problems(ministry))


def test_a_refresh_token_is_for_its_endpoint_too(ministry: Ministry, key: str) -> None:
    endpoint = "https://login.microsoftonline.com/jcm.gov.my/oauth2/v2.0/token"
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=(*HEARERS, endpoint)))
    ways = f"oauth: {{provider: microsoft, tenant: jcm.gov.my, flow: refresh_token, client_id: x, refresh_token_stored: {NAME}}}"
    ministry.edit("jabatan", f"password_stored: {NAME}", ways)
    assert problems(ministry) == []

    ministry.edit("jabatan", "tenant: jcm.gov.my", "tenant: lain.gov.my")
    (said,) = problems(ministry)
    assert "login.oauth.refresh_token_stored: was typed for" in said
    assert "and not for https://login.microsoftonline.com/lain.gov.my/oauth2/v2.0/token" in said


def test_an_application_s_secret_is_for_the_mailbox_that_it_was_typed_for_too(ministry: Ministry, key: str) -> None:
    endpoint = "https://login.microsoftonline.com/jcm.gov.my/oauth2/v2.0/token"
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=(*HEARERS, endpoint, "username: pantau")))
    ways = f"oauth: {{provider: microsoft, tenant: jcm.gov.my, flow: client_credentials, client_id: x, client_secret_stored: {NAME}}}"
    ministry.edit("jabatan", f"password_stored: {NAME}", ways)
    assert problems(ministry) == []

    ministry.edit("jabatan", "username: pantau", "username: ketua-pengarah")
    (said,) = problems(ministry)
    assert "login.oauth.client_secret_stored: was typed for" in said
    assert "and not for username: ketua-pengarah" in said


def test_one_who_follows_nothing_is_given_the_newest_token_and_the_service_the_one_that_was_typed(
    ministry: Ministry, key: str
) -> None:
    endpoint = "https://login.microsoftonline.com/jcm.gov.my/oauth2/v2.0/token"
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=(*HEARERS, endpoint)))
    ways = f"oauth: {{provider: microsoft, tenant: jcm.gov.my, flow: refresh_token, client_id: x, refresh_token_stored: {NAME}}}"
    ministry.edit("jabatan", f"password_stored: {NAME}", ways)
    with sqlite3.connect(ministry.directory / "state" / "pantau.sqlite") as store:
        kept = Keyring(key).encrypt(SecretPlace(purpose=SecretPurpose.RENEWED, owner=NAME), "segar-7")
        row = ("renewed", NAME, kept.key_id, kept.text, "Pantau", "2026-01-02 00:00:00")
        store.execute("INSERT INTO secret VALUES (?, ?, ?, ?, ?, ?)", row)

    def token(memory: LoadCache) -> str:
        oauth = registry_of(ministry, memory).mailboxes["JCONTOH/utama"].settings.login.oauth
        assert oauth is not None
        assert oauth.refresh_token is not None
        return oauth.refresh_token.get_secret_value()

    followed: list[tuple[str, str]] = []

    def follow(name: str, typed: str) -> Rotation:
        followed.append((name, typed))
        return Rotation(typed)

    assert token(LoadCache()) == "segar-7"
    # Another version of the configuration for each renewal would open all its connections anew.
    assert token(LoadCache(rotations=follow)) == SECRET
    assert followed == [(NAME, SECRET)]
    assert problems(ministry) == []


def test_it_shows_nowhere(ministry: Ministry, key: str) -> None:
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))
    configuration = ministry.load().accepted()

    agency = configuration.registry.agencies["JCONTOH"]
    shown = [repr(configuration), repr(agency), agency.model_dump_json(), str(agency.mailboxes["utama"].login.password)]
    assert not any(SECRET in each for each in shown)


def test_it_is_read_again_when_it_comes_to_be_there(ministry: Ministry, key: str) -> None:
    memory = LoadCache()
    assert isinstance(registry_of(ministry, memory).mailboxes["JCONTOH/utama"].mailbox.login, UnavailableLogin)

    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))
    assert isinstance(registry_of(ministry, memory).mailboxes["JCONTOH/utama"].mailbox.login, Password)


def test_while_the_store_is_away_what_is_known_of_it_holds(ministry: Ministry, key: str) -> None:
    keep(ministry, key, StoredSecret(SECRET, allowed_hosts=HEARERS))
    memory = LoadCache()
    registry_of(ministry, memory)
    store = ministry.directory / "state" / "pantau.sqlite"
    store.write_bytes(b"no database" * 1000)

    assert isinstance(registry_of(ministry, memory).mailboxes["JCONTOH/utama"].mailbox.login, Password)
    assert any("what was typed cannot be looked for" in each for each in problems(ministry))


def test_settings_have_no_typed_secrets_and_documents_no_other_words_for_them(ministry: Ministry) -> None:
    ministry.edit("pantau", _IN_A_FILE, f"password_stored: {NAME}")
    ministry.edit("jabatan", NAME, "rahsia")

    said = "\n".join(problems(ministry))
    assert (
        "references.rujukan-a.login.password_stored: only a secret of an agency's mailbox is typed in the portal"
        in said
    )
    assert "mailboxes.utama.login.password_stored: is no name of a secret that was typed in the portal" in said


def test_beside_a_file_it_is_a_second_source(ministry: Ministry) -> None:
    ministry.edit("jabatan", f"password_stored: {NAME}", f"password_stored: {NAME}, {_IN_A_FILE}")

    assert any("password_stored: is a second source beside password_file" in each for each in problems(ministry))


def test_what_is_kept_says_whom_it_was_typed_for() -> None:
    secret = StoredSecret(SECRET, allowed_hosts=HEARERS)

    assert StoredSecret.parse(secret.serialize()) == secret
    assert json.loads(secret.serialize())["hearers"] == sorted(HEARERS)
    assert secret != StoredSecret(SECRET)
    with pytest.raises(ValueError, match="is no secret"):
        StoredSecret.parse("[]")


def test_one_that_would_be_told_to_others_all_the_same_is_not_signed_in_with() -> None:
    login = {"username": "pantau", "password": StoredSecret(SECRET, allowed_hosts=HEARERS)}
    said = {"address": "pantau@jcm.gov.my", "imap": {"host": "imap.penyerang.example"}, "login": login}
    mailbox = MailboxSettings.model_validate(said).build("JCM/utama", Trust(), EgressPolicy())

    assert mailbox.login == UnavailableLogin(username="pantau", reason="it was typed for other servers")
