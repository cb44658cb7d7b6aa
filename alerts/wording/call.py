"""Compose what a call says, in the person's language first."""

from __future__ import annotations

from alerts.gateway import Script, VoiceContent
from alerts.notice import Facts, Language
from alerts.wording import values
from alerts.wording.key import key
from alerts.wording.texts import Wording


def compose(facts: Facts, language: Language, wording: Wording, *, may_release: bool = False) -> VoiceContent:
    """Return two scripts: *language* first, the other for key 3. *may_release*: key 5 leads to the release.

    Every call says that it asks for no personal data and no payment: people in Malaysia know such calls as scams.
    """
    other = Language.ENGLISH if language is Language.MALAY else Language.MALAY
    return VoiceContent(scripts=tuple(_script(facts, each, wording, may_release) for each in (language, other)))


def _script(facts: Facts, language: Language, wording: Wording, may_release: bool) -> Script:  # noqa: FBT001 - private
    told = values.for_call(facts, language)
    menu = wording.say(language, f"call.menu.{facts.plan}")
    return Script(
        language=language.value,
        blocks=(
            wording.say(language, f"call.opening.{facts.plan}", told),
            *wording.say_all(language, f"call.{key(facts)}", told),
            *wording.say_all(language, "call.closing", told),
        ),
        menu=f"{menu} {wording.say(language, 'call.release.offer')}" if may_release else menu,
        thanks=wording.say(language, "call.thanks"),
        already=wording.say(language, "call.already"),
        over=wording.say(language, "call.over"),
        worse=wording.say(language, "call.worse"),
        may_release=may_release,
        goodbye=wording.say(language, f"call.goodbye.{facts.purpose}"),
    )
