"""TwiML documents (Twilio's XML for calls) from the scripts of a notification, one script per language. Pure.

A call speaks a headline, the menu, the full text, and the menu again, so that a person who wakes up learns within
seconds what has happened and which key to press. Keys are accepted at any time, because all speech is inside a Gather.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twilio.twiml.voice_response import VoiceResponse

from alerts.model.gateway import Script

#: Maximum number of characters in the `Twiml` parameter of a new call.
MAX_INLINE = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Voices:
    """Voice of each language, and how long to wait for a key press."""

    #: Name of the Twilio voice by BCP 47 language. Without a name, Twilio may use a voice of another language.
    names: Mapping[str, str]
    #: Wait for a key press after the last word.
    gather_timeout_seconds: int = 8

    def say(self, verb: VoiceResponse, text: str, language: str) -> None:
        verb.say(text, language=language, voice=self.names.get(language))


def menu(scripts: Sequence[Script], index: int, voices: Voices, *, action: str) -> str:
    """Return a document that speaks the script at *index* and posts the pressed key, or "" for none, to *action*."""
    script = scripts[index]
    response = VoiceResponse()
    gather = response.gather(
        num_digits=1,
        timeout=voices.gather_timeout_seconds,
        action=action,
        method="POST",
        # Twilio also posts when no key was pressed, so that the call ends after a few repetitions.
        action_on_empty_result=True,
        # By default "#" ends the input, which then looks as if no key was pressed.
        finish_on_key="",
    )
    if script.headline:
        voices.say(gather, script.headline, script.language)
        _speak_keys(gather, scripts, index, voices)
    for block in script.blocks:
        # Without a headline the menu comes after the blocks, which are therefore spoken twice.
        for _ in range(1 if script.headline else 2):
            voices.say(gather, block, script.language)
    _speak_keys(gather, scripts, index, voices)
    return str(response)


def _speak_keys(verb: VoiceResponse, scripts: Sequence[Script], index: int, voices: Voices) -> None:
    """Add the explanation of the keys, and an invitation in each other language to select it."""
    voices.say(verb, scripts[index].menu, scripts[index].language)
    for number, other in enumerate(scripts):
        if number != index and other.invitation:
            voices.say(verb, other.invitation, other.language)


def question(text: str, language: str, voices: Voices, *, action: str, all_digits: bool) -> str:
    """Return a document that speaks a question and posts one key, or all digits up to "#", to *action*."""
    response = VoiceResponse()
    gather = response.gather(
        **({"finish_on_key": "#"} if all_digits else {"num_digits": 1, "finish_on_key": ""}),
        timeout=voices.gather_timeout_seconds,
        action=action,
        method="POST",
        action_on_empty_result=True,
    )
    voices.say(gather, text, language)
    return str(response)


def farewell(text: str, language: str, voices: Voices) -> str:
    """Return a document that speaks one last sentence and hangs up."""
    response = VoiceResponse()
    voices.say(response, text, language)
    response.hangup()
    return str(response)


def hang_up() -> str:
    """Return a document that hangs up."""
    response = VoiceResponse()
    response.hangup()
    return str(response)


def speak_without_menu(scripts: Sequence[Script], voices: Voices) -> str | None:
    """Return a document that speaks the scripts without a menu, for a call without a callback URL.

    The document speaks each sentence twice, in both languages, because the person cannot choose a language. If the
    document is too long, it speaks only the first language, twice or once. Return `None` if even that is too long.
    `Script.unkeyed` says how to respond without keys.
    """
    for selected, times in ((scripts, 2), (scripts[:1], 2), (scripts[:1], 1)):
        response = VoiceResponse()
        for script in selected:
            for block in filter(None, (script.headline, *script.blocks, script.unkeyed)):
                for _ in range(times):
                    voices.say(response, block, script.language)
            voices.say(response, script.goodbye, script.language)
        document = str(response)
        if len(document) <= MAX_INLINE:
            return document
    return None
