"""What became of a call through Twilio (Call resource of the 2010-04-01 API)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from alerts.model.gateway import NO_KEY, ErrorClass, Progress, Report

#: Statuses of the Call resource, and "initiated", which only callbacks use.
PROGRESS = {
    "queued": Progress.ACCEPTED,
    "initiated": Progress.ACCEPTED,
    "ringing": Progress.SENT,
    "in-progress": Progress.SENT,
    "completed": Progress.DELIVERED,
    "busy": Progress.FAILED,
    "no-answer": Progress.FAILED,
    "failed": Progress.FAILED,
    "canceled": Progress.FAILED,
}


def report_of(call: Mapping[str, Any], *, keys: bool) -> Report:
    """Read an answer, a callback or a row of a list. *keys*: whether a key could have come back to us."""
    report = _whatever_it_was(call)
    if report.progress is not Progress.DELIVERED or not keys:
        # Where no key can come back, an answered call is all that can be known.
        return report
    return replace(
        report,
        progress=Progress.FAILED,
        error=ErrorClass.TRANSIENT,
        code=NO_KEY,
        detail="answered, and no key was pressed: perhaps by a voicemail",
    )


def _whatever_it_was(call: Mapping[str, Any]) -> Report:
    # A status that Twilio invents later is at least accepted: it answered with a sid.
    status = str(call.get("status"))
    progress = PROGRESS.get(status, Progress.ACCEPTED)
    failed = progress is Progress.FAILED
    return Report(
        progress=progress,
        provider_id=str(call["sid"]),
        # Nobody answered this time. A number that does not exist looks the same ("failed"), so none is given up here.
        error=ErrorClass.TRANSIENT if failed else None,
        code=status if failed else "",
        detail=f"SIP {call['sip']}" if failed and call.get("sip") else "",
    )
