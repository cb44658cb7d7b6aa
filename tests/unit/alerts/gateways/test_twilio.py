"""TwiML, settings and error table of the Twilio gateways."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from pydantic import ValidationError

from alerts.gateways.twilio.api import ERRORS, meaning_of_failure
from alerts.gateways.twilio.sms import TwilioSmsSettings
from alerts.gateways.twilio.twiml import MAX_INLINE, Voices, farewell, hang_up, menu, speak_without_menu
from alerts.gateways.twilio.voice import TwilioVoiceSettings
from alerts.model.gateway import ErrorClass, Script, VoiceContent
from alerts.model.notification import Facts, Language
from alerts.wording.call import compose
from tests.unit.alerts.wording.situations import JCM, WORDING, situations

ACCOUNT = {"account_sid": "AC" + "0" * 32, "auth_token": "rahsia", "from_number": "+60300000100"}
VOICES = Voices(names=TwilioVoiceSettings.model_validate(ACCOUNT).voices)


def script(
    language: str = "ms-MY", *, blocks: tuple[str, ...] = ("Perhatian.", "E-mel <rasmi> & terganggu.")
) -> Script:
    return Script(
        language=language,
        blocks=blocks,
        menu="Tekan satu.",
        thanks="Direkodkan.",
        already="Telah disahkan.",
        goodbye="Sekian.",
    )


def spoken(document: str | None) -> list[str]:
    assert document is not None
    return [say.text or "" for say in ET.fromstring(document).iter("Say")]


def test_menu_without_headline_says_each_block_twice_inside_gather() -> None:
    document = menu([script()], 0, VOICES, action="https://pantau.contoh.example/key/d1-1/0/0?a=1&b=2")
    gather = ET.fromstring(document)[0]
    assert gather.tag == "Gather"
    assert gather.get("action") == "https://pantau.contoh.example/key/d1-1/0/0?a=1&b=2"
    assert (gather.get("numDigits"), gather.get("actionOnEmptyResult"), gather.get("finishOnKey")) == ("1", "true", "")
    first, second = script().blocks
    assert spoken(document) == [first, first, second, second, "Tekan satu."]


def test_menu_follows_headline_and_is_repeated_with_voice_of_each_language() -> None:
    both = [
        replace(script(), headline="E-mel gagal.", invitation="Untuk bahasa Melayu, tekan tiga."),
        replace(script("en-GB"), headline="E-mail failing.", invitation="For English, press three."),
    ]
    first, second = script().blocks
    spoken_elements = list(ET.fromstring(menu(both, 0, VOICES, action="x")).iter("Say"))
    assert [say.text for say in spoken_elements] == [
        *("E-mel gagal.", "Tekan satu.", "For English, press three."),
        *(first, second, "Tekan satu.", "For English, press three."),
    ]
    for say in spoken_elements:
        language = "en-GB" if say.text == "For English, press three." else "ms-MY"
        assert (say.get("language"), say.get("voice")) == (language, VOICES.names[language])
    assert spoken(menu(both, 1, VOICES, action="x"))[2] == "Untuk bahasa Melayu, tekan tiga."


def test_speak_without_menu_states_how_to_acknowledge() -> None:
    spoken_text = spoken(
        speak_without_menu([replace(script(), headline="E-mel gagal.", unkeyed="Sahkan di konsol.")], VOICES)
    )
    assert spoken_text[:2] == ["E-mel gagal."] * 2
    assert spoken_text[-3:] == ["Sahkan di konsol.", "Sahkan di konsol.", "Sekian."]
    assert "Tekan satu." not in spoken_text


@pytest.mark.parametrize("facts", situations(), ids=lambda f: f"{f.plan}-{f.purpose}-{f.type}")
def test_menu_of_every_situation_fits_inline(facts: Facts) -> None:
    named = replace(facts, office=replace(JCM, name="Jabatan Pengurusan Perkhidmatan Contoh Malaysia"))
    scripts = compose(named, Language.MALAY, WORDING, may_release=True).scripts
    action = "https://pantau.jabatan-contoh.gov.my/callbacks/suara-utama/key/d123456-12/0/0"
    for index in range(2):
        assert len(menu(scripts, index, VOICES, action=action)) <= MAX_INLINE


def test_menu_of_documented_notice_fits_inline() -> None:
    blocks = tuple(
        "Perkhidmatan e-mel rasmi mengalami gangguan mulai hari Selasa, pukul dua lima belas." for _ in range(6)
    )
    assert (
        len(menu([script(blocks=blocks)], 0, VOICES, action="https://pantau.contoh.example/key/d1-1/0/0")) < MAX_INLINE
    )


def test_farewell_uses_voice_of_language() -> None:
    for language in ("ms-MY", "en-GB"):
        (say,) = ET.fromstring(farewell("Sekian.", script(language).language, VOICES)).iter("Say")
        assert say.get("language") == language
        assert (say.get("voice") or "").startswith(f"Google.{language}-")


def test_farewell_and_hang_up_end_call() -> None:
    assert [verb.tag for verb in ET.fromstring(farewell("Sekian.", script().language, VOICES))] == ["Say", "Hangup"]
    assert [verb.tag for verb in ET.fromstring(hang_up())] == ["Hangup"]


@pytest.mark.parametrize(
    ("length", "scripts", "times"),
    [(100, 2, 2), (800, 1, 2), (1700, 1, 1)],
)
def test_speak_without_menu_fits_inline_without_gather(length: int, scripts: int, times: int) -> None:
    block = "a" * length
    both = VoiceContent(scripts=(script(blocks=(block, block)), script("en-GB", blocks=(block, block)))).scripts
    document = speak_without_menu(both, VOICES)
    assert document is not None
    assert len(document) <= MAX_INLINE
    assert spoken(document) == ([block] * 2 * times + ["Sekian."]) * scripts
    assert "Gather" not in document


def test_speak_without_menu_too_long_returns_none() -> None:
    assert speak_without_menu([script(blocks=("a" * MAX_INLINE,))], VOICES) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"account_sid": "AC123"},
        {"base_url": "http://api.contoh.example"},
        {"base_url": "ftp://127.0.0.1"},
        {"base_url": "nowhere"},
        {"auth_tokens": ["x"]},
        {"from_number": "03-0000 0100"},
        {"deadline_seconds": 0},
    ],
)
@pytest.mark.parametrize("settings", [TwilioSmsSettings, TwilioVoiceSettings])
def test_invalid_settings_are_rejected(
    settings: type[TwilioSmsSettings | TwilioVoiceSettings], changes: dict[str, object]
) -> None:
    with pytest.raises(ValidationError):
        settings.model_validate({**ACCOUNT, **changes})


@pytest.mark.parametrize("url", ["https://api.contoh.example/", "http://127.0.0.1:9999", "http://[::1]:9999/"])
def test_base_url_is_https_or_loopback(url: str) -> None:
    assert TwilioSmsSettings.model_validate({**ACCOUNT, "base_url": url}).base_url == url.rstrip("/")


@pytest.mark.parametrize("sender", ["+60300000100", "62000", "JPC", "Pantau 24", "1MY"])
def test_sms_sender_may_be_number_short_code_or_name(sender: str) -> None:
    assert TwilioSmsSettings.model_validate({**ACCOUNT, "from_number": sender}).from_number == sender


@pytest.mark.parametrize("sender", ["60300000100", "1234567", "   ", "J", "Jabatan Contoh", "JPC\n"])
def test_sms_sender_malformed_is_rejected(sender: str) -> None:
    with pytest.raises(ValidationError, match="is not a sender; write instead"):
        TwilioSmsSettings.model_validate({**ACCOUNT, "from_number": sender})


def test_voice_of_other_language_is_rejected_and_omitted_language_has_default() -> None:
    with pytest.raises(ValidationError, match=r"Google\.en-GB-Wavenet-A does not speak ms-MY"):
        TwilioVoiceSettings.model_validate({**ACCOUNT, "voices": {"ms-MY": "Google.en-GB-Wavenet-A"}})
    settings = TwilioVoiceSettings.model_validate({**ACCOUNT, "voices": {"en-GB": "Polly.Amy"}})
    assert settings.voices == {"ms-MY": "Google.ms-MY-Wavenet-A", "en-GB": "Polly.Amy"}


def test_settings_repr_hides_token() -> None:
    settings = TwilioSmsSettings.model_validate({**ACCOUNT, "other_auth_tokens": ["rahsia"]})
    assert "rahsia" not in f"{settings!r}{settings}{settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("error", "codes"),
    [
        (ErrorClass.TRANSIENT, {20429, 21730, 30001, 30003, 30008, 30036, 30410, 30500}),
        (ErrorClass.PERMANENT, {21211, 21217, 21206, 21610, 21614, 30004, 30005, 30006, 30007}),
        (
            ErrorClass.CONFIGURATION,
            {11100, 13227, 20003, 20005, 20404, 21205, 21210, 21212, 21214, 21215, 21219, 21408}
            | {21606, 21608, 21609, 21612, 30002, 30042, 32205},
        ),
    ],
)
def test_error_table_has_documented_classes(error: ErrorClass, codes: set[int]) -> None:
    assert {code for code, (known, _) in ERRORS.items() if known is error} == codes


@pytest.mark.parametrize("code", [None, "", "99999", 30008, "30008", "²"])
def test_unknown_error_code_is_transient(code: object) -> None:
    assert meaning_of_failure(code).error is ErrorClass.TRANSIENT
