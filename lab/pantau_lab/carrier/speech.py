"""A call in progress: executes TwiML (Say, Pause, Gather, Redirect, Hangup) and lets the phone press keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from pantau_lab.carrier.callback import Caller
from pantau_lab.carrier.phone import Call, Phone, PhoneBehaviour, Spoken

APPLICATION_ERROR = "We are sorry, an application error has occurred. Goodbye."

#: Maximum number of TwiML documents in a call. More indicate an endless loop of redirects.
_MOST_DOCUMENTS = 50


@dataclass(slots=True, kw_only=True)
class Conversation:
    call: Call
    phone: Phone
    caller: Caller
    #: Parameters of every request of this call.
    params: Mapping[str, str]
    _fell_back: bool = False

    async def hold(self) -> None:
        """Execute documents until the end of the call."""
        document = self.call.twiml or await self._fetch(self.call.url, {})
        for _ in range(_MOST_DOCUMENTS):
            if document is None:
                return
            document = await self._play(document)
        self.caller.errors.append(f"{self.call.sid}: more than {_MOST_DOCUMENTS} documents")

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
                    key = await self._key(verb)
                    if key or verb.get("actionOnEmptyResult") == "true":
                        return await self._fetch(verb.get("action", ""), {"Digits": key})
                case "Redirect":
                    return await self._fetch((verb.text or "").strip(), {})
                case "Hangup":
                    return None
                case unknown:
                    return await self._fail(f"<{unknown}> is not spoken here")
        return None

    def _say(self, verb: ET.Element) -> None:
        line = Spoken(text=verb.text or "", language=verb.get("language", ""), voice=verb.get("voice", ""))
        if line.language and line.language not in line.voice:
            self.caller.errors.append(f"{self.call.sid}: {line.voice or 'the default voice'} reads {line.language}")
        self.call.spoken.append(line)

    async def _key(self, gather: ET.Element) -> str:
        if self.phone.behaviour is PhoneBehaviour.VOICEMAIL:
            return ""
        if self.phone.extension and self.phone.extension not in self.call.extension:
            return ""
        key = self.phone.next_key()
        if most := gather.get("numDigits"):
            key = key[: int(most)]
        elif ends := gather.get("finishOnKey"):
            key = key.partition(ends)[0]
        if key:
            await asyncio.sleep(self.phone.presses_after.total_seconds())
            self.call.keys += key
        return key

    async def _fetch(self, url: str, params: Mapping[str, str]) -> str | None:
        response = await self.caller.post(url, {**self.params, "CallStatus": "in-progress", **params})
        if response is None:
            return await self._fail(None)
        if "xml" not in response.headers.get("content-type", ""):
            return await self._fail(f"{url}: not TwiML")
        return response.text

    async def _fail(self, reason: str | None) -> str | None:
        if reason is not None:
            self.caller.errors.append(f"{self.call.sid}: {reason}")
        if self.call.fallback_url and not self._fell_back:
            self._fell_back = True
            return await self._fetch(self.call.fallback_url, {"ErrorCode": "11200"})
        self.call.spoken.append(Spoken(text=APPLICATION_ERROR, language="", voice=""))
        return None
