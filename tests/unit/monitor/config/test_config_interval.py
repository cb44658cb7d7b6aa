"""The probing interval of an agency."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from monitor.config.agency.probing import ProbingOverrides, ProbingSettings, check_probing
from monitor.config.files.document import parse_document
from monitor.config.files.findings import Findings
from monitor.web.page import PageLanguage, texts_of
from pantau_lab.config_files import DEMO, MULTI_SITE, Timing

MINUTE = timedelta(minutes=1)
#: The examples in the hint of the interval field, in both languages.
EXAMPLES = sorted(
    {each for tongue in PageLanguage for each in re.findall(r"\d+[mh]\b", texts_of("edit", tongue)["interval_hint"])}
)


def settings(timing: Timing) -> ProbingSettings:
    named = ("interval", "session_timeout", "arrival_timeout", "slow_threshold", "retry_interval", "deferral_timeout")
    return ProbingSettings.model_validate({name: getattr(timing, name) for name in named})


@pytest.mark.parametrize(
    "general", [ProbingSettings(), settings(DEMO), settings(MULTI_SITE)], ids=["usual", "demo", "country"]
)
@pytest.mark.parametrize("example", [*EXAMPLES, "1h"])
def test_interval_hint_examples_are_accepted(general: ProbingSettings, example: str) -> None:
    own = ProbingOverrides.model_validate({"interval": example})
    findings = Findings(parse_document(f"interval: {example}", "jcm.yaml"))
    check_probing(own.merged_into(general), own, findings)
    assert findings.problems == ()


def test_interval_hint_has_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize(
    ("own", "budget"),
    [
        ({}, 30 * MINUTE),
        ({"interval": "10m"}, 30 * MINUTE),
        ({"interval": "30m"}, 30 * MINUTE),
        ({"interval": "1h"}, 60 * MINUTE),
        # An explicit value is kept; `check_probing` refuses it if it is too short.
        ({"interval": "1h", "deferral_timeout": "40m"}, 40 * MINUTE),
        ({"interval": "1h", "deferral_timeout": "2h"}, 120 * MINUTE),
        ({"deferral_timeout": "10m"}, 10 * MINUTE),
    ],
)
def test_probing_longer_interval_extends_deferral_timeout(own: dict[str, str], budget: timedelta) -> None:
    assert ProbingOverrides.model_validate(own).merged_into(ProbingSettings()).deferral_timeout == budget
