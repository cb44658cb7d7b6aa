"""Compose what a call says, in the person's language first."""

from __future__ import annotations

from alerts.model.gateway import Script, VoiceContent
from alerts.model.notice import Facts, Language, Plan, Purpose
from alerts.wording import values
from alerts.wording.key import can_hand_on, key
from alerts.wording.texts import Wording


def compose(facts: Facts, language: Language, wording: Wording, *, may_release: bool = False) -> VoiceContent:
    """Return two scripts: *language* first, the other for key 3. *may_release*: key 5 leads to the release.

    Every call says that it asks for no personal data and no payment: people in Malaysia know such calls as scams. One in
    which a PIN may be asked for says so.
    """
    other = Language.ENGLISH if language is Language.MALAY else Language.MALAY
    return VoiceContent(scripts=tuple(_script(facts, each, wording, may_release) for each in (language, other)))


def _script(facts: Facts, language: Language, wording: Wording, may_release: bool) -> Script:  # noqa: FBT001 - private
    told = {**values.for_call(facts, language), **values.cause(facts, wording, language, "call")}
    told |= values.waits(facts, wording, language, "call")
    menu = wording.say(language, f"call.menu.{facts.plan}")
    handed_on = ""
    if can_hand_on(facts):
        menu, handed_on = f"{menu} {wording.say(language, 'call.hand_on')}", wording.say(language, "call.handed_on")
    opening = wording.say(language, f"call.opening.{facts.plan}", told)
    asks = Purpose.OUTAGE if facts.is_handover else facts.purpose
    asked = facts.plan is Plan.ESCALATION and asks in {Purpose.OUTAGE, Purpose.RELEASE}
    unkeyed = wording.say(language, f"call.unkeyed.{asks}") if asked else ""
    # Whoever has no PIN, or has been called about nothing else, is told another way.
    console = (unkeyed,) if facts.purpose is Purpose.RELEASE and not may_release else ()
    return Script(
        language=language.value,
        headline=f"{opening} {wording.say(language, f'call.headline.{key(facts)}', told)}",
        blocks=(
            *wording.say_all(language, f"call.{key(facts)}", told),
            *console,
            *wording.say_all(language, "call.release.closing" if may_release else "call.closing", told),
        ),
        menu=f"{menu} {wording.say(language, 'call.release.offer')}" if may_release else menu,
        invitation=wording.say(language, "call.menu.invitation"),
        unkeyed="" if console else unkeyed,
        thanks=wording.say(language, "call.thanks"),
        already=wording.say(language, "call.already"),
        over=wording.say(language, "call.over"),
        worse=wording.say(language, "call.worse"),
        handed_on=handed_on,
        may_release=may_release,
        goodbye=wording.say(language, f"call.goodbye.{facts.purpose}"),
    )
