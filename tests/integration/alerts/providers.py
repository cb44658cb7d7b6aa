"""Simulated carrier, fax service and tray, with what the test has expected of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from alerts.engine.gateway_pool import ConfiguredGateway
from alerts.gateways.sinch_fax import SinchFax, SinchFaxSettings
from alerts.gateways.tray import LetterPlace, Tray, TraySettings
from alerts.gateways.twilio.sms import Replies, TwilioSms, TwilioSmsSettings
from alerts.gateways.twilio.voice import TwilioVoice, TwilioVoiceSettings
from alerts.model.channel import Channel
from alerts.model.gateway import Gateway, GatewayContext
from pantau_lab.carrier.carrier import Carrier
from pantau_lab.faxservice.service import FaxService
from tests.unit.alerts.documents.pages import text_of

#: In seconds, the maximum, so that a hanging call does not end because the machine is busy.
_DEADLINE = 60


@dataclass
class Providers:
    """The providers that the gateways call."""

    carrier: Carrier
    carrier_url: str
    fax_service: FaxService
    fax_url: str
    directory: Path
    replies: Replies
    #: Address of the callback listener; `None`: providers cannot reach it.
    public: str | None = None
    #: The pages that were expected, by their place.
    _expected: set[str] = field(default_factory=set)

    @property
    def tray(self) -> Path:
        return self.directory / "surat"

    @property
    def account(self) -> dict[str, Any]:
        """The gateway settings for the carrier's account."""
        return {
            "account_sid": self.carrier.account_sid,
            "auth_token": SecretStr(self.carrier.auth_token),
            "from_number": next(iter(self.carrier.senders)),
            "base_url": self.carrier_url,
            "deadline_seconds": _DEADLINE,
        }

    def lines(self) -> list[ConfiguredGateway]:
        """Return the gateways, as the configuration builds them."""
        sms = TwilioSmsSettings(**self.account, replies=self.replies)
        fax = SinchFaxSettings(
            project_id=self.fax_service.project_id,
            key_id=self.fax_service.key_id,
            key_secret=SecretStr(self.fax_service.key_secret),
            from_number="+60300003001",
            base_url=self.fax_url,
            callback_secret=SecretStr("rahsia-panggilan-balik"),
            deadline_seconds=_DEADLINE,
        )
        gateways: list[tuple[str, Channel, Gateway]] = [
            ("sms", Channel.SMS, TwilioSms(sms, self._around("sms"))),
            ("suara", Channel.VOICE, TwilioVoice(TwilioVoiceSettings(**self.account), self._around("suara"))),
            ("faks", Channel.FAX, SinchFax(fax, self._around("faks"))),
            ("dulang", Channel.LETTER, Tray(TraySettings(directory=self.tray), self._around("dulang"))),
        ]
        return [ConfiguredGateway(name=name, channel=channel, gateway=gateway) for name, channel, gateway in gateways]

    def _around(self, name: str) -> GatewayContext:
        base = None if self.public is None else f"{self.public}/callbacks/{name}"
        return GatewayContext(callback_base=base, directory=str(self.directory))

    # -- paper ---------------------------------------------------------------------------------------------------

    def faxes(self) -> Iterator[tuple[str, str, bytes]]:
        """Yield the place, machine number and pages of each received fax."""
        for number, machine in self.fax_service.machines.items():
            for place, pdf in enumerate(machine.received):
                yield f"{number}/{place}", number, pdf

    def letters(self, place: LetterPlace) -> list[Path]:
        """Return the letters in this place."""
        return sorted((self.tray / place).glob("*.pdf"))

    def expect_fax(self, number: str, *words: str) -> str:
        """Expect a received fax; return its text."""
        found = [(name, text_of(pdf)) for name, at, pdf in self.faxes() if at == number]
        return self._expect(f"a fax at {number}", found, words)

    def expect_letter(self, place: LetterPlace, *words: str) -> str:
        """Expect a letter in this place; return its text."""
        found = [(path.name, text_of(path.read_bytes())) for path in self.letters(place)]
        return self._expect(f"a letter in {place.value}", found, words)

    def _expect(self, what: str, found: list[tuple[str, str]], words: tuple[str, ...]) -> str:
        for name, text in found:
            if name not in self._expected and all(word in text for word in words):
                self._expected.add(name)
                return text
        raise AssertionError(f"expected {what} with {words}; there are {found}")

    def unexpected(self) -> list[str]:
        """Return every SMS, call or page that was not expected."""
        pages = {name for name, _, _ in self.faxes()}
        pages |= {path.name for place in LetterPlace for path in self.letters(place)}
        strays = [
            f"{fax.to}: no fax machine" for fax in self.fax_service.faxes if fax.to not in self.fax_service.machines
        ]
        return [*self.carrier.unexpected(), *self.fax_service.errors, *strays, *sorted(pages - self._expected)]
