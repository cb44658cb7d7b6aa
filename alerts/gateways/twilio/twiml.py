"""What a call says, as TwiML. Pure: scripts in, a document out.

A headline, the menu, then everything in full and the menu again: whoever is woken up knows within seconds what it is about
and which key to press. A key pressed while it speaks is heard at once, because everything is spoken inside the Gather. Each
language is spoken by its own voice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twilio.twiml.voice_response import VoiceResponse

from alerts.model.gateway import Script

#: What the `Twiml` parameter of a new call may hold.
LONGEST_INLINE = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Voices:
    """BCP 47 language -> Twilio voice. The language alone does not choose a voice that speaks it."""

    names: Mapping[str, str]
    #: How long to wait for a key after the last word.
    patience_seconds: int = 8

    def say(self, verb: VoiceResponse, text: str, language: str) -> None:
        verb.say(text, language=language, voice=self.names.get(language))


def menu(scripts: Sequence[Script], index: int, voices: Voices, *, action: str) -> str:
    """Speak the script at *index*, and post the key (or its absence) to *action*."""
    script = scripts[index]
    response = VoiceResponse()
    gather = response.gather(
        num_digits=1,
        timeout=voices.patience_seconds,
        action=action,
        method="POST",
        # Silence must come back to us as well: we count it and say goodbye.
        action_on_empty_result=True,
        # Otherwise "#" would end the input and look like silence.
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
    """Say which key does what, and in each other language how to hear that one."""
    voices.say(verb, scripts[index].menu, scripts[index].language)
    for number, other in enumerate(scripts):
        if number != index and other.invitation:
            voices.say(verb, other.invitation, other.language)


def question(text: str, language: str, voices: Voices, *, action: str, whole: bool) -> str:
    """Say something and post what is pressed (or nothing) to *action*: one key or, *whole*, all digits up to "#"."""
    response = VoiceResponse()
    gather = response.gather(
        **({"finish_on_key": "#"} if whole else {"num_digits": 1, "finish_on_key": ""}),
        timeout=voices.patience_seconds,
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
    """Hang up: there is nothing to say (any more)."""
    response = VoiceResponse()
    response.hangup()
    return str(response)


def recital(scripts: Sequence[Script], voices: Voices) -> str | None:
    """Speak without asking for a key, for when no key can come back to us; `None` when nothing fits.

    All languages when they fit, since nobody can choose; then the person's own; then that one said once.
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
