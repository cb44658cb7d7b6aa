"""Valid parameters of the requests that Pantau uses, from Twilio's published description of its API.

The description is the OpenAPI document `twilio_api_v2010.json` of twilio/twilio-oai; this module contains a part of it.
Where the description states a restriction in prose only, such as an E.164 number or at most 32 keys, a pattern states
it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

#: Twilio's error code for an invalid value of a parameter without a specific code.
NOT_VALID = 20001

_E164 = r"\+[1-9]\d{6,14}"
_DAY = r"\d{4}-\d\d-\d\d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One field of a form or a query."""

    #: Regular expression for the whole value. A dot also matches a line break.
    pattern: str = ".*"
    #: Minimum and maximum of an integer; `None`: the value is not an integer.
    between: tuple[int, int] | None = None
    #: Maximum number of characters; `None`: there is no limit.
    longest: int | None = None
    #: Whether the value is a URL, whose host must not have an underscore.
    url: bool = False
    required: bool = False
    #: Whether the parameter may be given several times.
    many: bool = False
    #: Twilio's error code for a missing, repeated or invalid value.
    code: int = NOT_VALID

    def takes(self, value: str) -> bool:
        """Whether Twilio accepts *value*."""
        if self.between is not None:
            least, most = self.between
            return value.isascii() and value.isdigit() and least <= int(value) <= most
        if self.longest is not None and len(value) > self.longest:
            return False
        if self.url:
            parts = urlsplit(value)
            return parts.scheme in {"http", "https"} and bool(parts.hostname) and "_" not in (parts.hostname or "")
        return re.fullmatch(self.pattern, value, re.DOTALL) is not None


Parameters = Mapping[str, Parameter]

_FLAG = Parameter(pattern="true|false")
_TO = Parameter(pattern=_E164, required=True, code=21211)
_CALLBACK = Parameter(url=True, code=21609)

#: POST /Accounts/{AccountSid}/Messages.json
CREATE_MESSAGE: Parameters = {
    "To": _TO,
    # A number, a short code, or a sender name: up to 11 letters, digits and blanks, at least one of them a letter.
    "From": Parameter(
        pattern=rf"{_E164}|\d{{4,6}}|(?=.*[A-Za-z])[A-Za-z0-9 ]{{1,11}}",
        required=True,
        code=21212,
    ),
    "Body": Parameter(longest=1600, required=True, code=21617),
    "ValidityPeriod": Parameter(between=(1, 36000)),
    "RiskCheck": Parameter(pattern="enable|disable"),
    "SmartEncoded": _FLAG,
    "StatusCallback": _CALLBACK,
}
#: POST /Accounts/{AccountSid}/Calls.json; one of `Twiml` and `Url` is required.
CREATE_CALL: Parameters = {
    "To": _TO,
    "From": Parameter(pattern=_E164, required=True, code=21212),
    "Timeout": Parameter(between=(0, 600)),
    "TimeLimit": Parameter(between=(1, 86400)),
    # "w" waits half a second. Other pages of Twilio also allow "W", a second.
    "SendDigits": Parameter(pattern="[0-9#*w]{1,32}", code=21206),
    "Twiml": Parameter(longest=4000),
    "Url": Parameter(url=True, code=21205),
    "FallbackUrl": Parameter(url=True, code=21205),
    "StatusCallback": _CALLBACK,
    "StatusCallbackEvent": Parameter(pattern="initiated|ringing|answered|completed", many=True),
}

_COMMON_FILTERS = {
    "To": Parameter(pattern=_E164),
    "From": Parameter(),
    "PageSize": Parameter(between=(1, 1000)),
    "Page": Parameter(between=(0, 10**6)),
}
#: GET /Accounts/{AccountSid}/Messages.json; days in UTC.
LIST_MESSAGES: Parameters = _COMMON_FILTERS | {f"DateSent{sign}": Parameter(pattern=_DAY) for sign in ("", "<", ">")}
#: GET /Accounts/{AccountSid}/Calls.json
LIST_CALLS: Parameters = (
    _COMMON_FILTERS
    | {f"StartTime{sign}": Parameter(pattern=_DAY) for sign in ("", "<", ">")}
    | {"Status": Parameter(pattern="queued|ringing|in-progress|canceled|completed|failed|busy|no-answer")}
)


def unknown(given: Sequence[tuple[str, str]], parameters: Parameters) -> Iterator[str]:
    """Yield the names of unknown parameters, which Twilio would ignore silently."""
    yield from dict.fromkeys(name for name, _ in given if name not in parameters)


def refused(given: Sequence[tuple[str, str]], parameters: Parameters) -> Iterator[tuple[int, str]]:
    """Yield the code and the name of each parameter that is missing, wrongly repeated, or invalid."""
    for name, parameter in parameters.items():
        values = [value for key, value in given if key == name]
        if (
            (parameter.required and not any(values))
            or (len(values) > 1 and not parameter.many)
            or not all(parameter.takes(value) for value in values)
        ):
            yield parameter.code, name
