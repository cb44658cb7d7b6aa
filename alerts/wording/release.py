"""Texts of a release by telephone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from alerts.model.channel import Channel
from alerts.model.notification import Facts, Language
from alerts.model.policy_snapshot import AnnouncementPlan
from alerts.wording import spoken, values
from alerts.wording.texts import Wording

#: Agencies read out before key 1: an officer must hear what is released. The others are counted.
READ_OUT = 20


def say(line: str, wording: Wording) -> Mapping[str, str]:
    """Return a line below `call.release` without values, by language."""
    return {language.value: wording.say(language, f"call.release.{line}") for language in Language}


def confirm(waiting: Sequence[tuple[Facts, AnnouncementPlan]], wording: Wording) -> Mapping[str, str]:
    """Return what would be released, to how many and by which channels, by language; for several a list."""
    plans = [plan for _, plan in waiting]
    told = [facts for facts, _ in waiting]
    return {
        language.value: wording.say(
            language,
            "call.release.confirm.several" if len(told) > 1 else f"call.release.confirm.{told[0].type}",
            {
                **values.for_call(told[0], language),
                **_list([facts.office.name for facts in told], language),
                "recipients": _recipients(plans, language),
                "counts": _counts(plans, language, wording),
                "updates": _updates(plans, language, wording),
            },
        )
        for language in Language
    }


def done(plans: Sequence[AnnouncementPlan], kept: Sequence[str], wording: Wording) -> Mapping[str, str]:
    """Return the released announcements, and the offices *kept* because mail works again, by language."""
    said = dict[str, str]()
    for language in Language:
        recipients, names = {"recipients": _recipients(plans, language)}, _list(kept, language)
        lines = [wording.say(language, "call.release.done", recipients)] if plans or not kept else []
        lines += [wording.say(language, "call.release.works", names)] if kept else []
        said[language.value] = " ".join(lines)
    return said


def _list(names: Sequence[str], language: Language) -> Mapping[str, str]:
    return {
        "count": spoken.number(len(names), language),
        "names": "; ".join(names[:READ_OUT]),
        "more": spoken.number(len(names) - READ_OUT, language) if len(names) > READ_OUT else "",
    }


def _recipients(plans: Sequence[AnnouncementPlan], language: Language) -> str:
    return spoken.number(sum(len(plan.recipients) for plan in plans), language)


def _updates(plans: Sequence[AnnouncementPlan], language: Language, wording: Wording) -> str:
    """Return that progress reports are released too; "" without any."""
    return wording.say(language, "call.release.updates") if any(plan.is_followed_up for plan in plans) else ""


def _counts(plans: Sequence[AnnouncementPlan], language: Language, wording: Wording) -> str:
    """Return "satu SMS, dua faks dan satu surat", in the order of the channels."""
    channels = Counter(
        address.channel for plan in plans for recipient in plan.recipients for address in recipient.addresses
    )
    *before, last = (
        wording.say(language, f"call.release.count.{channel}", {"count": spoken.number(channels[channel], language)})
        for channel in Channel
        if channels[channel]
    )
    return f"{', '.join(before)} {wording.say(language, 'letter.and')} {last}" if before else last
