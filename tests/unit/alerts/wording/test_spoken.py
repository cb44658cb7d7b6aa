"""Numbers, dates and times as spoken words."""

import pytest

from alerts.model.notification import Language
from alerts.wording import spoken
from tests.unit.alerts.wording.situations import BEGAN
from tests.unit.alerts.wording.test_moment import at

MALAY, ENGLISH = Language.MALAY, Language.ENGLISH


@pytest.mark.parametrize(
    ("value", "malay", "english"),
    [
        (0, "kosong", "zero"),
        (9, "sembilan", "nine"),
        (10, "sepuluh", "ten"),
        (11, "sebelas", "eleven"),
        (12, "dua belas", "twelve"),
        (19, "sembilan belas", "nineteen"),
        (20, "dua puluh", "twenty"),
        (24, "dua puluh empat", "twenty-four"),
        (99, "sembilan puluh sembilan", "ninety-nine"),
        (100, "seratus", "one hundred"),
        (111, "seratus sebelas", "one hundred and eleven"),
        (250, "dua ratus lima puluh", "two hundred and fifty"),
        (1000, "seribu", "one thousand"),
        (1957, "seribu sembilan ratus lima puluh tujuh", "one thousand nine hundred and fifty-seven"),
        (2007, "dua ribu tujuh", "two thousand and seven"),
        (2026, "dua ribu dua puluh enam", "two thousand and twenty-six"),
    ],
)
def test_number_is_spoken_as_words(value: int, malay: str, english: str) -> None:
    assert spoken.number(value, MALAY) == malay
    assert spoken.number(value, ENGLISH) == english


@pytest.mark.parametrize("value", [-1, 10000])
def test_number_out_of_range_is_rejected(value: int) -> None:
    with pytest.raises(ValueError, match="between"):
        spoken.number(value, MALAY)


@pytest.mark.parametrize(
    ("hour", "minute", "malay", "english"),
    [
        (0, 0, "dua belas tengah malam", "twelve midnight"),
        (0, 15, "dua belas lima belas minit pagi", "twelve fifteen in the morning"),
        (8, 0, "lapan pagi", "eight o'clock in the morning"),
        (12, 0, "dua belas tengah hari", "twelve noon"),
        (12, 5, "dua belas lima minit tengah hari", "twelve oh five in the afternoon"),
        (14, 15, "dua lima belas minit petang", "two fifteen in the afternoon"),
        (19, 30, "tujuh tiga puluh minit malam", "seven thirty in the evening"),
        (22, 1, "sepuluh satu minit malam", "ten oh one at night"),
    ],
)
def test_clock_is_spoken_as_words(hour: int, minute: int, malay: str, english: str) -> None:
    assert spoken.clock(at(hour, minute), MALAY) == malay
    assert spoken.clock(at(hour, minute), ENGLISH) == english


def test_date_is_spoken_as_words() -> None:
    assert spoken.date(BEGAN, MALAY) == "dua puluh empat November dua ribu dua puluh enam"
    assert spoken.date(BEGAN, ENGLISH) == "the twenty-fourth of November, two thousand and twenty-six"


@pytest.mark.parametrize(
    ("day", "english"),
    [
        (1, "first"),
        (2, "second"),
        (3, "third"),
        (5, "fifth"),
        (8, "eighth"),
        (9, "ninth"),
        (12, "twelfth"),
        (13, "thirteenth"),
        (20, "twentieth"),
        (21, "twenty-first"),
        (30, "thirtieth"),
        (31, "thirty-first"),
    ],
)
def test_english_day_is_ordinal(day: int, english: str) -> None:
    assert spoken.date(BEGAN.replace(month=12, day=day), ENGLISH).startswith(f"the {english} of December")


def test_notice_number_is_spelled_letter_by_letter() -> None:
    assert spoken.letters("jkr-07", MALAY) == "J, K, R, sempang, kosong, tujuh"
    assert spoken.letters("JKR-07", ENGLISH) == "J, K, R, dash, zero, seven"
    assert spoken.letters("A/1.2 ", MALAY) == "A, garis miring, satu, titik, dua"
