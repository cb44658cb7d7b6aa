"""Section `portal`: sign-in of users, TLS, encryption of stored secrets, and permitted networks.

A *stored secret* is one that a user entered in the portal, such as the password of a mailbox.
"""

from __future__ import annotations

import ssl
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from monitor.access.encryption import BadKeyError, EncryptionKey
from monitor.access.role import Role
from monitor.config.fields.listen import Listen, PublicUrl, is_loopback
from monitor.config.fields.trust import Trust
from monitor.config.files.findings import Findings
from monitor.config.files.reading import source_keys
from monitor.config.files.section import OptionalSecret, ResolvedPath, Section, SubstituteIfInvalid, shape_error
from monitor.config.service.consent import MailboxConsentSettings, check_consent
from monitor.config.service.openid import OpenIdSettings, check_openid
from probes.model.egress import AllowedNetwork, EgressPolicy

if TYPE_CHECKING:
    from monitor.store.admin.keyring import Keyring

_EXAMPLE_ADDRESS = "https://pantau.kementerian-contoh.gov.my"


def _check_network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise shape_error(f"'{text}' is no address or network", "10.20.0.5, or 10.20.0.0/24") from None


def _check_egress_exception(text: str) -> str:
    try:
        AllowedNetwork.read(text)
    except ValueError:
        raise shape_error(
            f"'{text}' is no network", "10.20.0.0/16; or 10.20.0.5:2525, to open one more port there"
        ) from None
    return text


def _check_encryption_key(secret: SecretStr) -> SecretStr:
    try:
        EncryptionKey.parse(secret.get_secret_value())
    except BadKeyError as error:
        raise shape_error(str(error), "pantau secrets generate-key --to FILE (in a shell)") from None
    return secret


_SecretsKey = Annotated[SecretStr, AfterValidator(_check_encryption_key)]
_KEY_UNAVAILABLE = OptionalSecret(
    consequence=(
        "encrypted secrets cannot be read, Pantau cannot sign in to mailboxes with secrets from the portal, and no "
        "secret can be stored"
    ),
    instead=(
        "the file with the key, from its backup; without a backup: `pantau secrets generate-key --to FILE`, and enter "
        "all secrets again"
    ),
)
_PREVIOUS_KEY_UNAVAILABLE = OptionalSecret(
    consequence="secrets that are still encrypted with it cannot be read, and Pantau cannot sign in to their mailboxes",
    instead="the file with the previous key, from its backup; or nothing, and enter those secrets again",
)


class PortalSettings(Section):
    """Portal with sign-in.

    Without this section every client sees everything, and the listener is restricted to this machine.
    """

    address: PublicUrl | None = None
    """URL of the portal for browsers; default: `listen` on this machine."""
    certificate: ResolvedPath | None = None
    """PEM file with the portal's certificate and its intermediate certificates; without it a proxy terminates TLS."""
    key: ResolvedPath | None = None
    """PEM file with the certificate's key, without a pass phrase; only the service may read it."""
    trusted_proxies: tuple[
        Annotated[str, AfterValidator(_check_network), SubstituteIfInvalid("127.0.0.1/32")], ...
    ] = ()
    """Addresses or networks of the proxies that terminate TLS. Requests from other addresses are rejected."""
    secrets_key: Annotated[_SecretsKey | None, _KEY_UNAVAILABLE] = None
    """Key that encrypts stored secrets, by `secrets_key_file:` or `secrets_key_env:`. Without it the portal
    cannot store secrets.
    """
    previous_secrets_key: Annotated[_SecretsKey | None, _PREVIOUS_KEY_UNAVAILABLE] = None
    """The previous key, by `previous_secrets_key_file:` or `..._env:`, until `pantau secrets rotate` has
    finished.
    """
    second_factor: tuple[Role, ...] = ()
    """Roles whose users need one-time codes besides the password."""
    allowed_mail_networks: tuple[
        Annotated[str, AfterValidator(_check_egress_exception), SubstituteIfInvalid("127.0.0.1/32")], ...
    ] = ()
    """Networks whose mail servers users may name, besides those on the public Internet: 10.20.0.0/16, or
    10.20.0.5:2525 to open one more port there.
    """
    metrics_networks: tuple[
        Annotated[str, AfterValidator(_check_network), SubstituteIfInvalid("127.0.0.1/32")], ...
    ] = ()
    """Networks from which `/metrics` is readable without sign-in, besides this machine."""
    openid: OpenIdSettings | None = None
    """Sign-in with an external account (OpenID Connect)."""
    mailbox_consent: MailboxConsentSettings | None = None
    """Access to mailboxes at Microsoft or Google by an officer's consent, without a password."""

    @property
    def host(self) -> str:
        """The host name in the portal's URL; "" if only browsers on this machine use the portal."""
        return urlsplit(self.address or "").hostname or ""

    def keyring(self) -> Keyring | None:
        """Return the keys that encrypt stored secrets; `None`: no key is configured, or it is unavailable."""
        from monitor.store.admin.keyring import Keyring  # noqa: PLC0415 - slow import, rarely needed

        if self.secrets_key is None:
            return None
        previous = self.previous_secrets_key
        return Keyring(self.secrets_key.get_secret_value(), previous.get_secret_value() if previous else None)

    @property
    def egress(self) -> EgressPolicy:
        """Allowed destinations of connections to servers that users configure in the portal."""
        return EgressPolicy(exceptions=tuple(map(AllowedNetwork.read, self.allowed_mail_networks)))

    @property
    def is_secure(self) -> bool:
        """Whether browsers use TLS."""
        return self.certificate is not None or (self.address or "").startswith("https:")


def check_portal(settings: PortalSettings | None, listen: Listen, findings: Findings, trust: Trust) -> None:
    """Record what would transmit passwords unencrypted, and unusable or missing certificates and keys.

    *findings*: those of the whole settings file.
    """
    portal_findings = findings["portal"]
    if portal_findings.is_broken:
        return
    if settings is None:
        if not listen.is_loopback:
            instead = "127.0.0.1:8080; or configure `portal`, so that users sign in"
            findings["listen"].error(f"{listen} is not loopback, and there is no sign-in", instead)
        return
    if settings.openid is not None:
        check_openid(settings.openid, settings.address, portal_findings["openid"], trust)
    if settings.mailbox_consent is not None:
        check_consent(settings.mailbox_consent, settings.address, portal_findings["mailbox_consent"])
    if (settings.certificate is None) != (settings.key is None):
        missing = "key" if settings.key is None else "certificate"
        portal_findings[missing].error("is missing: a certificate and its key go together", "the path of a PEM file")
        return
    if settings.certificate is not None and settings.key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                settings.certificate, settings.key, password=_reject_pass_phrase
            )
        except (OSError, ValueError) as error:
            portal_findings["certificate"].error(f"cannot be used: {error}", "PEM files that belong together")
    _check_keys(settings, portal_findings)
    if not listen.is_loopback:
        if settings.certificate is None and not settings.trusted_proxies:
            message = f"{listen} is not loopback, and passwords would be sent unencrypted"
            findings["listen"].error(
                message, "portal.certificate and portal.key; or portal.trusted_proxies, if a proxy terminates TLS"
            )
        if settings.address is None:
            portal_findings["address"].error(
                "is missing: browsers on other machines need a host name", _EXAMPLE_ADDRESS
            )
        elif is_loopback(settings.host):
            portal_findings["address"].error("is an address of this machine itself", _EXAMPLE_ADDRESS)


def _check_keys(settings: PortalSettings, portal_findings: Findings) -> None:
    """Record a missing `secrets_key` if another setting needs it."""
    if any(portal_findings[source].is_in_file for source in source_keys("secrets_key")):
        # If the configured key is unavailable, that has already been recorded.
        return
    if settings.second_factor and settings.secrets_key is None:
        message = "is missing: the secrets of `second_factor` are encrypted with it"
        portal_findings["secrets_key_file"].error(
            message, "PATH, of a file that `pantau secrets generate-key --to PATH` makes"
        )
    elif settings.previous_secrets_key is not None and settings.secrets_key is None:
        portal_findings["secrets_key_file"].error("is missing: the previous key only decrypts", "PATH of the new key")


def _reject_pass_phrase() -> str:
    """Raise `ValueError`: OpenSSL calls this function to ask for the pass phrase of a key."""
    raise ValueError("the key has a pass phrase, which nobody could type when the service starts")
