"""Common client of the Twilio gateways: the account, errors, signatures.

Uses Twilio's REST API of 2010-04-01. Requests use httpx, because the async client of Twilio's SDK ignores its time-out
and repeats POSTs (twilio-python #925). The SDK only validates signatures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, SecretStr, StringConstraints
from twilio.request_validator import RequestValidator

from alerts.hours.elapsed import TOLERANCE
from alerts.model.gateway import CallbackRejectedError, CallbackRequest, DeliveryError, ErrorClass, SendRequest
from alerts.provider import DEADLINE_SECONDS, Deadline, ErrorMeaning, JsonApi, ProviderUrl, is_id

#: Short names for the table below.
_T, _P, _C = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.CONFIGURATION

#: Twilio's error codes with their meaning (twilio.com/docs/api/errors). Twilio's own texts are not
#: used, because they contain the telephone number.
ERRORS: Mapping[int, tuple[ErrorClass, str]] = {
    11100: (_C, "callback URL not accepted"),
    13227: (_C, "country not enabled for calls"),
    20003: (_C, "credentials refused"),
    20005: (_C, "account not active"),
    20404: (_C, "no such account or resource"),
    20429: (_T, "too many requests"),
    21205: (_C, "URL not accepted"),
    21206: (_P, "extension not accepted"),
    21210: (_C, "caller number not verified"),
    21211: (_P, "not a valid number"),
    21212: (_C, "not a valid sender"),
    21214: (_C, "number cannot be reached from this account"),
    21215: (_C, "country not enabled"),
    21217: (_P, "not a valid number"),
    21219: (_C, "trial account: recipient not verified"),
    21408: (_C, "country not enabled for SMS"),
    21606: (_C, "sender cannot send SMS"),
    21608: (_C, "trial account: recipient not verified"),
    21609: (_C, "callback URL not accepted"),
    21610: (_P, "recipient has sent STOP"),
    21612: (_C, "no route from this sender"),
    21614: (_P, "not a mobile number"),
    21730: (_T, "maintenance"),
    30001: (_T, "queue overflow"),
    30002: (_C, "account suspended"),
    30003: (_T, "handset off or out of service"),
    30004: (_P, "blocked"),
    30005: (_P, "unknown number"),
    30006: (_P, "landline or unreachable carrier"),
    30007: (_P, "filtered by the carrier: content rules"),
    30008: (_T, "unknown error"),
    30036: (_T, "not delivered within its validity"),
    30042: (_C, "sender not usable"),
    30410: (_T, "carrier time-out"),
    30500: (_T, "internal error"),
    32205: (_C, "country not enabled for calls"),
}

#: Tolerated difference between Twilio's clock and this one. Twilio's times have no fractions of seconds.
MAX_SKEW = timedelta(seconds=10)
#: Inbound SMS are read from this much before the requested time. If this machine's clock is ahead, a reply may seem
#: older than the incident that it answers. Reading a reply twice is harmless.
INBOX_OVERLAP = timedelta(hours=1)


#: Maximum number of digits. Python refuses to parse thousands of digits, and the database cannot store twenty.
_MAX_DIGITS = 9


class TwilioSettings(BaseModel):
    """Account settings of both gateways."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account_sid: Annotated[str, StringConstraints(pattern=r"^AC[0-9a-fA-F]{32}$")]
    #: The account's token, not an API key: only the token can verify signatures.
    auth_token: SecretStr
    #: Also accepted in signatures, while the token is being rotated.
    other_auth_tokens: tuple[SecretStr, ...] = ()
    base_url: ProviderUrl = "https://api.twilio.com"
    #: "http://proxy.example:3128", with credentials if the proxy requires them.
    proxy: SecretStr | None = None
    deadline_seconds: Deadline = DEADLINE_SECONDS


class Twilio:
    """One account's API."""

    def __init__(self, settings: TwilioSettings) -> None:
        self._root = f"{settings.base_url}/2010-04-01/Accounts/{settings.account_sid}"
        self._provider = JsonApi(
            user=settings.account_sid,
            password=settings.auth_token,
            proxy=settings.proxy,
            deadline=settings.deadline_seconds,
            read_error=_read_error,
        )
        self._validators = [
            RequestValidator(token.get_secret_value()) for token in (settings.auth_token, *settings.other_auth_tokens)
        ]

    async def create(self, resource: str, form: Mapping[str, str | Sequence[str]]) -> Mapping[str, Any]:
        """POST to "Messages" or "Calls"; raise `DeliveryError`."""
        answer = await self._provider.submit(f"{self._root}/{resource}.json", form=form)
        return _check_sid(answer, ErrorClass.UNKNOWN)

    async def read(self, resource: str) -> Mapping[str, Any]:
        """GET "Messages/SM…" or "Calls/CA…"; raise `DeliveryError`."""
        answer = await self._provider.query(f"{self._root}/{resource}.json")
        return _check_sid(answer, ErrorClass.TRANSIENT)

    async def verify(self, resource: str) -> None:
        """Test the credentials by reading one entry of "Messages" or "Calls"; raise `DeliveryError`."""
        _list_items(
            await self._provider.query(f"{self._root}/{resource}.json", params={"PageSize": "1"}), resource.lower()
        )

    async def created_for(
        self, request: SendRequest, resource: str, within: timedelta | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Return the messages or calls to the address of *request* that were created after it, the oldest first.

        *within*: return only those that were created within this time after the request. `MAX_SKEW` is added to both
        ends of the period; if our clock at the query differs much from the date of Twilio's response, the period is corrected. The query has no
        filter by DateSent or StartTime, because both are empty while a message or call is queued. The query returns the
        newest hundred messages or calls to the number, which are enough.
        """
        page = await self._provider.query(
            f"{self._root}/{resource}.json", params={"To": request.address, "PageSize": "100"}
        )
        items = _list_items(page, resource.lower())
        since = request.created_at + _clock_difference(self._provider.date, request.queried_at)
        latest = datetime.max.replace(tzinfo=UTC) if within is None else since + within + MAX_SKEW
        return [item for item in reversed(items) if since - MAX_SKEW <= _created_at(item) <= latest]

    async def received_sms(self, number: str, since: datetime) -> Sequence[Mapping[str, Any]]:
        """Return the SMS that *number* received since `INBOX_OVERLAP` before *since*, the oldest first.

        Twilio filters by day, in UTC. The query returns at most a thousand SMS, more than are expected in a day.
        """
        since -= INBOX_OVERLAP
        day = since.astimezone(UTC).date().isoformat()
        params = {"To": number, "DateSent>": day, "PageSize": "1000"}
        page = await self._provider.query(f"{self._root}/Messages.json", params=params)
        return [
            item
            for item in reversed(_list_items(page, "messages"))
            if item.get("direction") == "inbound" and _created_at(item) >= since
        ]

    def authenticate(self, callback: CallbackRequest) -> None:
        """Raise `CallbackRejectedError` unless Twilio signed the request (X-Twilio-Signature)."""
        signature = callback.header("x-twilio-signature")
        if not signature:
            raise CallbackRejectedError(403, "no signature")
        form = _Form(callback.form)
        if not any(validator.validate(callback.url, form, signature) for validator in self._validators):
            raise CallbackRejectedError(403, "the signature does not match")

    async def close(self) -> None:
        await self._provider.close()


def meaning_of_failure(code: object) -> ErrorMeaning:
    """Return the meaning of the error code of a failed message or call. "" and `None` mean an unknown error."""
    text = str(code or "")
    known = ERRORS.get(number) if (number := parse_count(text)) is not None else None
    # An unknown code counts as transient: Twilio has accepted the message, so the number is valid.
    error, detail = known or (ErrorClass.TRANSIENT, "not delivered")
    return ErrorMeaning(error=error, code=text if is_id(text) else "", detail=detail)


def sid_in(callback: CallbackRequest, name: str) -> str:
    """Return a form field with Twilio's id of a message or call. Raise `CallbackRejectedError` when it is invalid."""
    if not is_id(sid := callback.field(name)):
        raise CallbackRejectedError(400, "without a sid")
    return sid


def parse_count(value: object) -> int | None:
    """Parse a number that Twilio sends as text ("1"). Return `None` for any other text."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


class _Form:
    """Form in the shape that the SDK's signature validator needs: it reads a repeated field with `getlist`."""

    def __init__(self, form: Mapping[str, Sequence[str]]) -> None:
        self._form = form

    def __iter__(self) -> Iterator[str]:
        return iter(self._form)

    def getlist(self, name: str) -> Sequence[str]:
        return self._form[name]


def _read_error(body: Mapping[str, Any]) -> ErrorMeaning | None:
    code = body.get("code")
    if not isinstance(code, int) or code not in ERRORS:
        return None
    error, detail = ERRORS[code]
    return ErrorMeaning(error=error, code=str(code), detail=detail)


def _check_sid(answer: Mapping[str, Any], ambiguous: ErrorClass) -> Mapping[str, Any]:
    """Return *answer*. Raise `DeliveryError` with the class *ambiguous* if it has no sid (Twilio's id)."""
    if not is_id(answer.get("sid")):
        raise DeliveryError(ambiguous, "an answer without a sid")
    return answer


def _list_items(page: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    items = page.get(name)
    if not isinstance(items, list):
        raise DeliveryError(ErrorClass.TRANSIENT, "the list was not understood")
    return [item for item in items if isinstance(item, Mapping) and is_id(item.get("sid"))]


def _clock_difference(provider_time: datetime | None, own_time: datetime | None) -> timedelta:
    """Return how far the provider's clock is ahead of ours; zero up to `TOLERANCE` (a minute) in either direction."""
    ahead = provider_time - own_time if provider_time is not None and own_time is not None else timedelta(0)
    return ahead if abs(ahead) > TOLERANCE else timedelta(0)


def _created_at(item: Mapping[str, Any]) -> datetime:
    try:
        at = parsedate_to_datetime(str(item.get("date_created")))
    except (ValueError, OverflowError):
        raise DeliveryError(ErrorClass.TRANSIENT, "the list was not understood") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
