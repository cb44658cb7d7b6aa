"""SMS rules of Malaysian carriers."""

import pytest

from alerts.wording.lint import Rule, TextSeverity, errors, lint, septets

GOOD = "RM0 JCM: E-mel rasmi terganggu sejak 24/11, 2.15 ptg. Sila guna surat, faks atau telefon sahaja. Ruj JCM-07"


def padded(length: int) -> str:
    return "RM0 JCM: ".ljust(length, "x")


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        padded(153),
        f"{GOOD} é ñ ü £ ¥ @"[:-2],
        "RM0 JCM: pada 24/11/2026, 12.15 tgh",
        "RM0 JCM: 12345",
        "RM0 JCM: 2.15 ptg. Sila",
        "RM0 JCM: kata dan laluan",
        "RM0 JCM: diklikkan",
        "RM0 JCM: Ruj JBA1001-01. Balas 1A",
        "RM0 JCM: Ruj PPD01-9999",
        "RM0 JCM: dari 1MDB01-9999 (+2)",
    ],
)
def test_lint_accepts_sendable_text(text: str) -> None:
    assert lint(text, "JCM") == ()


@pytest.mark.parametrize(
    ("text", "rule", "advice"),
    [
        ("JCM: E-mel terganggu", Rule.PREFIX, "begin with 'RM0 '"),
        ("RM0JCM: E-mel terganggu", Rule.PREFIX, "begin with 'RM0 '"),
        ("rm0 JCM: E-mel terganggu", Rule.PREFIX, "begin with 'RM0 '"),
        ("RM0 JKX: E-mel terganggu", Rule.AGENCY, "short name"),
        ("RM0 JCM: \u201ce-mel\u201d", Rule.CHARACTERS, "plain letters"),
        ("RM0 JCM: e\u2013mel", Rule.CHARACTERS, "plain letters"),
        ("RM0 JCM: e`mel", Rule.CHARACTERS, "plain letters"),
        ("RM0 JCM:\u00a0e-mel", Rule.CHARACTERS, "plain letters"),
        ("RM0 JCM: ç", Rule.CHARACTERS, "plain letters"),
        (padded(161), Rule.LENGTH, "shorten the text by 1"),
        (f"{padded(158)}€€", Rule.LENGTH, "shorten the text by 2"),
        ("RM0 JCM: http contoh", Rule.LINK, "looks like a link"),
        ("RM0 JCM: HTTPS contoh", Rule.LINK, "looks like a link"),
        ("RM0 JCM: www contoh", Rule.LINK, "looks like a link"),
        ("RM0 JCM: a@b", Rule.LINK, "looks like a link"),
        ("RM0 JCM: jabatan-contoh.gov.my", Rule.LINK, "looks like a link"),
        ("RM0 JCM: sejak 2.15ptg", Rule.LINK, "looks like a link"),
        ("RM0 JCM: terganggu.Sila", Rule.LINK, "space after a full stop"),
        ("RM0 JCM: 192.0.2.1", Rule.LINK, "looks like a link"),
        ("RM0 JCM: 03-0000 3000", Rule.DIGITS, "telephone number"),
        ("RM0 JCM: 0300003000", Rule.DIGITS, "telephone number"),
        ("RM0 JCM: 1234567", Rule.DIGITS, "telephone number"),
        ("RM0 JCM: 412-345", Rule.DIGITS, "telephone number"),
        ("RM0 JCM: Tel412-345", Rule.DIGITS, "telephone number"),
        ("RM0 JCM: J412 345", Rule.DIGITS, "telephone number"),
        ("RM0 JCM: J41-2-345", Rule.DIGITS, "telephone number"),
        ("RM0 JCM: TEL03-1234567", Rule.DIGITS, "telephone number"),
        ("RM0 JCM: JBA1001-999", Rule.DIGITS, "telephone number"),
        ("RM0 JCM: JBA1001-01 412 345", Rule.DIGITS, "'1001-01 412 345'"),
        ("RM0 JCM: JBA1001-01 dan 412 345", Rule.DIGITS, "'412 345'"),
        ("RM0 JCM: JBA1234567", Rule.DIGITS, "telephone number"),
        ("RM0 JCM: Kata Laluan", Rule.WORDS, "leave it out"),
        ("RM0 JCM: no. kad pengenalan", Rule.WORDS, "leave it out"),
        ("RM0 JCM: akaun bank", Rule.WORDS, "leave it out"),
        ("RM0 JCM: klik", Rule.WORDS, "leave it out"),
        ("RM0 JCM: pautan", Rule.WORDS, "leave it out"),
        ("RM0 JCM: password", Rule.WORDS, "leave it out"),
    ],
)
def test_lint_rejected_text_is_error_with_advice(text: str, rule: Rule, advice: str) -> None:
    (problem,) = lint(text, "JCM")
    assert (problem.rule, problem.severity) == (rule, TextSeverity.ERROR)
    assert advice in problem.detail


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (padded(154), Rule.LENGTH),
        (padded(160), Rule.LENGTH),
        ("RM0 JCM: Help", Rule.WORDS),
    ],
)
def test_lint_text_disliked_by_some_providers_is_warning(text: str, rule: Rule) -> None:
    (problem,) = lint(text, "JCM")
    assert (problem.rule, problem.severity) == (rule, TextSeverity.WARNING)
    assert errors((problem,)) == ()


def test_lint_agency_without_name_is_reported() -> None:
    assert [problem.rule for problem in lint("RM0 : e-mel", " ")] == [Rule.AGENCY]


def test_extension_characters_count_two_septets() -> None:
    assert septets("abc") == 3
    assert septets("^{}\\[~]|€") == 18
