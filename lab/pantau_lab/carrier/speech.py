"""A call in progress: executes TwiML (Say, Pause, Gather, Redirect, Hangup) and lets the phone press keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from pantau_lab.carrier.callback import CallbackClient
from pantau_lab.carrier.phone import Call, Phone, PhoneBehaviour, Spoken

APPLICATION_ERROR = "We are sorry, an application error has occurred. Goodbye."

#: Maximum number of TwiML documents in a call. More indicate an endless loop of redirects.
_MOST_DOCUMENTS = 50


@dataclass(slots=True, kw_only=True)
class Conversation:
    call: Call
    phone: Phone
    client: CallbackClient
    #: Parameters of every request of this call.
    params: Mapping[str, str]
    #: Whether the fallback URL was requested; this happens only once.
    _fell_back: bool = False

    async def hold(self) -> None:
        """Execute TwiML documents until the end of the call."""
        document = self.call.twiml or await self._fetch(self.call.url, {})
        for _ in range(_MOST_DOCUMENTS):
            if document is None:
                return
            document = await self._play(document)
        self.client.errors.append(f"{self.call.sid}: more than {_MOST_DOCUMENTS} documents")

    async def _play(self, document: str) -> str | None:
        """Execute one document; return the next one, or `None` at the end of the call."""
        try:
            verbs = ET.fromstring(document)  # noqa: S314 - written by the gateway under test
        except ET.ParseError:
            return await self._fail("not XML")
        for verb in verbs:
            match verb.tag:
                case "Say":
                    self._say(verb)
                case "Pause":
                    pass
                case "Gather":
                    for nested in verb.iter("Say"):
                        self._say(nested)
                    keys = await self._pressed_keys(verb)
                    if keys or verb.get("actionOnEmptyResult") == "true":
                        return await self._fetch(verb.get("action", ""), {"Digits": keys})
                case "Redirect":
                    return await self._fetch((verb.text or "").strip(), {})
                case "Hangup":
                    return None
                case unknown:
                    return await self._fail(f"<{unknown}> is not spoken here")
        return None

    def _say(self, verb: ET.Element) -> None:
        line = Spoken(text=verb.text or "", language=verb.get("language", ""), voice=verb.get("voice", ""))
        # The name of a voice contains its language.
        if line.language and line.language not in line.voice:
            self.client.errors.append(f"{self.call.sid}: {line.voice or 'the default voice'} reads {line.language}")
        self.call.spoken.append(line)

    async def _pressed_keys(self, gather: ET.Element) -> str:
        """Let the phone press the keys of its next menu; return those that Twilio would pass on."""
        if self.phone.behaviour is PhoneBehaviour.VOICEMAIL:
            return ""
        if self.phone.extension and self.phone.extension not in self.call.extension:
            return ""
        keys = self.phone.next_keys()
        if most := gather.get("numDigits"):
            keys = keys[: int(most)]
        elif ends := gather.get("finishOnKey"):
            keys = keys.partition(ends)[0]
        if keys:
            await asyncio.sleep(self.phone.presses_after.total_seconds())
            self.call.keys += keys
        return keys

    async def _fetch(self, url: str, params: Mapping[str, str]) -> str | None:
        response = await self.client.post(url, {**self.params, "CallStatus": "in-progress", **params})
        if response is None:
            return await self._fail(None)
        if "xml" not in response.headers.get("content-type", ""):
            return await self._fail(f"{url}: not TwiML")
        return response.text

    async def _fail(self, reason: str | None) -> str | None:
        """Record *reason*, if any; return the document of the fallback URL, or end the call with an error message."""
        if reason is not None:
            self.client.errors.append(f"{self.call.sid}: {reason}")
        if self.call.fallback_url and not self._fell_back:
            self._fell_back = True
            return await self._fetch(self.call.fallback_url, {"ErrorCode": "11200"})
        self.call.spoken.append(Spoken(text=APPLICATION_ERROR, language="", voice=""))
        return None
