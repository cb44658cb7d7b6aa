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

#: Times outside these bounds are not valid for an alert. Go writes an unset time as the year 1.
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
#: Characters of an alert's location, which its sender chooses.
_WHERE_ROOM = 80


class WebhookRejectedError(Exception):
    """An unreadable webhook. The message gives the reason and the remedy, and contains nothing of the payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook call."""

    alerts: Sequence[ReceivedAlert]
    #: Key of the alert group (`groupKey`).
    group: str
    #: Number of alerts that Alertmanager truncated (`max_alerts`).
    omitted: int


#: Of labels and of annotations. Prometheus itself accepts some dozens.
_MOST_NAMES = 1000


def _few(names: object) -> object:
    if isinstance(names, dict) and len(names) > _MOST_NAMES:
        raise PydanticCustomError("many", "has more than {most} members", {"most": _MOST_NAMES})
    return names


_Named = Annotated[dict[str, str], BeforeValidator(_few)]


class _Payload(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", hide_input_in_errors=True)


class _Alert(_Payload):
    status: Literal["firing", "resolved"]
    labels: _Named
    annotations: _Named = {}
    starts_at: AwareDatetime
    ends_at: AwareDatetime | None = None
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class _Webhook(_Payload):
    #: Parsed one by one, up to the first invalid alert: pydantic would create an error for each of a million.
    alerts: list[Any]
    group_key: str = ""
    truncated_alerts: int = 0


def webhook_schema() -> dict[str, Any]:
    """Return the JSON Schema of what `read_webhook` reads."""
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
        raise WebhookRejectedError("this is no JSON; Alertmanager's webhook_configs send it") from None
    if not isinstance(tree, dict) or tree.get("version") != VERSION:
        raise WebhookRejectedError(
            f'this is no webhook of Alertmanager with version "{VERSION}"; leave out `payload` in its webhook_configs, and let '
            "nothing else send here"
        )
    try:
        read = _Webhook.model_validate(tree)
    except ValidationError as error:
        raise _refused(error) from None
    alerts = [_alert(_read(each, place), now) for place, each in enumerate(read.alerts)]
    return Webhook(alerts=alerts, group=read.group_key, omitted=max(0, read.truncated_alerts))


def _read(alert: object, place: int) -> _Alert:
    try:
        return _Alert.model_validate(alert)
    except ValidationError as error:
        raise _refused(error, "alerts", place) from None


def _refused(error: ValidationError, *above: str | int) -> WebhookRejectedError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in (*above, *first["loc"]))[:_WHERE_ROOM]
    return WebhookRejectedError(f"{ascii(where)[1:-1]}: {first['msg']}")


def _alert(read: _Alert, now: datetime) -> ReceivedAlert:
    return ReceivedAlert(
        fingerprint=read.fingerprint,
        starts_at=_moment(read.starts_at) or _EARLIEST,
        ended_at=None if read.status == "firing" else (_moment(read.ends_at) or now),
        labels=read.labels,
        summary=read.annotations.get("summary") or read.annotations.get("description") or "",
    )


def _moment(at: datetime | None) -> datetime | None:
    """Return a time in UTC; `None` if unset or out of bounds."""
    # Compare first: the year 1 in Malaysia is the year 0 in UTC, which does not exist.
    return at.astimezone(UTC) if at is not None and _EARLIEST < at < _LATEST else None
