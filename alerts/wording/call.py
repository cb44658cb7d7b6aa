"""Text of a call, in the person's language first."""

from __future__ import annotations

from collections.abc import Callable

from alerts.model.gateway import Script, VoiceContent
from alerts.model.notification import Facts, Language, Plan, Purpose
from alerts.wording import values
from alerts.wording.key import can_escalate, key
from alerts.wording.texts import Wording


def compose(facts: Facts, language: Language, wording: Wording, *, may_release: bool = False) -> VoiceContent:
    """Return two scripts: *language* first, the other for key 3. *may_release*: key 5 starts the release.

    Every call states that it asks for no personal data and no payment, because people in Malaysia know such calls as
    scams. A call that may ask for a PIN states so.
    """

    def script_in(each: Language) -> Script:
        told = {**values.for_call(facts, each), **values.cause(facts, wording, each, "call")}
        told |= {**values.waits(facts, wording, each, "call"), **values.then([facts], wording, each, "call")}
        opening = wording.say(each, f"call.opening.{facts.plan}", told)
        asks = Purpose.OUTAGE if facts.is_handover else facts.purpose
        asked = facts.plan is Plan.ESCALATION and asks in {Purpose.OUTAGE, Purpose.RELEASE}
        unkeyed = wording.say(each, f"call.unkeyed.{asks}") if asked else ""
        # Without a PIN, or in a call about nothing else, another way to release is named.
        console = (unkeyed,) if facts.purpose is Purpose.RELEASE and not may_release else ()
        return script(
            facts,
            each,
            wording,
            headline=f"{opening} {wording.say(each, f'call.headline.{key(facts)}', told)}",
            blocks=(
                *wording.say_all(each, f"call.{key(facts)}", told),
                *console,
                *wording.say_all(each, "call.release.closing" if may_release else "call.closing", told),
            ),
            unkeyed="" if console else unkeyed,
            may_release=may_release,
        )

    return in_both(language, script_in)


def in_both(language: Language, script_in: Callable[[Language], Script]) -> VoiceContent:
    """Return a call in *language* first, and in the other for key 3."""
    other = Language.ENGLISH if language is Language.MALAY else Language.MALAY
    return VoiceContent(scripts=(script_in(language), script_in(other)))


def script(
    facts: Facts,
    language: Language,
    wording: Wording,
    *,
    headline: str,
    blocks: tuple[str, ...],
    unkeyed: str,
    may_release: bool,
) -> Script:
    """Return the script for the plan and purpose of *facts*, with the keys and the common sentences."""
    menu, can = wording.say(language, f"call.menu.{facts.plan}"), can_escalate(facts)
    menu = f"{menu} {wording.say(language, 'call.escalate')}" if can else menu
    return Script(
        language=language.value,
        headline=headline,
        blocks=blocks,
        menu=f"{menu} {wording.say(language, 'call.release.offer')}" if may_release else menu,
        invitation=wording.say(language, "call.menu.invitation"),
        unkeyed=unkeyed,
        thanks=wording.say(language, "call.thanks"),
        already=wording.say(language, "call.already"),
        over=wording.say(language, "call.over"),
        worse=wording.say(language, "call.worse"),
        escalated=wording.say(language, "call.escalated") if can else "",
        nobody_left=wording.say(language, "call.nobody_left") if can else "",
        may_release=may_release,
        goodbye=wording.say(language, f"call.goodbye.{facts.purpose}"),
    )
