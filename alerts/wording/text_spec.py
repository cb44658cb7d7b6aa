"""Specification of the texts in the YAML files: the keys that each language must have, and the placeholders of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from alerts.model.channel import Channel
from alerts.model.notification import Cause, IncidentType, Plan, Purpose, Successors
from alerts.wording.catalogue import TextSpec
from alerts.wording.key import FOR_STAFF

#: Kinds of pages for recipients. See `alerts.wording.key.news`.
PRINTED = (*(str(purpose) for purpose in Purpose if purpose not in FOR_STAFF), "changed")
OUTAGES = ("both", "sending", "receiving")
#: Incident types that only staff are notified of.
_TO_STAFF = ("degraded", "sign_in", "monitoring_fault", "unreached", "doubtful", "unreleased", "restored", "alert")
_WRITTEN = ("day", "date", "clock")


def _moments(*names: str) -> frozenset[str]:
    return frozenset(f"{name}_{form}" for name in names for form in _WRITTEN)


_SMS = frozenset({"agency", "number", "began", "noticed"})
_CALL = frozenset({"agency", "agency_name"}) | _moments("began", "noticed")
_PAGE = frozenset({"agency", "agency_name", "agency_capitals", "domain", "number", "you"}) | _moments(
    "began", "noticed"
)
_PAGE_MAYBE = frozenset(
    {"reference", "first_date", "address", "telephone", "fax", "hours"}
    | {"contact_name", "contact_post", "contact_telephone"}
)


def _situations() -> Iterator[tuple[str, bool]]:
    """Yield the content of an SMS or a call, and whether the incident is over. See `alerts.wording.key`."""
    for matter in OUTAGES:
        yield f"announcement.outage.{matter}", False
        yield f"announcement.update.{matter}", False
        yield f"announcement.changed.{matter}", False
        yield f"escalation.changed.{matter}", False
        yield f"escalation.outage.{matter}", False
    for matter in (*_TO_STAFF, "unsteady"):
        yield f"escalation.outage.{matter}", False
    for matter in ("degraded", "sign_in"):
        yield f"escalation.changed.{matter}", False
    for matter in ("mail", "degraded", "monitoring_fault", "unreached", "doubtful", "unreleased", "restored", "alert"):
        yield f"escalation.recovery.{matter}", True
    for matter in ("mail", "degraded", "monitoring_fault", "alert"):
        yield f"escalation.belated.{matter}", True
    yield "announcement.recovery", True
    yield "escalation.release", False
    yield "escalation.taken", False
    yield "escalation.closed", False
    yield "escalation.unwatched", False
    for purpose in (Purpose.CLOSED, Purpose.CORRECTION):
        for of in ("alert", "ours"):
            yield f"escalation.{purpose}_{of}", False
    yield "escalation.reminder", False
    yield "escalation.result", False
    yield "escalation.unposted", False
    for matter in IncidentType:
        yield f"escalation.lapsed.{matter}", False
        yield f"escalation.handover.{matter}", False
    for plan in Plan:
        yield f"{plan}.correction", False
        yield f"{plan}.drill", False


#: The previous assignee, and when they acted last or escalated.
_SMS_HAD = frozenset({"by", "heard", "handed"})
_CALL_HAD = frozenset({"by"}) | _moments("heard", "handed")
#: Result of a release.
_ARRIVED, _LOST = frozenset({"arrived"}), frozenset({"failed", "unreached", "others"})
#: Further placeholders that an SMS and a call always have.
_ENDS = {
    "escalation.reminder": (frozenset({"until", "then"}), _moments("until") | {"then"}),
    "escalation.result": (_ARRIVED, _ARRIVED),
    "escalation.unposted": (frozenset({"unposted", "issued"}), frozenset({"unposted"}) | _moments("issued")),
}
#: Keys of texts that ask for an answer by SMS.
_ANSWERED = ("escalation.outage.", "escalation.lapsed", "escalation.handover", "escalation.reminder")


def _short() -> Iterator[tuple[str, TextSpec]]:
    for situation, over in _situations():
        sms_end, call_end = (frozenset({"ended"}), _moments("ended")) if over else (frozenset(), frozenset())
        alarm = situation.startswith(("escalation.outage.", "escalation.lapsed."))
        sms_maybe = call_maybe = frozenset({"subject", "cause", "declared"} if alarm else {"subject"})
        if situation.startswith("escalation.lapsed."):
            sms_maybe, call_maybe = sms_maybe | _SMS_HAD, call_maybe | _CALL_HAD
        elif situation.startswith("escalation.handover."):
            more = frozenset({"by", "relieved", "waits"})
            sms_maybe, call_maybe = (
                sms_maybe | more | {"heard"},
                call_maybe | more | {"cause", "declared"} | _moments("heard"),
            )
        elif situation in {"escalation.taken", *(f"escalation.closed{of}" for of in ("", "_alert", "_ours"))}:
            sms_maybe = call_maybe = frozenset({"by"})
        elif situation == "escalation.result":
            sms_maybe = call_maybe = _LOST
        sms_end, call_end = _ENDS.get(situation, (sms_end, call_end))
        answered = frozenset({"response"}) if situation.startswith(_ANSWERED) else frozenset()
        yield f"sms.{situation}", TextSpec(always=_SMS | sms_end, maybe=sms_maybe | answered)
        yield f"call.{situation}", TextSpec(several=True, always=_CALL | call_end, maybe=call_maybe)
        yield f"call.headline.{situation}", TextSpec(always=_CALL | call_end)
    for plan in Plan:
        yield f"call.opening.{plan}", TextSpec(always=_CALL)
        yield f"call.menu.{plan}", TextSpec()
    yield "call.menu.invitation", TextSpec()
    for channel in ("sms", "call"):
        yield f"{channel}.waits", TextSpec()
        for who in (*Successors, "again"):
            yield f"{channel}.then.{who}", TextSpec()
    for cause in Cause:
        yield f"sms.cause.{cause}", TextSpec()
        yield f"call.cause.{cause}", TextSpec()
    for purpose in (Purpose.OUTAGE, Purpose.RELEASE):
        yield f"call.unkeyed.{purpose}", TextSpec()
    for purpose in Purpose:
        yield f"call.goodbye.{purpose}", TextSpec()
    yield "call.closing", TextSpec(several=True, always=_CALL | {"number"})
    for line in ("thanks", "already", "over", "worse", "escalate", "escalated", "nobody_left"):
        yield f"call.{line}", TextSpec()
    yield from _responses()
    yield from _release()


def _responses() -> Iterator[tuple[str, TextSpec]]:
    """Yield the replies to SMS."""
    about = frozenset({"agency", "number"})
    for answer in ("taken", "already"):
        yield f"sms.response.{answer}", TextSpec(always=about, maybe=frozenset({"by"}))
    yield "sms.response.prolonged", TextSpec(always=about | {"until"}, maybe=frozenset({"by"}))
    for answer in ("over", "corrected", "worse", "escalated"):
        yield f"sms.response.{answer}", TextSpec(always=about)
    yield "sms.response.nobody_left", TextSpec(always=about | {"until"})
    for answer in ("unclear", "several"):
        yield f"sms.response.{answer}", TextSpec(always=about | {"response"})
    for answer in ("nothing", "stopped", "stopped_unreached", "started"):
        yield f"sms.response.{answer}", TextSpec(always=frozenset({"agency"}))


def _release() -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts of a release by telephone."""
    updates = frozenset({"updates"})
    yield "call.release.closing", TextSpec(several=True, always=_CALL | {"number"})
    for line in ("offer", "pin", "wrong", "locked", "nobody", "over", "cancelled"):
        yield f"call.release.{line}", TextSpec()
    for matter in OUTAGES:
        yield f"call.release.confirm.{matter}", TextSpec(always=_CALL | {"recipients", "counts"}, maybe=updates)
    several = frozenset({"count", "names", "recipients", "counts"})
    yield "call.release.confirm.several", TextSpec(always=several, maybe=updates | {"more"})
    yield "call.release.updates", TextSpec()
    for channel in Channel:
        yield f"call.release.count.{channel}", TextSpec(always=frozenset({"count"}))
    yield "call.release.done", TextSpec(always=frozenset({"recipients"}))
    yield "call.release.works", TextSpec(always=frozenset({"names"}), maybe=frozenset({"more"}))


def _out_of_band() -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts of out-of-band calls: no notification, and no number."""
    whose = frozenset({"whose"})
    for situation, moment in (("store", "began"), ("peer", "began"), ("clear", "ended")):
        # The halves of one SMS: Malay, then English.
        yield f"out_of_band.sms.{situation}", TextSpec(always=frozenset({moment}), maybe=whose)
        always = _moments(moment) | {"agency_name"}
        yield f"out_of_band.call.{situation}", TextSpec(several=True, always=always, maybe=whose)
    yield "out_of_band.goodbye", TextSpec()


def _bodies(kind: str) -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts that a letter and a fax each have separately."""
    yield f"{kind}.channels", TextSpec(several=True, maybe=_PAGE_MAYBE)
    for matter in OUTAGES:
        yield f"{kind}.scope.{matter}", TextSpec(always=_PAGE)
        yield f"{kind}.instruction.{matter}", TextSpec(always=_PAGE, maybe=_PAGE_MAYBE | {"channels"})
    for matter in OUTAGES:
        yield f"{kind}.change.{matter}", TextSpec(always=_PAGE)
    for news in PRINTED:
        always = _PAGE
        if news in {"outage", "update", "changed"}:
            always |= {"change" if news == "changed" else "scope", "instruction"}
            always |= {"warning"} if kind == "letter" else frozenset()
        if news == "recovery":
            always |= _moments("ended") | {"lasted"}
        maybe = _PAGE_MAYBE | {"enquiries", "follow_ups"}
        yield f"{kind}.{news}.title", TextSpec(always=_PAGE)
        yield f"{kind}.{news}.paragraphs", TextSpec(several=True, always=always, maybe=maybe)
    yield f"{kind}.staff.title", TextSpec(always=_PAGE)


def _advance(kind: str) -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts of a maintenance notice. See `alerts.documents.maintenance_notice`."""
    planned = _PAGE | _moments("ended") | {"why", "lasted"}
    yield f"{kind}.maintenance.instruction", TextSpec(always=planned, maybe=_PAGE_MAYBE | {"channels"})
    for news in ("maintenance", "maintenance_changed", "maintenance_cancelled"):
        always = planned
        if news != "maintenance":
            always |= _moments("was_began", "was_ended") | {"was_number"}
        yield f"{kind}.{news}.title", TextSpec(always=_PAGE)
        if kind == "letter":
            yield f"{kind}.{news}.opening", TextSpec(always=always, maybe=_PAGE_MAYBE)
        told = always if news == "maintenance_cancelled" else always | {"instruction"}
        yield (
            f"{kind}.{news}.paragraphs",
            TextSpec(several=True, always=told, maybe=_PAGE_MAYBE | {"enquiries", "channels"}),
        )


def _letter() -> Iterator[tuple[str, TextSpec]]:
    yield from _bodies("letter")
    yield from _advance("letter")
    for matter in OUTAGES:
        yield f"letter.warning.{matter}", TextSpec(always=_PAGE)
    for news in PRINTED:
        yield f"letter.{news}.opening", TextSpec(always=_PAGE, maybe=_PAGE_MAYBE)
    yield "letter.staff.opening", TextSpec(always=_PAGE)
    yield "letter.enquiries", TextSpec(maybe=_PAGE_MAYBE)
    yield "letter.follow_ups", TextSpec()
    for label in (
        *("reference", "date", "fax", "attention", "telephone", "office_fax", "website"),
        *("on_behalf", "copies", "notice", "attachment", "drill"),
    ):
        yield f"letter.label.{label}", TextSpec()
    for line in ("and", "salutation", "closing", "farewell", "unsigned", "translation"):
        yield f"letter.{line}", TextSpec()
    yield "letter.translation_note", TextSpec()


def _fax() -> Iterator[tuple[str, TextSpec]]:
    yield from _bodies("fax")
    yield from _advance("fax")
    for label in (
        *("heading", "to", "attention", "to_fax", "from", "telephone", "fax", "moment", "reference", "notice"),
        *("pages", "classification", "open", "urgent", "action", "information", "subject"),
        *("receipt", "receipt_request", "name", "post", "date"),
    ):
        yield f"fax.label.{label}", TextSpec()
    yield "fax.unclear", TextSpec(maybe=frozenset({"telephone"}))


def _bundle() -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts about several incidents. See `alerts.wording.bundle`."""
    several, more = frozenset({"count", "names"}), frozenset({"more"})
    for situation in _BUNDLES:
        over = ".recovery" in situation or ".belated" in situation
        sms = _SMS - {"noticed"}
        answered = frozenset({"response"}) if situation.startswith(_ANSWERED) else frozenset()
        end = "until" if situation == "escalation.reminder" else "ended" if over else "began"
        had = {
            "escalation.lapsed": (_SMS_HAD, _CALL_HAD),
            "escalation.taken": (frozenset({"by"}),) * 2,
            "escalation.result": (_LOST, _LOST),
        }
        sms_maybe, call_maybe = had.get(situation, (frozenset(), frozenset()))
        told = {"escalation.result": _ARRIVED, "escalation.unposted": {"unposted"}, "escalation.reminder": {"then"}}
        besides = frozenset(told.get(situation, ()))
        yield (
            f"bundle.sms.{situation}",
            TextSpec(always=sms | several | besides | {end}, maybe=more | answered | sms_maybe),
        )
        yield (
            f"bundle.call.{situation}",
            TextSpec(several=True, always=several | besides | _moments("began", end), maybe=more | call_maybe),
        )
        # Of the previous assignee only what fits one breath.
        breath = frozenset() if situation == "escalation.lapsed" else _moments("began", end)
        yield f"bundle.call.headline.{situation}", TextSpec(always=several | breath, maybe=more)
    for situation in _BUNDLES_ABOUT_ONE:
        # Each name is a number with its times.
        yield f"bundle.sms.one.{situation}", TextSpec(always=frozenset({"agency", "names", "count"}), maybe=more)
    for plan in Plan:
        yield f"bundle.call.opening.{plan}", TextSpec()
    yield "bundle.call.names", TextSpec(several=True, always=several, maybe=more)
    for label in ("from", "from_monitoring", "agency", "matter", "was", "moment", "ended", "number", "reach"):
        yield f"bundle.list.label.{label}", TextSpec()
    for matter in (*OUTAGES, *_TO_STAFF):
        yield f"bundle.list.matter.{matter}", TextSpec()
    for list_ in ("outage", "update", "recovery", "staff.outage", "staff.recovery"):
        yield f"bundle.list.{list_}.title", TextSpec(always=frozenset({"count"}))
        yield f"bundle.list.{list_}.opening", TextSpec()


#: Types about notifications, of which there may be several. See `alerts.wording.bundle`.
_NOTICES = ("unreached", "doubtful", "unreleased")
_BUNDLES = (
    "announcement.outage",
    "announcement.update",
    "announcement.recovery",
    *("escalation.changed", "escalation.handover", "escalation.outage.sign_in"),
    *("escalation.taken", "escalation.lapsed", "escalation.reminder"),
    *("escalation.release", "escalation.result", "escalation.unposted"),
    *(f"escalation.{news}.{kind}" for news in ("outage", "recovery") for kind in _NOTICES),
    *(
        f"escalation.{news}.{kind}"
        for news in ("outage", "recovery", "belated")
        for kind in ("mail", "degraded", "ours", "alert")
    ),
)


_BUNDLES_ABOUT_ONE = (
    "announcement.recovery",
    *(f"escalation.{news}.{kind}" for news in ("recovery", "belated") for kind in ("mail", "degraded")),
)


#: All required texts, by their keys in the YAML file.
NEEDS: Mapping[str, TextSpec] = MappingProxyType(dict((*_short(), *_out_of_band(), *_letter(), *_fax(), *_bundle())))
