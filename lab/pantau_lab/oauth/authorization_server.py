"""State of the simulated authorization server: its client, the issued tokens, and its present fault."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final

from pantau_lab.oauth.service_account import NOT_DELEGATED, LabServiceAccount

#: RFC 8628 3.4.
_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
#: RFC 7523 2.1.
_JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class TokenEndpointFault(StrEnum):
    """Behaviour of the token endpoint until it is changed."""

    NONE = "none"
    #: 401: the client is not known, or its secret has expired.
    INVALID_CLIENT = "invalid_client"
    #: 400: the refresh token has expired or was revoked.
    INVALID_GRANT = "invalid_grant"
    #: 400: the application is not known in that tenant, in Microsoft's words; of a service account, that nobody has
    #: delegated to it, in Google's.
    UNAUTHORIZED_CLIENT = "unauthorized_client"
    #: 503 in the words of RFC 6749.
    UNAVAILABLE = "unavailable"
    #: 500 with an HTML page.
    ERROR = "error"
    #: No response.
    SILENT = "silent"
    #: 200 with a web page, as from a captive portal.
    PORTAL = "portal"
    #: 200 with JSON without a token.
    EMPTY = "empty"


class OAuthError(Exception):
    """An error of RFC 6749 5.2."""

    def __init__(self, *, status: int, error: str, description: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Issued access token."""

    access_token: str
    username: str
    expires_at: datetime
    refresh_token: str | None = None


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class AuthorizationServer:
    """Server with one client, and the mailbox to which its tokens give access."""

    username: str
    client_id: str = "pantau-ujian"
    #: `None`: a public client, such as one for the device flow.
    client_secret: str | None = "rahsia-klien"  # noqa: S105 - opens nothing
    #: The valid refresh token.
    refresh_token: str = "segar-0"  # noqa: S105 - see above
    #: Whether each use replaces the refresh token. Use of an old one then counts as theft.
    rotates: bool = False
    lifetime: timedelta = timedelta(hours=1)
    #: That may act for the mailbox.
    service_account: LabServiceAccount | None = None
    trouble: TokenEndpointFault = TokenEndpointFault.NONE
    clock: Callable[[], datetime] = _utc_now
    #: Parameters of every request for a token.
    asked: list[Mapping[str, str]] = field(default_factory=list)
    grants: dict[str, Grant] = field(default_factory=dict)
    #: Errors of the next polls of the device flow (RFC 8628 3.5), one each. After them the person has consented.
    said: list[str] = field(default_factory=list)
    #: Issued device codes.
    device_codes: set[str] = field(default_factory=set)
    #: Parameters of the authorization request of a browser, by the authorization code that was issued.
    codes: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def issue(self, form: Mapping[str, str]) -> Grant:
        """Answer a request for a token. Raise `OAuthError`."""
        match self.trouble:
            case TokenEndpointFault.INVALID_CLIENT:
                raise self._expired_secret()
            case TokenEndpointFault.INVALID_GRANT:
                raise OAuthError(status=400, error="invalid_grant", description="Token has been expired or revoked.")
            case TokenEndpointFault.UNAUTHORIZED_CLIENT if form.get("grant_type") == _JWT_GRANT:
                raise OAuthError(status=401, error="unauthorized_client", description=NOT_DELEGATED)
            case TokenEndpointFault.UNAUTHORIZED_CLIENT:
                said = f"AADSTS700016: Application with identifier '{self.client_id}' was not found in the directory."
                raise OAuthError(status=400, error="unauthorized_client", description=said)
            case TokenEndpointFault.UNAVAILABLE:
                raise OAuthError(status=503, error="temporarily_unavailable", description="come again")
            case _:
                return self._grant(form)

    def _grant(self, form: Mapping[str, str]) -> Grant:
        if form.get("grant_type") == _JWT_GRANT:
            self._look_at(form)
        elif (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            raise self._expired_secret()
        following: str | None = None
        match form.get("grant_type"):
            case kind if kind in {"client_credentials", _JWT_GRANT}:
                pass
            case "refresh_token" if form.get("refresh_token") == self.refresh_token:
                if self.rotates:
                    following = self.refresh_token = f"segar-{len(self.grants) + 1}"
            case "refresh_token":
                raise OAuthError(status=400, error="invalid_grant", description="Token has been expired or revoked.")
            case "authorization_code" if self._is_redeemed(form):
                following = self.refresh_token
            case kind if kind == _DEVICE_GRANT and form.get("device_code") in self.device_codes:
                if self.said:
                    raise OAuthError(status=400, error=self.said.pop(0), description="See RFC 8628.")
                following = self.refresh_token
            case kind if kind in {"authorization_code", _DEVICE_GRANT}:
                raise OAuthError(status=400, error="invalid_grant", description="No such code.")
            case _:
                raise OAuthError(status=400, error="unsupported_grant_type", description="no such grant")
        grant = Grant(
            access_token=secrets.token_urlsafe(24),
            username=self.username,
            expires_at=self.clock() + self.lifetime,
            refresh_token=following,
        )
        self.grants[grant.access_token] = grant
        return grant

    def _look_at(self, form: Mapping[str, str]) -> None:
        """Raise `OAuthError` unless a service account has signed it that may."""
        account = self.service_account or LabServiceAccount(scopes=set())
        if (wrong := account.refusal(form.get("assertion", ""), self.username, self.clock())) is not None:
            error, description = wrong
            raise OAuthError(
                status=401 if error == "unauthorized_client" else 400, error=error, description=description
            )

    def device(self, form: Mapping[str, str]) -> Mapping[str, str | int]:
        """Answer a device authorization request (RFC 8628 3.2). Raise `OAuthError`."""
        if form.get("client_id") != self.client_id or self.trouble is TokenEndpointFault.INVALID_CLIENT:
            raise OAuthError(status=401, error="unauthorized_client", description="AADSTS7000218: not a public client.")
        code = secrets.token_urlsafe(24)
        self.device_codes.add(code)
        return {
            "device_code": code,
            "user_code": "KAYU-BATU",
            "verification_uri": "https://log-masuk.contoh.my/peranti",
            "expires_in": 900,
            "interval": 5,
        }

    def authorize(self, asked: Mapping[str, str]) -> str:
        """Return the authorization code of a browser whose user has consented."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = dict(asked)
        return code

    def _is_redeemed(self, form: Mapping[str, str]) -> bool:
        """Whether a code is redeemed by the client that requested it (RFC 7636 4.6). A code is valid once."""
        asked = self.codes.pop(form.get("code", ""), {})
        digest = sha256(form.get("code_verifier", "").encode()).digest()
        challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
        is_same = form.get("redirect_uri") == asked.get("redirect_uri")
        return is_same and (asked.get("code_challenge_method"), asked.get("code_challenge")) == ("S256", challenge)

    def revoke(self) -> None:
        """Revoke all issued access tokens."""
        self.grants.clear()

    def holder(self, access_token: str) -> str | None:
        """Return the user of a token; `None` if the token is not valid (RFC 7662 2.2)."""
        grant = self.grants.get(access_token)
        return grant.username if grant is not None and grant.expires_at > self.clock() else None

    def _expired_secret(self) -> OAuthError:
        return OAuthError(
            status=401,
            error="invalid_client",
            description=(
                f"AADSTS7000222: The provided client secret keys for app '{self.client_id}' are expired."
                " Trace ID: 00000000-0000-0000-0000-000000000000 Correlation ID: 0 Timestamp: 2026-01-01 00:00:00Z"
            ),
        )
