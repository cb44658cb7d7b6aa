"""TwiML documents for calls. Pure: scripts in, a document out.

A headline, the menu, the full text, and the menu again: a person who wakes up learns within seconds what it is about
and which key to press. Keys are accepted at any time, because all speech is inside the Gather. Each language has its
own voice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twilio.twiml.voice_response import VoiceResponse

from alerts.model.gateway import Script

#: Limit of the `Twiml` parameter of a new call.
LONGEST_INLINE = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Voices:
    """BCP 47 language to Twilio voice. The language alone does not select a voice that speaks it."""

    names: Mapping[str, str]
    #: In seconds, after the last word, for a key press.
    gather_timeout_seconds: int = 8

    def say(self, verb: VoiceResponse, text: str, language: str) -> None:
        verb.say(text, language=language, voice=self.names.get(language))


def menu(scripts: Sequence[Script], index: int, voices: Voices, *, action: str) -> str:
    """Speak the script at *index*, and post the key, or its absence, to *action*."""
    script = scripts[index]
    response = VoiceResponse()
    gather = response.gather(
        num_digits=1,
        timeout=voices.gather_timeout_seconds,
        action=action,
        method="POST",
        # Post silence too: it is counted, and the call ends.
        action_on_empty_result=True,
        # Otherwise "#" would end the input and be indistinguishable from silence.
        finish_on_key="",
    )
    if script.headline:
        voices.say(gather, script.headline, script.language)
        _keys(gather, scripts, index, voices)
    for block in script.blocks:
        for _ in range(1 if script.headline else 2):
            voices.say(gather, block, script.language)
    _keys(gather, scripts, index, voices)
    return str(response)


def _keys(verb: VoiceResponse, scripts: Sequence[Script], index: int, voices: Voices) -> None:
    """Speak which key does what, and in each other language how to select it."""
    voices.say(verb, scripts[index].menu, scripts[index].language)
    for number, other in enumerate(scripts):
        if number != index and other.invitation:
            voices.say(verb, other.invitation, other.language)


def question(text: str, language: str, voices: Voices, *, action: str, whole: bool) -> str:
    """Speak a question and post the answer to *action*: one key or, if *whole*, all digits up to "#"."""
    response = VoiceResponse()
    gather = response.gather(
        **({"finish_on_key": "#"} if whole else {"num_digits": 1, "finish_on_key": ""}),
        timeout=voices.gather_timeout_seconds,
        action=action,
        method="POST",
        action_on_empty_result=True,
    )
    voices.say(gather, text, language)
    return str(response)


def farewell(text: str, language: str, voices: Voices) -> str:
    """Speak one last sentence in *language* and hang up."""
    response = VoiceResponse()
    voices.say(response, text, language)
    response.hangup()
    return str(response)


def silence() -> str:
    """Hang up without a word."""
    response = VoiceResponse()
    response.hangup()
    return str(response)


def recital(scripts: Sequence[Script], voices: Voices) -> str | None:
    """Speak without a menu, for calls without a callback URL; `None` when nothing fits.

    All languages twice or once if they fit, since nobody can choose; otherwise the person's own.
    """
    for chosen, times in ((scripts, 2), (scripts[:1], 2), (scripts[:1], 1)):
        response = VoiceResponse()
        for script in chosen:
            for block in filter(None, (script.headline, *script.blocks, script.unkeyed)):
                for _ in range(times):
                    voices.say(response, block, script.language)
            voices.say(response, script.goodbye, script.language)
        document = str(response)
        if len(document) <= LONGEST_INLINE:
            return document
    return None
