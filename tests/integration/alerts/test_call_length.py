"""Time until a call offers the first key, measured with a real voice."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from alerts.model.gateway import Script
from alerts.model.notification import IncidentType, Language, Plan, Purpose
from alerts.wording import bundle
from alerts.wording.call import compose
from tests.unit.alerts.wording.situations import JCM, OUTAGE, WORDING, situations

#: As long as the name of a real agency.
OFFICE = replace(JCM, name="Jabatan Pengurusan Perkhidmatan Contoh Malaysia")
VOICES = {"ms-MY": "ms", "en-GB": "en-gb"}
#: Words a minute, no faster than the voices of the calls.
PACE = "150"
#: 16 bits at 22,050 Hz, behind a header of 44 octets.
OCTETS_PER_SECOND = 2 * 22_050
MAX_SECONDS = 20.0


def seconds(text: str, language: str) -> float:
    """Return the duration of *text* in seconds."""
    spoken = subprocess.run(
        ["espeak-ng", "-v", VOICES[language], "-s", PACE, "--stdout"],
        input=text.encode(),
        capture_output=True,
        check=True,
    )
    return (len(spoken.stdout) - 44) / OCTETS_PER_SECOND


def scripts() -> Iterator[Script]:
    for facts in situations(replace(OUTAGE, office=OFFICE)):
        for may_release in (False, True):
            yield from compose(facts, Language.MALAY, WORDING, may_release=may_release).scripts
    for purpose in (Purpose.OUTAGE, Purpose.RECOVERY):
        for matter in IncidentType:
            told = replace(OUTAGE, plan=Plan.ESCALATION, purpose=purpose, type=matter)
            yield from bundle.compose_call([told, replace(told, office=OFFICE)], Language.MALAY, WORDING).scripts


HEADLINES = {script.headline: script for script in scripts()}


@pytest.mark.parametrize("script", HEADLINES.values(), ids=lambda script: f"{script.language}-{len(script.headline)}")
def test_first_key_is_offered_within_twenty_seconds(script: Script) -> None:
    first, _, _ = script.menu.partition(". ")
    assert 3 < seconds(f"{script.headline} {first}.", script.language) <= MAX_SECONDS


def test_speech_duration_grows_with_text() -> None:
    assert seconds("Perhatian.", "ms-MY") < seconds("Perhatian. " * 5, "ms-MY") / 4


def test_all_situations_are_measured() -> None:
    assert len(HEADLINES) > 2 * len({(f.plan, f.purpose) for f in situations()})
