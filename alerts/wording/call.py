"""Texts of a call about one incident: a script in the person's language, and one in the other language."""

from __future__ import annotations

from collections.abc import Callable

from alerts.model.gateway import Script, VoiceContent
from alerts.model.notification import Facts, Language, Plan, Purpose
from alerts.wording import values
from alerts.wording.key import can_escalate, situation_key
from alerts.wording.texts import Wording


def compose(facts: Facts, language: Language, wording: Wording, *, may_release: bool = False) -> VoiceContent:
    """Return two scripts: *language* first, the other for key 3. *may_release*: key 5 starts the release.

    Every call states that it asks for no personal data and no payment, because scam calls in Malaysia ask for both. A
    call that may ask for a PIN states so.
    """

    def script_in(script_language: Language) -> Script:
        values_by_name = {
            **values.for_call(facts, script_language),
            **values.failure_cause(facts, wording, script_language, "call"),
        }
        values_by_name |= {
            **values.pending_release(facts, wording, script_language, "call"),
            **values.next_step([facts], wording, script_language, "call"),
        }
        opening = wording.render(script_language, f"call.opening.{facts.plan}", values_by_name)
        headline = wording.render(script_language, f"call.headline.{situation_key(facts)}", values_by_name)
        # A handover notification asks for an acknowledgement, like the notification of an outage.
        effective_purpose = Purpose.OUTAGE if facts.is_handover else facts.purpose
        can_answer = facts.plan is Plan.ESCALATION and effective_purpose in {Purpose.OUTAGE, Purpose.RELEASE}
        unkeyed = wording.render(script_language, f"call.unkeyed.{effective_purpose}") if can_answer else ""
        # If key 5 cannot release the announcement, the call tells the person to use the portal, as `unkeyed` does for a
        # call that cannot receive keys.
        portal_hint = (unkeyed,) if facts.purpose is Purpose.RELEASE and not may_release else ()
        return script(
            facts,
            script_language,
            wording,
            headline=f"{opening} {headline}",
            blocks=(
                *wording.render_all(script_language, f"call.{situation_key(facts)}", values_by_name),
                *portal_hint,
                *wording.render_all(
                    script_language, "call.release.closing" if may_release else "call.closing", values_by_name
                ),
            ),
            unkeyed="" if portal_hint else unkeyed,
            may_release=may_release,
        )

    return in_both_languages(language, script_in)


def in_both_languages(language: Language, script_in: Callable[[Language], Script]) -> VoiceContent:
    """Return a call with the script in *language* first, and the script in the other language for key 3."""
    second_language = Language.ENGLISH if language is Language.MALAY else Language.MALAY
    return VoiceContent(scripts=(script_in(language), script_in(second_language)))


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
    """Return the script for the plan and purpose of *facts*, with the keys and the common sentences.

    *unkeyed*: sentence instead of the keys, for a call that cannot receive keys.
    """
    menu, has_escalation_key = wording.render(language, f"call.menu.{facts.plan}"), can_escalate(facts)
    menu = f"{menu} {wording.render(language, 'call.escalate')}" if has_escalation_key else menu
    return Script(
        language=language.value,
        headline=headline,
        blocks=blocks,
        menu=f"{menu} {wording.render(language, 'call.release.offer')}" if may_release else menu,
        invitation=wording.render(language, "call.menu.invitation"),
        unkeyed=unkeyed,
        thanks=wording.render(language, "call.thanks"),
        already=wording.render(language, "call.already"),
        over=wording.render(language, "call.over"),
        worse=wording.render(language, "call.worse"),
        escalated=wording.render(language, "call.escalated") if has_escalation_key else "",
        nobody_left=wording.render(language, "call.nobody_left") if has_escalation_key else "",
        may_release=may_release,
        goodbye=wording.render(language, f"call.goodbye.{facts.purpose}"),
    )
