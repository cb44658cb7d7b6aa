"""A person's consent to a client, from which a refresh token comes: by a code on another device, or by going there and back.

RFC 8628 (device code) and RFC 6749 4.1 with PKCE (RFC 7636). Authlib speaks; nothing here waits longer than one answer.
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
from probes.credentials.oauth_endpoint import Client, answer_of, is_token, span_in
from probes.model.reply import shortened

_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
#: RFC 8628 3.2 and 3.5.
_USUAL_INTERVAL: Final = timedelta(seconds=5)
_SLOWER: Final = timedelta(seconds=5)
#: What a server says is borne within these.
_LONGEST_LIFE: Final = timedelta(minutes=30)
_LONGEST_INTERVAL: Final = timedelta(minutes=1)
#: Of a code for people, and of an address.
_LONGEST_CODE: Final = 40
_LONGEST_ADDRESS: Final = 300


class NoConsentReason(StrEnum):
    """Why there is no consent."""

    #: The person said no.
    DENIED = "denied"
    #: Nobody said anything in time.
    EXPIRED = "expired"
    #: The provider, or the tenant's administrator, does not allow this client or this way.
    BLOCKED = "blocked"
    #: The provider cannot be asked now.
    AWAY = "away"
    #: It let us in for an hour and not for longer: no refresh token came.
    SHORT = "short"


class ConsentError(Exception):
    """There is none, and it is over. The message is the provider's, without secrets, for a log."""

    def __init__(self, reason: NoConsentReason, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What a person has consented to."""

    refresh_token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """What a person types at another device (RFC 8628 3.2)."""

    #: Our half of it, by which we ask.
    device_code: str = field(repr=False)
    user_code: str
    #: Where it is typed: an https address.
    address: str
    until: datetime
    #: From one question to the next.
    interval: timedelta
    asked_at: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether the provider may be asked again."""
        return (
            not timedelta(0) <= now - self.asked_at < self.interval
        )  # A clock that was set back keeps nobody waiting.


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """The way of a browser to the provider, and what its return is known by."""

    address: str
    state: str = field(repr=False)
    #: PKCE's; whoever reads the address cannot redeem the code.
    verifier: str = field(repr=False)


async def ask_device_code(client: Client, device_url: str, now: datetime | None = None) -> DeviceCode:
    """Ask for a code that a person types elsewhere. Raise `ConsentError`. The caller sets the deadline."""
    now = now or utc_now()
    async with client.session() as session:
        sent = {"client_id": client.client_id, **({"scope": client.scope} if client.scope else {})}
        answer = await _told(session.request("POST", device_url, data=sent, withhold_token=True), client)
    code, user_code = answer.get("device_code"), answer.get("user_code")
    # Google has it by the name of a draft.
    address = answer.get("verification_uri") or answer.get("verification_url")
    if not (_is_text(code, 4096) and _is_text(user_code, _LONGEST_CODE) and _is_address(address)):
        raise ConsentError(NoConsentReason.AWAY, "the answer holds no code for people")
    return DeviceCode(
        device_code=str(code),
        user_code=str(user_code),
        address=str(address),
        until=now + (span_in(answer.get("expires_in"), _LONGEST_LIFE) or _LONGEST_LIFE),
        interval=span_in(answer.get("interval"), _LONGEST_INTERVAL) or _USUAL_INTERVAL,
        asked_at=now,
    )


async def ask_for_consent(client: Client, code: DeviceCode, now: datetime | None = None) -> Consent | DeviceCode:
    """Ask whether a person has consented: return it, or the code with when it is to be asked for next. Raise `ConsentError`."""
    now = now or utc_now()
    if now >= code.until:
        raise ConsentError(NoConsentReason.EXPIRED)
    async with client.session() as session:
        asked = session.fetch_token(client.token_url, grant_type=_DEVICE_GRANT, device_code=code.device_code)
        try:
            answer = await answer_of(asked, client, code.device_code)
        except AccessTokenError as refusal:
            match refusal.error:
                case "authorization_pending":
                    return replace(code, asked_at=now)
                case "slow_down":
                    return replace(code, asked_at=now, interval=code.interval + _SLOWER)
                case "" | "temporarily_unavailable" | "server_error" if not refusal.refused:
                    # One answer that is lost is no end of it (RFC 8628 3.5); the code's time is.
                    return replace(code, asked_at=now, interval=min(2 * code.interval, _LONGEST_INTERVAL))
            raise _no_consent(refusal) from None
    return _consent(answer)


def way_out(client: Client, authorize_url: str, redirect_uri: str, hint: str) -> AuthorizationRequest:
    """Return the way to the provider, which sends the browser back to *redirect_uri*. *hint*: whose mailbox it is about."""
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
        # Google's: with a refresh token, also where somebody has consented before.
        access_type="offline",
        prompt="consent",
    )
    return AuthorizationRequest(address=address, state=state, verifier=verifier)


async def redeem(client: Client, code: str, way: AuthorizationRequest, redirect_uri: str) -> Consent:
    """Exchange the code that a browser came back with. Raise `ConsentError`. The caller sets the deadline."""
    async with client.session() as session:
        asked = session.fetch_token(
            client.token_url,
            grant_type="authorization_code",
            code=code,
            redirect_uri=redirect_uri,
            code_verifier=way.verifier,
        )
        try:
            return _consent(await answer_of(asked, client, code, way.verifier))
        except AccessTokenError as refusal:
            raise _no_consent(refusal) from None


def no_consent_of(error: str) -> ConsentError:
    """Return what an error means that a browser came back with (RFC 6749 4.1.2.1), or that an endpoint said."""
    match error:
        case "access_denied" | "authorization_declined":
            return ConsentError(NoConsentReason.DENIED)
        case "expired_token" | "code_expired":
            return ConsentError(NoConsentReason.EXPIRED)
        case "temporarily_unavailable" | "server_error" | "":
            return ConsentError(NoConsentReason.AWAY)
        case _:
            return ConsentError(NoConsentReason.BLOCKED)


def _no_consent(refusal: AccessTokenError) -> ConsentError:
    reason = no_consent_of(refusal.error).reason if refusal.error or not refusal.refused else NoConsentReason.BLOCKED
    return ConsentError(reason, str(refusal))


def _consent(answer: Mapping[str, Any]) -> Consent:
    token = answer.get("refresh_token")
    if not isinstance(token, str) or not is_token(token):
        raise ConsentError(NoConsentReason.SHORT, "the answer holds no refresh token")
    return Consent(refresh_token=token)


async def _told(asked: Any, client: Client) -> Mapping[str, Any]:
    """Return what a device endpoint says, which is no token's answer. Raise `ConsentError`."""

    async def read() -> Any:
        response = await asked
        answer = response.json()
        if isinstance(answer, Mapping) and isinstance(error := answer.get("error"), str):
            raise ConsentError(no_consent_of(error).reason, shortened(error))
        response.raise_for_status()
        return answer

    try:
        return await answer_of(read(), client)
    except AccessTokenError as refusal:
        raise _no_consent(refusal) from None


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable() and value.isascii()


def _is_address(value: object) -> bool:
    """Whether people can be sent there: a page that is no provider's would ask them for their password."""
    if not _is_text(value, _LONGEST_ADDRESS):
        return False
    try:
        url = urlsplit(str(value))
        return url.scheme == "https" and bool(url.hostname) and url.username is None
    except ValueError:
        return False
