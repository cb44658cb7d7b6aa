"""Parser of Alertmanager's webhook. Pure.

Payload version "4" (`notify/webhook` and `template` in its source). Unknown fields of newer versions are ignored; a
payload of another form is rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, from_json

from alerts.model.alert import ReceivedAlert

VERSION = "4"

#: Times outside these bounds count as unset. Go writes an unset time as the year 1.
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
#: Maximum length of a quoted location in the payload, which contains names that the sender chooses.
_MAX_LOCATION = 80


class WebhookRejectedError(Exception):
    """An unreadable webhook. The message gives the reason, and quotes at most a field's location from the payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook call."""

    alerts: Sequence[ReceivedAlert]
    #: Key of the alert group (`groupKey`).
    group: str
    #: Number of alerts that Alertmanager truncated (`max_alerts`).
    omitted: int


#: Maximum number of labels, and of annotations, of an alert. Usual alerts have some dozens.
_MAX_NAMES = 1000


def _limit_names(names: object) -> object:
    if isinstance(names, dict) and len(names) > _MAX_NAMES:
        raise PydanticCustomError("many", "has more than {most} members", {"most": _MAX_NAMES})
    return names


_NamedValues = Annotated[dict[str, str], BeforeValidator(_limit_names)]


class _Payload(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", hide_input_in_errors=True)


class _Alert(_Payload):
    status: Literal["firing", "resolved"]
    labels: _NamedValues
    annotations: _NamedValues = {}
    starts_at: AwareDatetime
    ends_at: AwareDatetime | None = None
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class _Webhook(_Payload):
    #: Alerts are parsed one by one, up to the first invalid one. pydantic would create an error for each of a million.
    alerts: list[Any]
    group_key: str = ""
    truncated_alerts: int = 0


def webhook_schema() -> dict[str, Any]:
    """Return the JSON Schema of the payloads that `read_webhook` accepts."""
    schema = _Webhook.model_json_schema()
    schema["properties"] |= {
        "alerts": {"type": "array", "items": _Alert.model_json_schema()},
        "version": {"const": VERSION},
    }
    schema["required"] = ["version", "alerts"]
    return schema


def read_webhook(body: bytes, now: datetime) -> Webhook:
    """Return the parsed *body*. Raise `WebhookRejectedError`."""
    try:
        tree = from_json(body)
    except ValueError:
        raise WebhookRejectedError("the body is not JSON; only Alertmanager's webhook_configs may send here") from None
    if not isinstance(tree, dict) or tree.get("version") != VERSION:
        raise WebhookRejectedError(
            f'this is not an Alertmanager webhook of version "{VERSION}"; leave out `payload` in its webhook_configs; '
            "nothing else may send here"
        )
    try:
        webhook = _Webhook.model_validate(tree)
    except ValidationError as error:
        raise _rejection(error) from None
    alerts = [_received_alert(_read_alert(alert, index), now) for index, alert in enumerate(webhook.alerts)]
    return Webhook(alerts=alerts, group=webhook.group_key, omitted=max(0, webhook.truncated_alerts))


def _read_alert(alert: object, index: int) -> _Alert:
    try:
        return _Alert.model_validate(alert)
    except ValidationError as error:
        raise _rejection(error, "alerts", index) from None


def _rejection(error: ValidationError, *location: str | int) -> WebhookRejectedError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    quoted = ".".join(str(part) for part in (*location, *first["loc"]))[:_MAX_LOCATION]
    return WebhookRejectedError(f"{ascii(quoted)[1:-1]}: {first['msg']}")


def _received_alert(alert: _Alert, now: datetime) -> ReceivedAlert:
    return ReceivedAlert(
        fingerprint=alert.fingerprint,
        starts_at=_valid_time(alert.starts_at) or _EARLIEST,
        ended_at=None if alert.status == "firing" else (_valid_time(alert.ends_at) or now),
        labels=alert.labels,
        summary=alert.annotations.get("summary") or alert.annotations.get("description") or "",
    )


def _valid_time(at: datetime | None) -> datetime | None:
    """Return a time in UTC; `None` if unset or out of bounds."""
    # The comparison must precede the conversion: year 1 in Malaysian time is year 0 in UTC, which `datetime` rejects.
    return at.astimezone(UTC) if at is not None and _EARLIEST < at < _LATEST else None
