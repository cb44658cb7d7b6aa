"""Out-of-band messages to the NOC: bilingual, sendable, without a notice number."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from alerts.gateways.twilio import twiml
from alerts.model.notification import IssuingOffice
from alerts.wording.lint import SAFE_LENGTH, lint, septets
from alerts.wording.out_of_band import SITUATIONS, OutOfBandMessage, call, find_problems, sms
from tests.unit.alerts.wording.situations import BEGAN, WORDING

NOC = IssuingOffice(short="PANTAU", name="Pusat Operasi Rangkaian Kementerian Contoh", domain="")
LONGEST = datetime(2026, 12, 22, 4, 58, tzinfo=UTC)


def message(situation: str, process: str = "", at: datetime = BEGAN) -> OutOfBandMessage:
    return OutOfBandMessage(situation=situation, office=NOC, at=at, process=process)


@pytest.mark.parametrize(
    ("situation", "text"),
    [
        (
            "store",
            (
                "RM0 PANTAU: AMARAN. Simpanan data Pantau gagal sejak 24/11, 2.15 ptg. Gangguan e-mel tidak dimaklumkan. "
                "ALERT. Database down: outages are not reported."
            ),
        ),
        (
            "peer",
            (
                "RM0 PANTAU: AMARAN. Proses Pantau kedua tidak bertindak balas sejak 24/11, 2.15 ptg. Sila semak. "
                "ALERT. A process is silent."
            ),
        ),
        ("clear", "RM0 PANTAU: SELESAI. Pantau berfungsi semula sejak 24/11, 2.15 ptg. RESTORED."),
    ],
)
def test_out_of_band_sms_is_bilingual(situation: str, text: str) -> None:
    assert sms(message(situation, "kedua"), WORDING).text == text


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("process", ["", "n" * 40, "noc-2.kementerian-contoh.gov.my"])
def test_out_of_band_sms_is_sendable_for_any_process_name(situation: str, process: str) -> None:
    text = sms(message(situation, process, LONGEST), WORDING).text
    assert lint(text, "PANTAU") == ()
    assert septets(text) <= SAFE_LENGTH
    assert ".gov.my" not in text


@pytest.mark.parametrize("situation", SITUATIONS)
def test_out_of_band_call_is_malay_then_english_without_menu(situation: str) -> None:
    malay, english = call(message(situation, "kedua"), WORDING).scripts
    assert (malay.language, english.language) == ("ms-MY", "en-GB")
    assert malay.blocks != english.blocks
    spoken = " ".join((*malay.blocks, malay.goodbye, malay.menu, *english.blocks, english.goodbye, english.menu))
    assert "tekan" not in spoken.lower()
    assert "press" not in spoken.lower()
    # Everything fits into a call without a menu.
    document = twiml.speak_without_menu((malay, english), twiml.Voices(names={}))
    assert document is not None
    assert document.count(english.goodbye) == 1


def test_office_name_too_long_is_reported() -> None:
    assert find_problems(NOC, WORDING) == ()
    too_long = IssuingOffice(short="P" * 60, name="x", domain="")
    assert {key for key, _ in find_problems(too_long, WORDING)} == {"out_of_band.sms.store", "out_of_band.sms.peer"}
