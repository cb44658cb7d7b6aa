"""Texts of a release by telephone.

An announcement to an agency's recipients waits until an officer releases it, by key and PIN in a call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from alerts.model.channel import Channel
from alerts.model.notification import Facts, Language
from alerts.model.policy_snapshot import AnnouncementPlan
from alerts.wording import spoken, values
from alerts.wording.texts import Wording

#: Maximum number of agencies that a call reads out, so that the officer hears what is released. The others are counted.
MAX_NAMES_READ_OUT = 20


def texts_by_language(name: str, wording: Wording) -> Mapping[str, str]:
    """Return the text with the key `call.release.`*name* by language. The text has no placeholders."""
    return {language.value: wording.render(language, f"call.release.{name}") for language in Language}


def question_texts(waiting: Sequence[tuple[Facts, AnnouncementPlan]], wording: Wording) -> Mapping[str, str]:
    """Return the question before the release, by language: which announcements, how many recipients, which channels.

    Of several announcements, the agencies are listed.
    """
    plans = [plan for _, plan in waiting]
    all_facts = [facts for facts, _ in waiting]
    return {
        language.value: wording.render(
            language,
            "call.release.confirm.several" if len(all_facts) > 1 else f"call.release.confirm.{all_facts[0].type}",
            {
                **values.for_call(all_facts[0], language),
                **_list_values([facts.office.name for facts in all_facts], language),
                "recipients": _recipients(plans, language),
                "counts": _counts(plans, language, wording),
                "updates": _updates(plans, language, wording),
            },
        )
        for language in Language
    }


def result_texts(plans: Sequence[AnnouncementPlan], withheld: Sequence[str], wording: Wording) -> Mapping[str, str]:
    """Return what is said after the release, by language.

    *plans*: the released announcements. *withheld*: agencies whose announcement was not released, because their mail
    works again.
    """
    texts = dict[str, str]()
    for language in Language:
        recipients, names = {"recipients": _recipients(plans, language)}, _list_values(withheld, language)
        lines = [wording.render(language, "call.release.done", recipients)] if plans or not withheld else []
        lines += [wording.render(language, "call.release.works", names)] if withheld else []
        texts[language.value] = " ".join(lines)
    return texts


def _list_values(names: Sequence[str], language: Language) -> Mapping[str, str]:
    """Return the values of the placeholders for a list of agencies."""
    return {
        "count": spoken.number(len(names), language),
        "names": "; ".join(names[:MAX_NAMES_READ_OUT]),
        "more": spoken.number(len(names) - MAX_NAMES_READ_OUT, language) if len(names) > MAX_NAMES_READ_OUT else "",
    }


def _recipients(plans: Sequence[AnnouncementPlan], language: Language) -> str:
    """Return the number of recipients in words."""
    return spoken.number(sum(len(plan.recipients) for plan in plans), language)


def _updates(plans: Sequence[AnnouncementPlan], language: Language, wording: Wording) -> str:
    """Return the sentence that the release includes follow-ups; "" if no announcement has follow-ups."""
    return wording.render(language, "call.release.updates") if any(plan.is_followed_up for plan in plans) else ""


def _counts(plans: Sequence[AnnouncementPlan], language: Language, wording: Wording) -> str:
    """Return "satu SMS, dua faks dan satu surat", in the order of the channels."""
    counts = Counter(
        address.channel for plan in plans for recipient in plan.recipients for address in recipient.addresses
    )
    *all_but_last, last = (
        wording.render(language, f"call.release.count.{channel}", {"count": spoken.number(counts[channel], language)})
        for channel in Channel
        if counts[channel]
    )
    return f"{', '.join(all_but_last)} {wording.render(language, 'letter.and')} {last}" if all_but_last else last
