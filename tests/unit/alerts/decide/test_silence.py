"""Silences of incidents."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.decide.silence import Silence, active_silence
from tests.unit.alerts.people import MINUTE, SECOND, SNAPSHOT, T0, incident

SILENCE = Silence(id=1, target="JCM", starts_at=T0, ends_at=T0 + 10 * MINUTE, reason="kerja", by="Siti Contoh")


@pytest.mark.parametrize(
    ("after", "is_active"),
    [(-SECOND, False), (timedelta(0), True), (10 * MINUTE - SECOND, True), (10 * MINUTE, False)],
)
def test_silence_is_active_from_start_until_end(after: timedelta, *, is_active: bool) -> None:
    assert active_silence(incident(), [SILENCE], T0 + after) == (SILENCE if is_active else None)


@pytest.mark.parametrize(
    ("target", "expected"), [("JCM", True), ("mdc", True), ("MDC", True), ("UCM", False), ("", False)]
)
def test_silence_matches_incident_agency_or_agency_of_external_alert(target: str, *, expected: bool) -> None:
    alert = replace(incident(), policy=replace(SNAPSHOT, of_agency="MDC"))
    assert (active_silence(alert, [replace(SILENCE, target=target)], T0) is not None) is expected


def test_silence_ending_last_is_returned() -> None:
    shorter = replace(SILENCE, id=2, ends_at=T0 + 5 * MINUTE)
    over = replace(SILENCE, id=3, starts_at=T0 - 20 * MINUTE, ends_at=T0)
    later = replace(SILENCE, id=4, starts_at=T0 + MINUTE, ends_at=T0 + 60 * MINUTE)
    for silences in ([shorter, SILENCE, over, later], [later, over, SILENCE, shorter]):
        assert active_silence(incident(), silences, T0) == SILENCE
    assert active_silence(incident(), [], T0) is None
