"""Requests for a person's consent that Pantau reads and sends the mail of a mailbox. A consent yields a refresh token.

The person consents on the provider's page, by a device code (RFC 8628) or by an authorization code (RFC 6749 4.1) with
PKCE (RFC 7636). Authlib makes the requests. Each function waits for one response only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from secrets import token_urlsafe
from typing import Any, Final
from urllib.parse import urlsplit

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from probes.credentials.oauth import AccessTokenError, utc_now
from probes.credentials.oauth_endpoint import Client, is_valid_token, parse_duration, read_response
from probes.model.reply import shorten

_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
#: Defaults of RFC 8628 3.2 and 3.5.
_DEFAULT_INTERVAL: Final = timedelta(seconds=5)
_SLOW_DOWN_STEP: Final = timedelta(seconds=5)
#: Upper limits of the lifetime of a code, and of the interval between polls, that the server states.
_MAX_LIFETIME: Final = timedelta(minutes=30)
_MAX_INTERVAL: Final = timedelta(minutes=1)
#: Limits in characters of a device code, a user code and a URL.
_MAX_DEVICE_CODE: Final = 4096
_MAX_USER_CODE: Final = 40
_MAX_ADDRESS: Final = 300


class NoConsentReason(StrEnum):
    """Reason why no consent was given: a text key of the setup page."""

    #: The person refused.
    DENIED = "denied"
    #: The person did not answer in time.
    EXPIRED = "expired"
    #: The provider, or the tenant's administrator, does not allow this client or this grant.
    BLOCKED = "blocked"
    #: The provider is unavailable.
    UNAVAILABLE = "away"
    #: The provider issued no refresh token, so the consent would end with the access token.
    NO_REFRESH_TOKEN = "short"  # noqa: S105 - a reason, not a token


class ConsentError(Exception):
    """No consent was given, and polling must end. The message is the provider's, for a log, without secrets."""

    def __init__(self, reason: NoConsentReason, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A person's consent."""

    refresh_token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """Code that a person types on another device (RFC 8628 3.2)."""

    #: Code by which the client polls; it is secret and never shown.
    device_code: str = field(repr=False)
    user_code: str
    #: URL of the provider's page on which the person types the code; https.
    address: str
    expires_at: datetime
    #: Minimum time between two polls.
    interval: timedelta
    #: Time of the last poll; before the first, of the request for the code.
    polled_at: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether the provider may be polled again."""
        # A negative time counts as due, so that a clock that was set back does not extend the wait.
        return not timedelta(0) <= now - self.polled_at < self.interval


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """Authorization request in a browser."""

    #: URL at the provider, which the browser opens.
    address: str
    #: Random text by which the provider's redirect is matched with this request.
    state: str = field(repr=False)
    #: PKCE verifier. Without it, a person who reads the address cannot redeem the authorization code.
    verifier: str = field(repr=False)


async def request_device_code(client: Client, device_url: str, now: datetime | None = None) -> DeviceCode:
    """Request a code that a person types on another device. Raise `ConsentError`. The caller sets the deadline."""
    now = now or utc_now()
    async with client.session() as session:
        parameters = {"client_id": client.client_id, **({"scope": client.scope} if client.scope else {})}
        response = await _read_device_response(
            session.request("POST", device_url, data=parameters, withhold_token=True), client
        )
    code, user_code = response.get("device_code"), response.get("user_code")
    # Google uses the parameter name of a draft of RFC 8628.
    address = response.get("verification_uri") or response.get("verification_url")
    if not (
        _is_valid_text(code, _MAX_DEVICE_CODE)
        and _is_valid_text(user_code, _MAX_USER_CODE)
        and _is_https_address(address)
    ):
        raise ConsentError(NoConsentReason.UNAVAILABLE, "the response contains no user code")
    return DeviceCode(
        device_code=str(code),
        user_code=str(user_code),
        address=str(address),
        expires_at=now + (parse_duration(response.get("expires_in"), _MAX_LIFETIME) or _MAX_LIFETIME),
        interval=parse_duration(response.get("interval"), _MAX_INTERVAL) or _DEFAULT_INTERVAL,
        polled_at=now,
    )


async def poll_consent(client: Client, code: DeviceCode, now: datetime | None = None) -> Consent | DeviceCode:
    """Poll once. Return the consent, or *code* with updated polling times while the person has not decided.

    Raise `ConsentError`.
    """
    now = now or utc_now()
    if now >= code.expires_at:
        raise ConsentError(NoConsentReason.EXPIRED)
    async with client.session() as session:
        request = session.fetch_token(client.token_url, grant_type=_DEVICE_GRANT, device_code=code.device_code)
        try:
            response = await read_response(request, client, code.device_code)
        except AccessTokenError as error:
            match error.error:
                case "authorization_pending":
                    return replace(code, polled_at=now)
                case "slow_down":
                    return replace(code, polled_at=now, interval=code.interval + _SLOW_DOWN_STEP)
                case "" | "temporarily_unavailable" | "server_error" if not error.refused:
                    # Neither a missing response nor a temporary error ends the polling (RFC 8628 3.5).
                    return replace(code, polled_at=now, interval=min(2 * code.interval, _MAX_INTERVAL))
            raise _to_consent_error(error) from None
    return _parse_consent(response)


def authorization_request(client: Client, authorize_url: str, redirect_uri: str, hint: str) -> AuthorizationRequest:
    """Return the request to the provider, which then redirects the browser to *redirect_uri*.

    *hint*: address of the mailbox, which the provider fills in as the account.
    """
    state, verifier = token_urlsafe(32), token_urlsafe(48)
    address = prepare_grant_uri(
        authorize_url,
        client.client_id,
        "code",
        redirect_uri,
        client.scope,
        state,
        code_challenge=create_s256_code_challenge(verifier),
        code_challenge_method="S256",
        login_hint=hint,
        # With these parameters, Google issues a refresh token even after an earlier consent.
        access_type="offline",
        prompt="consent",
    )
    return AuthorizationRequest(address=address, state=state, verifier=verifier)


async def exchange_code(client: Client, code: str, authorization: AuthorizationRequest, redirect_uri: str) -> Consent:
    """Exchange the browser's authorization *code* for a consent. Raise `ConsentError`. The caller sets the deadline."""
    async with client.session() as session:
        request = session.fetch_token(
            client.token_url,
            grant_type="authorization_code",
            code=code,
            redirect_uri=redirect_uri,
            code_verifier=authorization.verifier,
        )
        try:
            return _parse_consent(await read_response(request, client, code, authorization.verifier))
        except AccessTokenError as refusal:
            raise _to_consent_error(refusal) from None


def consent_error(error: str) -> ConsentError:
    """Return the error for *error*, an error code of a redirect (RFC 6749 4.1.2.1) or of an endpoint."""
    match error:
        case "access_denied" | "authorization_declined":
            return ConsentError(NoConsentReason.DENIED)
        case "expired_token" | "code_expired":
            return ConsentError(NoConsentReason.EXPIRED)
        case "temporarily_unavailable" | "server_error" | "":
            return ConsentError(NoConsentReason.UNAVAILABLE)
        case _:
            return ConsentError(NoConsentReason.BLOCKED)


def _to_consent_error(refusal: AccessTokenError) -> ConsentError:
    # A refusal with an HTTP status but no error code counts as BLOCKED.
    reason = consent_error(refusal.error).reason if refusal.error or not refusal.refused else NoConsentReason.BLOCKED
    return ConsentError(reason, str(refusal))


def _parse_consent(response: Mapping[str, Any]) -> Consent:
    token = response.get("refresh_token")
    if not isinstance(token, str) or not is_valid_token(token):
        raise ConsentError(NoConsentReason.NO_REFRESH_TOKEN, "the response contains no refresh token")
    return Consent(refresh_token=token)


async def _read_device_response(request: Any, client: Client) -> Mapping[str, Any]:
    """Return the response of a device endpoint. Raise `ConsentError`.

    It is not a token response, so Authlib does not parse errors in it.
    """

    async def read() -> Any:
        response = await request
        document = response.json()
        if isinstance(document, Mapping) and isinstance(error := document.get("error"), str):
            raise ConsentError(consent_error(error).reason, shorten(error))
        response.raise_for_status()
        return document

    try:
        return await read_response(read(), client)
    except AccessTokenError as refusal:
        raise _to_consent_error(refusal) from None


def _is_valid_text(value: object, max_length: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= max_length and value.isprintable() and value.isascii()


def _is_https_address(value: object) -> bool:
    """Whether *value* is an https URL. A page over http could be forged, and ask people for their password."""
    if not _is_valid_text(value, _MAX_ADDRESS):
        return False
    try:
        url = urlsplit(str(value))
        return url.scheme == "https" and bool(url.hostname) and url.username is None
    except ValueError:
        return False
