"""The wording is part of the configuration: what a carrier would refuse is found before the night of the outage."""

from __future__ import annotations

import pytest

from alerts.model.notification import IssuingOffice
from alerts.model.number import number_prefix
from alerts.wording.sms import WorstCase
from alerts.wording.texts import load
from monitor.config.files.document import parse_document
from monitor.config.files.findings import Findings
from monitor.config.validation.texts import check_sms_texts

TEXTS = WorstCase(load())


def problems(short: str, prefix: str = "JCM") -> list[str]:
    findings = Findings(parse_document("agency: JCM\n", "jcm.yaml"))
    check_sms_texts(
        IssuingOffice(short=short, name="Jabatan Contoh", domain="x.gov.my"), prefix, TEXTS, findings["agency"]
    )
    return [str(problem) for problem in findings.problems]


def test_an_office_whose_name_fits_is_fine() -> None:
    assert problems("JCM") == []


def test_the_longest_name_and_number_still_fit_one_message() -> None:
    assert not [p for p in problems("J" * 11, "JJJJJ") if "warning" not in p]


def test_a_name_that_looks_like_a_link_is_refused_at_its_line() -> None:
    [problem] = [p for p in problems("jcm.my") if "warning" not in p]

    assert problem.startswith("jcm.yaml:1: agency: an SMS of this office would be refused")


@pytest.mark.parametrize("code", ["PPD01", "JBA1001", "JCONTOH", "A123456", "1MDB", "KKM2026", "SK123456"])
def test_a_code_with_digits_can_be_sent_with_its_largest_number(code: str) -> None:
    assert problems(code, number_prefix(code)) == []


@pytest.mark.parametrize("code", ["12345", "JBA1234567"])
def test_a_code_that_a_carrier_takes_for_a_telephone_number_is_refused(code: str) -> None:
    [problem] = [p for p in problems(code, number_prefix(code)) if "warning" not in p]

    assert "looks like a telephone number" in problem
