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
    """Fault of the token endpoint. It lasts until a test sets another."""

    NONE = "none"
    #: 401: the client is unknown, or its secret has expired.
    INVALID_CLIENT = "invalid_client"
    #: 400: the refresh token has expired or was revoked.
    INVALID_GRANT = "invalid_grant"
    #: 400 in Microsoft's words: the tenant does not know the application. For a service account 401 in Google's words:
    #: nothing is delegated to it.
    UNAUTHORIZED_CLIENT = "unauthorized_client"
    #: 503 with the OAuth error "temporarily_unavailable".
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
    """Error response to a request (RFC 6749 5.2). *status*: HTTP status."""

    def __init__(self, *, status: int, error: str, description: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Issued access token."""

    access_token: str
    #: User to whose mailbox the token gives access.
    username: str
    expires_at: datetime
    #: Refresh token that is issued together with it.
    refresh_token: str | None = None


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class AuthorizationServer:
    """Server with one client, and one mailbox to which its tokens give access."""

    #: User name of the mailbox.
    username: str
    client_id: str = "pantau-ujian"
    #: `None`: a public client, such as one for the device flow.
    client_secret: str | None = "rahsia-klien"  # noqa: S105 - opens nothing
    #: The valid refresh token.
    refresh_token: str = "segar-0"  # noqa: S105 - see above
    #: Whether each use replaces the refresh token, so that the old one is refused.
    rotates_refresh_token: bool = False
    access_token_lifetime: timedelta = timedelta(hours=1)
    #: Service account that may act for the mailbox; `None`: none may.
    service_account: LabServiceAccount | None = None
    fault: TokenEndpointFault = TokenEndpointFault.NONE
    clock: Callable[[], datetime] = _utc_now
    #: Parameters of every request to "/token" and "/device".
    requests: list[Mapping[str, str]] = field(default_factory=list)
    #: Issued access tokens that are not revoked.
    grants: dict[str, Grant] = field(default_factory=dict)
    #: Errors of the next polls of the device flow (RFC 8628 3.5) or authorization requests of a browser, one each.
    #: After the last one the user consents.
    consent_errors: list[str] = field(default_factory=list)
    #: Issued device codes.
    device_codes: set[str] = field(default_factory=set)
    #: Parameters of a browser's authorization request, by the authorization code that was issued for it.
    authorization_requests: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def issue(self, form: Mapping[str, str]) -> Grant:
        """Return a new access token for a request with these parameters. Raise `OAuthError` if it is refused."""
        match self.fault:
            case TokenEndpointFault.INVALID_CLIENT:
                raise self._invalid_client()
            case TokenEndpointFault.INVALID_GRANT:
                raise OAuthError(status=400, error="invalid_grant", description="Token has been expired or revoked.")
            case TokenEndpointFault.UNAUTHORIZED_CLIENT if form.get("grant_type") == _JWT_GRANT:
                raise OAuthError(status=401, error="unauthorized_client", description=NOT_DELEGATED)
            case TokenEndpointFault.UNAUTHORIZED_CLIENT:
                text = f"AADSTS700016: Application with identifier '{self.client_id}' was not found in the directory."
                raise OAuthError(status=400, error="unauthorized_client", description=text)
            case TokenEndpointFault.UNAVAILABLE:
                raise OAuthError(status=503, error="temporarily_unavailable", description="come again")
            # The API answers the other faults itself.
            case _:
                return self._grant(form)

    def _grant(self, form: Mapping[str, str]) -> Grant:
        if form.get("grant_type") == _JWT_GRANT:
            self._check_assertion(form)
        elif (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            raise self._invalid_client()
        issued_refresh_token: str | None = None
        match form.get("grant_type"):
            case kind if kind in {"client_credentials", _JWT_GRANT}:
                pass
            case "refresh_token" if form.get("refresh_token") == self.refresh_token:
                if self.rotates_refresh_token:
                    issued_refresh_token = self.refresh_token = f"segar-{len(self.grants) + 1}"
            case "refresh_token":
                raise OAuthError(status=400, error="invalid_grant", description="Token has been expired or revoked.")
            case "authorization_code" if self._redeem_code(form):
                issued_refresh_token = self.refresh_token
            case kind if kind == _DEVICE_GRANT and form.get("device_code") in self.device_codes:
                if self.consent_errors:
                    raise OAuthError(status=400, error=self.consent_errors.pop(0), description="See RFC 8628.")
                issued_refresh_token = self.refresh_token
            case kind if kind in {"authorization_code", _DEVICE_GRANT}:
                raise OAuthError(status=400, error="invalid_grant", description="No such code.")
            case _:
                raise OAuthError(status=400, error="unsupported_grant_type", description="no such grant")
        grant = Grant(
            access_token=secrets.token_urlsafe(24),
            username=self.username,
            expires_at=self.clock() + self.access_token_lifetime,
            refresh_token=issued_refresh_token,
        )
        self.grants[grant.access_token] = grant
        return grant

    def _check_assertion(self, form: Mapping[str, str]) -> None:
        """Raise `OAuthError` unless the service account has signed the assertion and may act for the mailbox."""
        account = self.service_account or LabServiceAccount(scopes=set())
        if (refusal := account.refusal(form.get("assertion", ""), self.username, self.clock())) is not None:
            error, description = refusal
            raise OAuthError(
                status=401 if error == "unauthorized_client" else 400, error=error, description=description
            )

    def begin_device_flow(self, form: Mapping[str, str]) -> Mapping[str, str | int]:
        """Return the response to a device authorization request (RFC 8628 3.2). Raise `OAuthError` if it is refused."""
        if form.get("client_id") != self.client_id or self.fault is TokenEndpointFault.INVALID_CLIENT:
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

    def authorize(self, request: Mapping[str, str]) -> str:
        """Return the authorization code for a browser's request, to which the user has consented."""
        code = secrets.token_urlsafe(16)
        self.authorization_requests[code] = dict(request)
        return code

    def _redeem_code(self, form: Mapping[str, str]) -> bool:
        """Use up an authorization code; return whether the client that requested it redeems it (RFC 7636 4.6)."""
        request = self.authorization_requests.pop(form.get("code", ""), {})
        digest = sha256(form.get("code_verifier", "").encode()).digest()
        challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
        is_same = form.get("redirect_uri") == request.get("redirect_uri")
        return is_same and (request.get("code_challenge_method"), request.get("code_challenge")) == ("S256", challenge)

    def revoke(self) -> None:
        """Revoke all issued access tokens."""
        self.grants.clear()

    def username_of(self, access_token: str) -> str | None:
        """Return the user of a token; `None` if the token is not valid (RFC 7662 2.2)."""
        grant = self.grants.get(access_token)
        return grant.username if grant is not None and grant.expires_at > self.clock() else None

    def _invalid_client(self) -> OAuthError:
        return OAuthError(
            status=401,
            error="invalid_client",
            description=(
                f"AADSTS7000222: The provided client secret keys for app '{self.client_id}' are expired."
                " Trace ID: 00000000-0000-0000-0000-000000000000 Correlation ID: 0 Timestamp: 2026-01-01 00:00:00Z"
            ),
        )
