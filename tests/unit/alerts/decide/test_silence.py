"""Whether nobody is to be told of an incident for a while."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.decide.silence import Silence, active_silence
from tests.unit.alerts.people import BRIEF, MINUTE, SECOND, T0, incident

SILENCE = Silence(id=1, target="JCM", starts_at=T0, ends_at=T0 + 10 * MINUTE, reason="kerja", by="Siti Contoh")


@pytest.mark.parametrize(
    ("after", "holds"),
    [(-SECOND, False), (timedelta(0), True), (10 * MINUTE - SECOND, True), (10 * MINUTE, False)],
)
def test_it_holds_from_its_beginning_until_its_end(after: timedelta, *, holds: bool) -> None:
    assert active_silence(incident(), [SILENCE], T0 + after) == (SILENCE if holds else None)


@pytest.mark.parametrize(("about", "is_it"), [("JCM", True), ("mdc", True), ("MDC", True), ("UCM", False), ("", False)])
def test_it_is_about_an_incident_or_the_agency_that_an_alert_of_other_monitoring_is_about(
    about: str, *, is_it: bool
) -> None:
    alert = replace(incident(), policy=replace(BRIEF, of_agency="MDC"))
    assert (active_silence(alert, [replace(SILENCE, target=about)], T0) is not None) is is_it


def test_of_several_the_one_that_ends_last_is_named() -> None:
    shorter = replace(SILENCE, id=2, ends_at=T0 + 5 * MINUTE)
    over = replace(SILENCE, id=3, starts_at=T0 - 20 * MINUTE, ends_at=T0)
    later = replace(SILENCE, id=4, starts_at=T0 + MINUTE, ends_at=T0 + 60 * MINUTE)
    for silences in ([shorter, SILENCE, over, later], [later, over, SILENCE, shorter]):
        assert active_silence(incident(), silences, T0) == SILENCE
    assert active_silence(incident(), [], T0) is None
