"""JSON of messages and calls in the API, with Twilio's fields, date format and filters by day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from pantau_lab.carrier.carrier import Carrier
from pantau_lab.carrier.phone import Call, Sms


def sms_json(carrier: Carrier, sms: Sms) -> Mapping[str, Any]:
    return {
        "sid": sms.sid,
        "account_sid": carrier.account_sid,
        "api_version": "2010-04-01",
        "to": sms.to,
        "from": sms.sender,
        "body": sms.body,
        "status": sms.status,
        "direction": sms.direction,
        "num_segments": str(sms.segments),
        "num_media": "0",
        "error_code": sms.error_code,
        "error_message": None,
        "messaging_service_sid": None,
        "price": None,
        "price_unit": "USD",
        "date_created": _date(sms.created_at),
        "date_updated": _date(sms.sent_at or sms.created_at),
        "date_sent": _date(sms.sent_at),
        "uri": f"/2010-04-01/Accounts/{carrier.account_sid}/Messages/{sms.sid}.json",
    }


def call_json(carrier: Carrier, call: Call) -> Mapping[str, Any]:
    return {
        "sid": call.sid,
        "account_sid": carrier.account_sid,
        "api_version": "2010-04-01",
        "to": call.to,
        "from": call.caller,
        "status": call.status,
        "direction": "outbound-api",
        "answered_by": None,
        # A sentence counts as a second.
        "duration": str(len(call.spoken)) if call.ended_at else None,
        "date_created": _date(call.created_at),
        "date_updated": _date(call.ended_at or call.created_at),
        "start_time": _date(call.started_at),
        "end_time": _date(call.ended_at),
        "price": None,
        "price_unit": "USD",
        "uri": f"/2010-04-01/Accounts/{carrier.account_sid}/Calls/{call.sid}.json",
    }


def _date(at: datetime | None) -> str | None:
    return None if at is None else format_datetime(at)


def within(stamp: str | None, on: str | None, before: str | None, after: str | None) -> bool:
    """Whether the day of *stamp* matches the filters. *before* and *after* include their own day."""
    if on is before is after is None:
        return True
    if stamp is None:
        return False
    day = datetime.strptime(stamp, "%a, %d %b %Y %H:%M:%S %z").date().isoformat()
    return (
        (on is None or day == on[:10])
        and (before is None or day <= before[:10])
        and (after is None or day >= after[:10])
    )
