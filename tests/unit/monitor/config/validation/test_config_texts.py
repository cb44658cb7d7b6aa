"""SMS texts with the names of an office: a carrier would reject some of them."""

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


def test_sms_texts_short_name_has_no_problems() -> None:
    assert problems("JCM") == []


def test_sms_texts_longest_name_and_number_fit_one_message() -> None:
    assert not [p for p in problems("J" * 11, "JJJJJ") if "warning" not in p]


def test_sms_texts_name_like_link_is_refused_at_its_line() -> None:
    [problem] = [p for p in problems("jcm.my") if "warning" not in p]

    assert problem.startswith("jcm.yaml:1: agency: an SMS of this office would be rejected")


@pytest.mark.parametrize("code", ["PPD01", "JBA1001", "JCONTOH", "A123456", "1MDB", "KKM2026", "SK123456"])
def test_sms_texts_code_with_digits_is_accepted(code: str) -> None:
    assert problems(code, number_prefix(code)) == []


@pytest.mark.parametrize("code", ["12345", "JBA1234567"])
def test_sms_texts_code_like_telephone_number_is_refused(code: str) -> None:
    [problem] = [p for p in problems(code, number_prefix(code)) if "warning" not in p]

    assert "looks like a telephone number" in problem
